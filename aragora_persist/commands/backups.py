"""``backups``: what can be restored, and whether it is fresh and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.health import look_at_health
from aragora_persist.backup.inventory import FileState, take_inventory
from aragora_persist.backup.names import id_of, read_id
from aragora_persist.commands.console import print_json, print_problems, print_table, read_settings, showing
from aragora_persist.wording import count_text, size_text, span_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from datetime import datetime

    from aragora_persist.backup.inventory import Inventory, Listed
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

HEADINGS = ("ID", "DATABASE", "AGE", "SIZE", "SCHEMA", "STATE")
_REBUILD = "`aragora-persist backups --rebuild`"


def run(arguments: Namespace) -> int:
    """List the backups, or (``--health``, ``--max-age``) only look at the newest; fail where something is wrong."""
    if arguments.offsite and (arguments.health or arguments.max_age is not None or arguments.rebuild or arguments.ship):
        arguments.refuse("argument --offsite: goes with --check alone")
    settings = read_settings(arguments)
    if arguments.rebuild:
        return _rebuild(arguments, settings)
    if arguments.ship or arguments.offsite:
        from aragora_persist.commands import offsite  # noqa: PLC0415 - loads what speaks to off-site

        return (offsite.ship_all if arguments.ship else offsite.list_all)(arguments, settings)
    now = times.utc_now()
    wanted = set(arguments.databases or ())
    listed: list[Listed] = []
    notes: list[str] = []
    short = arguments.health or arguments.max_age is not None
    if short:
        problems = [*_unhealthy(settings, arguments, now)]
    else:
        with showing("reading"):
            inventory = take_inventory(settings, check=arguments.check)
        listed = [one for one in reversed(inventory.backups) if not wanted or one.entry.database in wanted]
        problems = [*_problems(inventory, listed)]
        if arguments.check:
            notes += _notes(inventory)
    if arguments.json:
        print_json(
            {
                "backups": [record_of(one.entry, one.state.value, now) for one in listed],
                "problems": problems,
                "notes": notes,
            }
        )
    else:
        if not short:
            print_table(HEADINGS, [row_of(one.entry, one.state.value, now) for one in listed])
        for note in notes:
            print(f"Note: {note}")
        print_problems(problems)
    return 1 if problems else 0


def _problems(inventory: Inventory, listed: list[Listed]) -> Iterator[str]:
    """Say what is wrong, and the way out of it."""
    for one in listed:
        if one.state is not FileState.INTACT:
            shipped = one.entry.id in inventory.shipped
            way_out = (
                "a restore fetches it from off-site" if shipped else f"it cannot be restored; {_REBUILD} forgets it"
            )
            yield f"{one.entry.id}: its file is {one.state.value}: {way_out}"
    for number in inventory.damaged_lines:
        yield f"the catalog's line {number} is damaged: what it named is not offered; {_REBUILD} looks for it"
    if inventory.lost:
        yield f"the catalog is lost or names nothing, and there are files of backups: {_REBUILD} makes it anew"


def _notes(inventory: Inventory) -> Iterator[str]:
    """Say what is no backup and no mistake either, but takes space or will change."""
    for name in inventory.uncatalogued:
        way_out = f"; {_REBUILD} lists it if it is sound" if read_id(id_of(name)) else ""
        yield f"{name} is not in the catalog: it is restored only by its name, and never removed{way_out}"
    if inventory.torn:
        yield "the catalog's last line is incomplete, as a crash leaves it; the next backup removes it"


def _rebuild(arguments: Namespace, settings: Settings) -> int:
    from aragora_persist.backup.rebuild import rebuild  # noqa: PLC0415 - rarely asked for

    with showing("reading"):
        result = rebuild(settings)
    problems = [f"{one.file} is not listed: {one.problem}" for one in result.refused]
    if result.offsite_problem:
        problems.append(f"off-site could not be asked what it knows of them: {result.offsite_problem}")
    if arguments.json:
        print_json(
            {
                "kept": [entry.id for entry in result.kept],
                "found": [entry.id for entry in result.found],
                "problems": problems,
                "replaced": str(result.replaced) if result.replaced else None,
            }
        )
    else:
        print(f"{count_text(len(result.kept), 'backup')} of the catalog compared with the files")
        for entry in result.found:
            print(f"Listed again: {entry.id}")
        if result.replaced:
            print(f"The old catalog is kept: {result.replaced}")
        print_problems(problems)
    return 1 if problems else 0


def _unhealthy(settings: Settings, arguments: Namespace, now: datetime) -> Iterator[str]:
    found = look_at_health(settings, arguments.databases)
    for name in sorted({*(arguments.databases or ())} - {health.database for health in found}):
        yield f"{name}: there is no such database in {settings.nomic_dir}"
    for health in found:
        yield from health.backup_problems(arguments.max_age or settings.backup_objective_s, now)
        if arguments.health:
            yield from health.drill_problems(settings.drill_objective_s, now)


def record_of(entry: BackupEntry, state: str, now: datetime) -> dict[str, object]:
    """Return a backup as a list in JSON has it, wherever it lies."""
    return {
        "id": entry.id,
        "database": entry.database,
        "file": entry.file,
        "created_at": times.to_text(entry.created_at),
        "age_s": round((now - entry.created_at).total_seconds(), 3),
        "size_bytes": entry.size_bytes,
        "schema_version": entry.content.schema_version,
        "sha256": entry.sha256,
        "method": entry.method,
        "run": entry.run,
        "recipients": entry.recipients,
        "state": state,
    }


def row_of(entry: BackupEntry, state: str, now: datetime) -> tuple[str, ...]:
    """Return a backup as a table under ``HEADINGS`` has it."""
    age, size = span_text((now - entry.created_at).total_seconds()), size_text(entry.size_bytes)
    return (entry.id, entry.database, age, size, str(entry.content.schema_version or "-"), state)
