"""A database that is only looked at: a backend of the port that writes nothing, also not beside the file.

For read-only mounts and folders, and for programs that must not disturb: ``UserStore(open_read_only(path, "users"))``.
Each view opens the file anew, so that it sees what others have written since, whoever has it open by then. Leaves out:
how a file is opened without a trace (``readonly``).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Never, Self

from aragora_persist.databases import find_database
from aragora_persist.errors import MisuseError
from aragora_persist.migrations import ledger
from aragora_persist.settings import Settings
from aragora_persist.storage.blocks import Block
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import resolve
from aragora_persist.storage.sqlite.opening import refuse_unfit
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.storage.sqlite.sessions import View

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from aragora_persist.storage.port import Context, Row, Value


def open_read_only(
    path: str | os.PathLike[str] | None, database: str, *, settings: Settings | None = None
) -> ReadOnlyDatabase:
    """Open ``path`` as the database of this name (``"users"``) for reading; None is its place under ``NOMIC_DIR``.

    Raises:
        SchemaOutdatedError: its schema is older than this release's; only who may write can migrate it.
        SchemaTooNewError: it is newer, and says that this release cannot work with it.
        StorageError: it is not there or cannot be read.
        DamagedError: it is not a database.
        InvalidValueError: there is no database of this name.

    """
    settings = settings or Settings.from_env()
    known = find_database(database)
    place = resolve(known.path(settings.nomic_dir) if path is None else path)
    with open_readonly(place) as connection:
        refuse_unfit(ledger.read(connection), place, database)
    return ReadOnlyDatabase(place, database, settings.slow_query_ms)


class ReadOnlyDatabase:
    """Satisfies ``port.Backend``; every write is refused."""

    def __init__(self, path: Path, name: str, slow_query_ms: float) -> None:
        self.name = name
        self.target = str(path)
        self.slow_query_ms = slow_query_ms
        self._path = path
        self._closed = False
        self._open: dict[sqlite3.Connection, ExitStack] = {}

    def read(self, operation: str, context: Context | None = None) -> Block[View]:
        """Open a view for reading. See ``port.Backend``."""
        return Block(View(self, operation, context))

    def read_one(
        self, operation: str, sql: str, parameters: Sequence[Value] = (), context: Context | None = None
    ) -> Row | None:
        """Return the first row of one statement. See ``port.Backend``."""
        with self.read(operation, context) as view:
            return view.one(sql, parameters)

    def write(self, operation: str, *_: object, **__: object) -> Never:
        """Refuse.

        Raises:
            MisuseError: always.

        """
        raise MisuseError(
            operation, self.target, "is open for reading only", hint="open the store by its path to write"
        )

    write_together = write

    def transaction(self, operation: str = "transaction", **_: object) -> Never:
        """Refuse. See ``write``."""
        self.write(operation)

    def close(self) -> None:
        """Refuse views from now on; one that is still open ends in order."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, operation: str) -> sqlite3.Connection:
        """Return a connection with a read transaction open. For views."""
        if self._closed:
            raise MisuseError(operation, self.target, "the database was closed", hint="open it again")
        with ExitStack() as stack:
            connection = stack.enter_context(open_readonly(self._path))
            try:
                connection.execute("BEGIN")
            except DRIVER_ERRORS as error:
                raise translate(error, operation, self.target) from error
            self._open[connection] = stack.pop_all()
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """End the read transaction and close the connection. For views."""
        self._open.pop(connection).close()

    def let_go(self, connection: sqlite3.Connection) -> None:
        """Close the connection, unless that is done. For views."""
        if connection in self._open:
            self.give(connection)
