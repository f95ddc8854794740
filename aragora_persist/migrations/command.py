"""The documented command line of the migrations: ``python -m aragora_persist.migrations.runner``.

Only arguments, output and exit codes (0 done, 1 failed, 2 usage); the work is in ``runner``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.cli import exit_code_of
from aragora_persist.commands.console import print_error
from aragora_persist.databases import DATABASES, Database, find_database
from aragora_persist.errors import InvalidValueError, PersistError
from aragora_persist.migrations import folder, runner
from aragora_persist.redaction import redact
from aragora_persist.settings import Settings
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DONE, FAILED, USAGE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one database had to say: for people, for programs, and whether it needs the operator."""

    text: str
    data: dict[str, object]
    attention: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.db is None and (options.create is not None or options.rollback or options.rollback_to is not None):
        parser.error("--create, --rollback and --rollback-to need --db NAME")
    try:
        databases = DATABASES if options.db is None else (find_database(options.db),)
        settings = Settings.from_env(nomic_dir=options.nomic_dir or None)
    except InvalidValueError as error:
        print_error(error, verbose=options.verbose)
        return USAGE
    return exit_code_of(lambda: _Run(options, settings).over(databases), verbose=options.verbose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aragora_persist.migrations.runner", description="Migrations of the SQLite databases."
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--status", action="store_true", help="show the schema version of each database")
    action.add_argument("--dry-run", action="store_true", help="apply what is pending to a copy of each database")
    action.add_argument("--migrate", action="store_true", help="apply what is pending")
    action.add_argument("--create", metavar="DESC", help="write the next migration's file")
    action.add_argument("--rollback", action="store_true", help="undo the last migration")
    action.add_argument("--rollback-to", metavar="N", type=int, help="undo every migration above version N")
    names = ", ".join(database.name for database in DATABASES)
    parser.add_argument("--db", metavar="NAME", help=f"only this database: {names}")
    parser.add_argument("--nomic-dir", metavar="DIR", help="where the databases are (default: $NOMIC_DIR)")
    parser.add_argument("--no-backup", action="store_true", help="take no snapshot before a change")
    parser.add_argument("-v", "--verbose", action="store_true", help="name each migration")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--exit-code", action="store_true", help="with --status: exit 1 unless every schema is current")
    return parser


class _Run:
    """One action over some databases: one that fails does not keep the others from theirs."""

    def __init__(self, options: argparse.Namespace, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._place = settings.nomic_dir

    def over(self, databases: Sequence[Database]) -> int:
        act = self._action()
        documents: list[dict[str, object]] = []
        code = DONE
        for database in databases:
            try:
                answer = act(database)
            except PersistError as error:
                code = FAILED
                documents.append({"database": database.name, "error": redact(str(error))})
                print_error(error, subject=database.name, verbose=self._options.verbose)
                continue
            if answer.attention and self._options.exit_code:
                code = FAILED
            documents.append({"database": database.name, **answer.data})
            if not self._options.json:
                print(f"{database.name}: {answer.text}")  # noqa: T201 - a command line prints
        if self._options.json:
            print(json.dumps(documents, indent=2))  # noqa: T201 - a command line prints
        return code

    def _action(self) -> Callable[[Database], _Answer]:
        if self._options.status:
            return self._status
        if self._options.dry_run:
            return self._rehearse
        if self._options.migrate:
            return self._migrate
        return self._create if self._options.create is not None else self._rollback

    def _status(self, database: Database) -> _Answer:
        status = runner.status(database.path(self._place), database.name)
        pending = [migration.name for migration in status.pending]
        text = f"{status.state}, version {status.version} of {status.latest} ({status.path})"
        if self._options.verbose:
            text += "".join(f"\n  applied {row.name} at {row.applied_at}" for row in status.applied)
            text += "".join(f"\n  pending {name}" for name in pending)
        data: dict[str, object] = {
            "path": str(status.path),
            "state": status.state,
            "version": status.version,
            "latest": status.latest,
            "pending": pending,
        }
        return _Answer(text, data, attention=status.state != "current")

    def _rehearse(self, database: Database) -> _Answer:
        done = runner.rehearse(database.path(self._place), database.name)
        return self._told("would apply", tuple(migration.name for migration in done))

    def _migrate(self, database: Database) -> _Answer:
        change = runner.migrate(
            database.path(self._place), database.name, backup=not self._options.no_backup, settings=self._settings
        )
        return self._told("applied", tuple(migration.name for migration in change.migrations), change.snapshot)

    def _rollback(self, database: Database) -> _Answer:
        change = runner.rollback(
            database.path(self._place),
            database.name,
            to=self._options.rollback_to,
            backup=not self._options.no_backup,
            settings=self._settings,
        )
        return self._told("undid", tuple(migration.name for migration in change.migrations), change.snapshot)

    def _create(self, database: Database) -> _Answer:
        path = folder.create(folder.folder_of(database.name), self._options.create, utc_now())
        return _Answer(f"created {path}", {"created": str(path)})

    def _told(self, verb: str, names: tuple[str, ...], snapshot: Path | None = None) -> _Answer:
        text = f"{verb} {', '.join(names)}" if names else "nothing to do"
        if snapshot is not None:
            text += f"; snapshot from before: {snapshot}"
        data: dict[str, object] = {verb.replace(" ", "_"): list(names)}
        if snapshot is not None:
            data["snapshot"] = str(snapshot)
        return _Answer(text, data)
