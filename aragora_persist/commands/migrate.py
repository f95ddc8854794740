"""``migrate``: what each action of the migrations' command line does (``migrations.command`` defines them)."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from aragora_persist.commands.console import Progress, print_error, print_json
from aragora_persist.databases import DATABASES, Database, find_database
from aragora_persist.errors import PersistError
from aragora_persist.migrations import answers, folder, runner
from aragora_persist.migrations.usage import check_usage
from aragora_persist.redaction import redact
from aragora_persist.storage.sqlite.files import resolve
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.migrations.answers import Answer
    from aragora_persist.settings import Settings


def run(arguments: Namespace) -> int:
    """Do one action over one database or all: one that fails does not keep the others from theirs."""
    actions = _Actions(arguments, check_usage(arguments))
    act = actions.chosen()
    documents: list[dict[str, object]] = []
    code = 0
    for database in DATABASES if arguments.database is None else (find_database(arguments.database),):
        try:
            # What a migration prints is no part of the answer.
            with Progress() as progress, redirect_stdout(sys.stderr):
                answer = act(database, progress.tell)
        except PersistError as error:
            code = 1
            documents.append({"database": database.name, "error": redact(str(error))})
            print_error(error, subject=database.name, verbose=arguments.verbose)
            continue
        if answer.attention and (arguments.exit_code or arguments.check):
            code = 1
        documents.append({"database": database.name, **answer.document})
        if not arguments.json:
            print(f"{database.name}: {answer.text}", flush=True)
    if arguments.json:
        print_json(documents)
    return code


class _Actions:
    """Each takes a database and something to tell its progress to."""

    def __init__(self, arguments: Namespace, settings: Settings) -> None:
        self._arguments = arguments
        self._settings = settings

    def chosen(self) -> Callable[[Database, Callable[[str], None]], Answer]:
        """Return the action that the arguments name."""
        arguments = self._arguments
        if arguments.status:
            return self._status
        if arguments.create is not None:
            return self._create
        if arguments.check:
            return self._check
        if arguments.rollback or arguments.rollback_to is not None:
            return self._rollback
        if arguments.adopt:
            return self._adopt
        return self._rehearse if arguments.dry_run else self._migrate

    def _status(self, database: Database, _progress: Callable[[str], None]) -> Answer:
        status = runner.status(self._path(database), database.name)
        return answers.of_status(status, verbose=self._arguments.verbose)

    def _rehearse(self, database: Database, progress: Callable[[str], None]) -> Answer:
        from aragora_persist.migrations.rehearsal import rehearse  # noqa: PLC0415 - only a rehearsal needs it

        return answers.of_rehearsal(rehearse(self._path(database), database.name, progress=progress))

    def _migrate(self, database: Database, progress: Callable[[str], None]) -> Answer:
        change = runner.migrate(
            self._path(database),
            database.name,
            backup=not self._arguments.no_backup,
            settings=self._settings,
            progress=progress,
        )
        return answers.of_change("applied", change)

    def _rollback(self, database: Database, progress: Callable[[str], None]) -> Answer:
        to = self._arguments.rollback_to
        change = runner.rollback(
            self._path(database),
            database.name,
            to=None if to is None else int(to),
            backup=not self._arguments.no_backup,
            settings=self._settings,
            progress=progress,
        )
        return answers.of_change("undid", change)

    def _create(self, database: Database, _progress: Callable[[str], None]) -> Answer:
        from aragora_persist.migrations.creating import create  # noqa: PLC0415 - only a new file needs it

        named = self._arguments.folder
        target = folder.folder_of(database.name) if named is None else resolve(named)
        return answers.of_created(create(target, self._arguments.create, utc_now()))

    def _check(self, database: Database, _progress: Callable[[str], None]) -> Answer:
        from aragora_persist.migrations import lint  # noqa: PLC0415 - only a check needs it

        return answers.of_findings(lint.check(database.name))

    def _adopt(self, database: Database, progress: Callable[[str], None]) -> Answer:
        from aragora_persist.migrations import adoption  # noqa: PLC0415 - only an adoption needs it

        path = self._path(database)
        report = adoption.adopt(
            self._arguments.source or path,
            path,
            database.name,
            dry_run=self._arguments.dry_run,
            settings=self._settings,
            progress=progress,
        )
        return answers.Answer(str(report), {"adoption": report.document()})

    def _path(self, database: Database) -> Path:
        return database.path(self._settings.nomic_dir)
