"""``supabase``: the schema of the project's database, applied and looked at; and a backup put into it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.cloud.schema import apply_schema, database_url, inspect_schema
from aragora_persist.commands.console import print_json, print_table, read_settings
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.cloud.schema import SchemaState
    from aragora_persist.settings import Secret, Settings


def run(arguments: Namespace) -> int:
    """Apply what is pending, put a backup in, or show how the database stands; showing it is always a success.

    Raises:
        InvalidValueError: no database is configured.

    """
    settings = read_settings(arguments)
    db_url = database_url(settings, "supabase")
    if arguments.action == "status":
        _show(db_url, json=arguments.json)
    elif arguments.action == "restore":
        _restore(arguments, settings)
    elif arguments.dry_run:
        _rehearse(db_url, json=arguments.json)
    else:
        _apply(db_url, json=arguments.json)
    return 0


def _show(db_url: Secret, *, json: bool) -> None:
    state = inspect_schema(db_url)
    if json:
        print_json(asdict(state))
        return
    rows = [(title, "edited since" if title in state.edited else "applied") for title in state.applied]
    rows += [(title, "pending, but too old" if title in state.late else "pending") for title in state.pending]
    rows += [(title, "applied, not in this release") for title in state.unknown]
    print_table(("MIGRATION", "STATE"), rows)
    print(f"\nDatabase: {state.database}")
    _print_drift(state)


def _print_drift(state: SchemaState) -> None:
    """Say what no migration will mend, since each is applied once only."""
    for line in state.drift:
        print(f"Drift:    {line}")
    if state.drift:
        print("Way out:  by hand: remove what no migration makes; run what supabase/migrations says of what is missing")


def _rehearse(db_url: Secret, *, json: bool) -> None:
    state = inspect_schema(db_url)
    state.check()
    if json:
        print_json({"would_apply": state.pending})
        return
    for title in state.pending:
        print(f"would apply {title}")
    if not state.pending:
        print("nothing to do")


def _apply(db_url: Secret, *, json: bool) -> None:
    done = apply_schema(db_url, on_applied=lambda title: None if json else print(f"applied {title}", flush=True))
    if json:
        print_json({"applied": done})
    elif not done:
        print("nothing to do")
    if not json:
        _print_drift(inspect_schema(db_url))


def _restore(arguments: Namespace, settings: Settings) -> None:
    from aragora_persist.backup.supabase import restore  # noqa: PLC0415 - the other actions need none of it

    if arguments.file is not None and (arguments.at or arguments.backup):
        arguments.refuse("a FILE goes with neither --at nor --backup")
    done = restore(
        settings,
        backup_id=arguments.backup,
        at=arguments.at,
        file=Path(arguments.file) if arguments.file else None,
        replace=arguments.replace,
    )
    rows = sum(table.rows for table in done.content.tables.values())
    if arguments.json:
        document = {"backup": done.entry.id if done.entry else None, "database": done.database}
        print_json({**document, "tables": len(done.content.tables), "rows": rows, "replaced": list(done.aside)})
        return
    source = done.entry.id if done.entry else arguments.file
    print(f"Restored {source} into {done.database}: {count_text(rows, 'row')} in {len(done.content.tables)} tables")
    if done.aside:
        print(f"What was there before is kept in the schemas {' and '.join(done.aside)}.")
    print("What a later release adds: aragora-persist supabase apply")
