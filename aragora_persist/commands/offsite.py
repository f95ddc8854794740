"""``backups --ship`` and ``backups --offsite``: bringing backups off-site, and listing what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.offsite import RemoteState, check, held_back, look, ship
from aragora_persist.commands.backups import HEADINGS, record_of, row_of
from aragora_persist.commands.console import print_error, print_json, print_problems, print_table, showing
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from argparse import Namespace
    from datetime import datetime

    from aragora_persist.backup.offsite import Remote
    from aragora_persist.settings import Settings


def ship_all(arguments: Namespace, settings: Settings) -> int:
    """Ship what is not off-site yet and may leave, and fail where something of it is not there afterwards."""
    if arguments.databases:
        arguments.refuse("argument --ship: ships the backups of all databases, in their order")
    shipped, failed = [], []
    with showing("shipping") as progress:
        for outcome in ship(settings):
            progress.clear()
            if outcome.error is None:
                shipped.append(outcome.entry.id)
                if not arguments.json:
                    print(f"Shipped: {outcome.entry.id}", flush=True)
            else:
                failed.append({"id": outcome.entry.id, "error": redact(str(outcome.error))})
                print_error(outcome.error, verbose=arguments.verbose)
    held = [entry.id for entry in held_back(Catalog(settings.backup_dir).read(), settings)]
    if arguments.json:
        print_json({"shipped": shipped, "failed": failed, "held_back": held})
    elif held:
        print(f"Not shipped, since they are not encrypted and there are recipients: {', '.join(held)}")
        print(
            "Way out: `aragora-persist backup` takes encrypted ones; docs/offsite.md, Keys, says how to ship these too"
        )
    return 1 if failed else 0


def list_all(arguments: Namespace, settings: Settings) -> int:
    """List what is off-site, newest first, and fail where something of it is not what was shipped."""
    now = times.utc_now()
    wanted = set(arguments.databases or ())
    listed = [one for one in reversed(look(settings)) if not wanted or one.name.partition("/")[0] in wanted]
    if arguments.check:
        with showing("reading"):
            listed = list(check(settings, listed))
    problems = [f"{one.name} off-site {_PROBLEMS[one.state]}" for one in listed if one.state is not RemoteState.WHOLE]
    if arguments.json:
        print_json({"backups": [_record(one, now) for one in listed], "problems": problems})
    else:
        print_table(HEADINGS, [_row(one, now) for one in listed])
        print_problems(problems)
    return 1 if problems else 0


_PROBLEMS = {
    RemoteState.INCOMPLETE: "lacks parts of its file: it cannot be restored",
    RemoteState.DAMAGED: "is not what was shipped: it cannot be restored",
}


def _record(one: Remote, now: datetime) -> dict[str, object]:
    state = one.state.value
    return {"name": one.name, **(record_of(one.entry, state, now) if one.entry else {"state": state})}


def _row(one: Remote, now: datetime) -> tuple[str, ...]:
    return row_of(one.entry, one.state.value, now) if one.entry else (one.name, *"----", one.state.value)
