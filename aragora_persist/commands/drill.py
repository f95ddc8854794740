"""``drill``: prove that the newest backups can be restored."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.drill import drill, way_to_one
from aragora_persist.commands.console import print_json, read_settings, showing

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.backup.records import Drill


def run(arguments: Namespace) -> int:
    """Restore the newest of each into scratch space; fail where one is not what it was, or where there is none."""
    settings = read_settings(arguments)
    names = tuple(dict.fromkeys(arguments.databases)) if arguments.databases else None
    done = []
    with showing("drilling") as progress:
        for one in drill(settings, names, offsite=arguments.offsite):
            progress.clear()
            done.append(one)
            if not arguments.json:
                _print(one)
    if not done:
        way_out = way_to_one(settings, offsite=arguments.offsite)
        print(f"aragora-persist: drill: there is no backup\n  way out: {way_out}", file=sys.stderr)
    if arguments.json:
        print_json({"drills": [{**asdict(one), "at": times.to_text(one.at)} for one in done]})
    return 0 if done and all(one.ok for one in done) else 1


def _print(one: Drill) -> None:
    if one.ok:
        print(
            f"Drilled: {one.database} ({one.backup}, {one.source}): restored and read in {one.seconds:.1f} s",
            flush=True,
        )
    else:
        which = one.backup or one.database
        print(f"aragora-persist: drill: {which} ({one.source}): {one.problem}", file=sys.stderr, flush=True)
