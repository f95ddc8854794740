"""How a file stands to its database's migrations: what is applied, what is pending, or why it is refused.

Leaves out: doing something about it (``runner``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES
from aragora_persist.errors import MigrationError, PersistError, SchemaTooNewError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.adoption import is_foreign
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import MEMORY

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aragora_persist.migrations.plan import Applied, Migration


class Refused(Exception):  # noqa: N818 - it is not for users, who get its `error`
    """A database is not migrated, and why: the state that its status shows, and the error that migrating raises."""

    def __init__(self, state: str, applied: Sequence[Applied], error: PersistError) -> None:
        super().__init__(state)
        self.state = state
        self.applied = tuple(applied)
        self.error = error


class Expected:
    """The migrations that a file should have had, and what its ledger says of that."""

    def __init__(self, path: Path | None, database: str, folder: Path | None) -> None:
        self.target: Path | str = path or MEMORY
        self.migrations = load(folder or folder_of(database))
        self.database = database
        self._may_be_mixed_up = folder is None

    def judge(self, connection: sqlite3.Connection) -> tuple[tuple[Applied, ...], tuple[Migration, ...]]:
        """Return what is applied and what is pending.

        Raises:
            Refused: nothing may be applied or undone here.

        """
        with _one_view(connection):
            return self._judged(connection)

    def _judged(self, connection: sqlite3.Connection) -> tuple[tuple[Applied, ...], tuple[Migration, ...]]:
        if is_foreign(connection):
            hint = f"take it over: aragora-persist migrate --adopt --db {self.database}"
            problem = "has tables, and no ledger that says which migrations made them"
            raise Refused("foreign", (), MigrationError("migrate", self.target, problem, hint=hint))
        applied = ledger.read(connection)
        try:
            return applied, plan.pending(self.migrations, applied, self.target)
        except (MigrationError, SchemaTooNewError) as error:
            owner = self._owner(applied)
            if owner is not None:
                problem = f"is a database {owner!r} by its ledger, not {self.database!r}"
                hint = "see whether two files were exchanged"
                raise Refused("foreign", applied, MigrationError("migrate", self.target, problem, hint=hint)) from None
            state = "newer" if isinstance(error, SchemaTooNewError) else "edited"
            raise Refused(state, applied, error) from None

    def pending(self, connection: sqlite3.Connection) -> tuple[Migration, ...]:
        """Return what is pending.

        Raises:
            PersistError: nothing may be applied or undone here.

        """
        try:
            return self.judge(connection)[1]
        except Refused as refused:
            raise refused.error from None
        except DRIVER_ERRORS as error:
            raise translate(error, "migrate", self.target) from error

    def _owner(self, applied: Sequence[Applied]) -> str | None:
        """Return the other database of the registry whose migrations the ledger tells of."""
        own = {migration.checksum for migration in self.migrations}
        if not self._may_be_mixed_up or any(row.checksum in own for row in applied):
            return None
        names = (database.name for database in DATABASES if database.name != self.database)
        return plan.owner(applied, {name: load(folder_of(name)) for name in names})


@contextmanager
def _one_view(connection: sqlite3.Connection) -> Iterator[None]:
    """Read in one transaction: tables and ledger of a database that another process is just making come together."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
