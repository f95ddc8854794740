"""``backups``: what can be restored, and whether it is fresh and whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.inventory import FileState, backup_health, take_inventory
from aragora_persist.commands.console import print_json, print_table, read_settings
from aragora_persist.wording import size_text, span_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from aragora_persist.backup.inventory import Inventory, Listed
    from aragora_persist.settings import Settings


def run(arguments: Namespace) -> int:
    """List the backups, or with ``--max-age`` only look at the newest; fail where something is wrong."""
    settings = read_settings(arguments)
    now = times.utc_now()
    wanted = set(arguments.databases or ())
    listed: list[Listed] = []
    notes: list[str] = []
    if arguments.max_age is not None:
        problems = [*_too_old(settings, wanted, arguments.max_age, now)]
    else:
        inventory = take_inventory(settings, check=arguments.check)
        listed = [one for one in reversed(inventory.backups) if not wanted or one.entry.database in wanted]
        problems = [*_problems(inventory, listed)]
        if arguments.check:
            notes += _notes(inventory)
    if arguments.json:
        print_json({"backups": [_record(one, now) for one in listed], "problems": problems, "notes": notes})
    else:
        if arguments.max_age is None:
            _print(listed, now)
        for note in notes:
            print(f"Note: {note}")
        for problem in problems:
            print(f"aragora-persist: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _problems(inventory: Inventory, listed: list[Listed]) -> Iterator[str]:
    yield from (f"{one.entry.id}: its file is {one.state.value}" for one in listed if one.state is not FileState.INTACT)
    for number in inventory.damaged_lines:
        yield f"the catalog's line {number} is damaged: the backup that it named is not offered; remove the line"


def _notes(inventory: Inventory) -> Iterator[str]:
    """Say what is no backup and no mistake either, but takes space or will change."""
    for name in inventory.uncatalogued:
        yield f"{name} is not in the catalog: it is neither restored nor ever removed"
    if inventory.torn:
        yield "the catalog's last line is incomplete, as a crash leaves it; the next backup removes it"


def _too_old(settings: Settings, wanted: Collection[str], max_age_s: float, now: datetime) -> Iterator[str]:
    found = backup_health(settings, now=now)
    for name in sorted(set(wanted) - {health.database for health in found}):
        yield f"{name}: there is no such database in {settings.nomic_dir}"
    for health in found:
        if (wanted and health.database not in wanted) or health.within(max_age_s):
            continue
        if health.age_s is None:
            yield f"{health.database}: there is no verified backup"
        elif health.age_s < 0:
            yield f"{health.database}: the newest verified backup is from the future; look at this machine's clock"
        else:
            yield f"{health.database}: the newest verified backup is {span_text(health.age_s)} old"


def _record(one: Listed, now: datetime) -> dict[str, object]:
    entry = one.entry
    return {
        "id": entry.id,
        "database": entry.database,
        "file": entry.file,
        "created_at": times.to_text(entry.created_at),
        "age_s": round((now - entry.created_at).total_seconds(), 3),
        "size_bytes": entry.size_bytes,
        "schema_version": entry.content.schema_version,
        "sha256": entry.sha256,
        "state": one.state.value,
    }


def _print(listed: list[Listed], now: datetime) -> None:
    print_table(
        ("ID", "DATABASE", "AGE", "SIZE", "SCHEMA", "STATE"),
        [
            (
                one.entry.id,
                one.entry.database,
                span_text((now - one.entry.created_at).total_seconds()),
                size_text(one.entry.size_bytes),
                str(one.entry.content.schema_version or "-"),
                one.state.value,
            )
            for one in listed
        ],
    )
