"""``restore``: a backup, a moment or a copy made by hand in a database's place or a new file; or all of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.names import SUPABASE
from aragora_persist.commands.console import print_json, read_settings, showing

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.backup.restore.restoring import RestoreResult
    from aragora_persist.settings import Settings


def run(arguments: Namespace) -> int:
    """Restore, and say what, where to, and what was there before."""
    if arguments.all == (arguments.database is not None):
        arguments.refuse("name one database, or --all")
    if arguments.file is not None and (arguments.at or arguments.backup):
        arguments.refuse("a FILE goes with neither --at nor --backup")
    settings = read_settings(arguments)
    if arguments.database == SUPABASE:
        return _save_dump(arguments, settings)
    return _restore_all(arguments, settings) if arguments.all else _restore(arguments, settings)


def _restore(arguments: Namespace, settings: Settings) -> int:
    from aragora_persist.backup.restore.restoring import restore  # noqa: PLC0415 - not before the arguments are understood

    with showing(f"restoring {arguments.database}"):
        result = restore(
            arguments.database,
            settings,
            backup_id=arguments.backup,
            at=arguments.at,
            file=Path(arguments.file) if arguments.file else None,
            to=Path(arguments.to) if arguments.to else None,
            migrate=arguments.migrate,
        )
    if arguments.json:
        print_json(_document(result))
    else:
        _print(result)
    return 0


def _save_dump(arguments: Namespace, settings: Settings) -> int:
    if arguments.to is None or arguments.file or arguments.migrate:
        arguments.refuse("restore supabase takes --to PATH; into a project: aragora-persist supabase restore")
    from aragora_persist.backup.supabase import save  # noqa: PLC0415 - as above

    target = Path(arguments.to)
    entry = save(settings, target, backup_id=arguments.backup, at=arguments.at)
    if arguments.json:
        print_json({"database": SUPABASE, "backup": entry.id, "target": str(target)})
    else:
        print(f"Restored {entry.id} to a new file: {target}")
    return 0


def _restore_all(arguments: Namespace, settings: Settings) -> int:
    from aragora_persist.backup.restore.restoring_sets import restore_all  # noqa: PLC0415 - as above

    with showing("restoring all"):
        done = restore_all(
            settings,
            at=arguments.at,
            run=arguments.backup,
            to=Path(arguments.to) if arguments.to else None,
            migrate=arguments.migrate,
        )
    taken_at = times.to_text(done.chosen.moment)
    if arguments.json:
        documents = [_document(result) for result in done.results]
        print_json({"run": done.chosen.run, "taken_at": taken_at, "databases": documents, "notes": done.notes})
        return 0
    for result in done.results:
        _print(result)
    print(f"All are of run {done.chosen.run}, which began at {taken_at}.")
    for note in done.notes:
        print(f"Note: {note}")
    return 0


def _print(result: RestoreResult) -> None:
    print(f"Restored {result.source} {result.way.value}: {result.target}")
    if result.moment is not None:
        print(f"It is as of {times.to_text(result.moment)}.")
    if result.migrated:
        print(f"It was migrated: {', '.join(result.migrated)}")
    if result.replaced:
        print(f"What was there before is kept: {result.replaced}")
    if not result.equal:
        print("Another process has written to it since the restore.")
    for note in result.notes:
        print(f"Note: {note}")


def _document(result: RestoreResult) -> dict[str, object]:
    return {
        "database": result.database,
        "backup": result.entry.id if result.entry else None,
        "source": result.source,
        "created_at": times.to_text(result.entry.created_at) if result.entry else None,
        "moment": times.to_text(result.moment) if result.moment else None,
        "target": str(result.target),
        "way": result.way.name.lower(),
        "replaced": str(result.replaced) if result.replaced else None,
        "equal": result.equal,
        "migrated": list(result.migrated),
        "notes": list(result.notes),
    }
