"""``backup``: once over the databases, or for ever as a sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.inventory import present_databases
from aragora_persist.backup.take import apply_retention, foresee_retention, take_all
from aragora_persist.commands.console import print_error, print_json, read_settings, showing
from aragora_persist.errors import NotFoundError
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.backup.retention import Decision
    from aragora_persist.settings import Settings


def run(arguments: Namespace) -> int:
    """Back up; with ``--every``, until stopped; with ``--dry-run``, only say what would be done."""
    if arguments.dry_run:
        if arguments.every is not None:
            arguments.refuse("argument --dry-run: not allowed with argument --every")
        return _foresee(arguments, read_settings(arguments))
    if arguments.every is None:
        return _once(arguments, read_settings(arguments))
    from aragora_persist.commands import sidecar  # noqa: PLC0415 - a single backup needs none of it
    from aragora_persist.service.init import run_under_init  # noqa: PLC0415 - as above

    return run_under_init(lambda: sidecar.run(arguments))


def _once(arguments: Namespace, settings: Settings) -> int:
    names = tuple(dict.fromkeys(arguments.databases)) if arguments.databases else None
    taken, failed = [], []
    with showing("backing up") as progress:
        for outcome in take_all(settings, names):
            progress.clear()
            if outcome.entry is not None:
                taken.append({"database": outcome.database, "id": outcome.entry.id, "file": outcome.entry.file})
                if not arguments.json:
                    print(f"Backed up: {outcome.database}", flush=True)
            elif outcome.error is not None:
                failed.append({"database": outcome.database, "error": redact(str(outcome.error))})
                print_error(outcome.error, verbose=arguments.verbose)
    if not (taken or failed):
        raise _nothing(settings)
    # Only where there is a newer one: a database that cannot be backed up keeps all that it has.
    decisions = apply_retention(settings, databases=[backup["database"] for backup in taken])
    removed = [decision.entry.id for decision in decisions if not decision.keep]
    if arguments.json:
        print_json({"backups": taken, "failed": failed, "removed": removed})
    else:
        for name in removed:
            print(f"Removed: {name}")
    return 1 if failed else 0


def _foresee(arguments: Namespace, settings: Settings) -> int:
    names = tuple(dict.fromkeys(arguments.databases or present_databases(settings)))
    if not names:
        raise _nothing(settings)
    decisions = foresee_retention(settings, names)
    if arguments.json:
        print_json({"backups": names, "decisions": [_decision(decision) for decision in decisions]})
        return 0
    for name in names:
        print(f"Would back up: {name}")
    for decision in decisions:
        print(f"Would {'keep' if decision.keep else 'remove'}: {decision.entry.id}: {decision.reason}")
    return 0


def _nothing(settings: Settings) -> NotFoundError:
    hint = "NOMIC_DIR or --nomic-dir names their folder; a service makes them there, or aragora-persist migrate"
    return NotFoundError("backup", settings.nomic_dir, "there is no database in it", hint=hint)


def _decision(decision: Decision) -> dict[str, object]:
    return {"id": decision.entry.id, "keep": decision.keep, "reasons": decision.reasons}
