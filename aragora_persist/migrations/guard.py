"""What a migration's body may not do, and may not have done when it ends.

The body gets the connection itself, inside of our transaction and with foreign keys off. While it runs, an authorizer
denies it by name what would end the transaction (``executescript`` and ``with conn:`` commit behind the author's back),
reach beyond the file, switch a protection off, or write the ledger; a body that catches the denial is refused as well.
Nor may it go on when SQLite has rolled back by itself (a full disk, ``ON CONFLICT ROLLBACK``): each of its statements
would then be a transaction of its own. Leaves out: what it may have lost (``losses``).
"""

from __future__ import annotations

import gc
import sqlite3
import sys
from contextlib import contextmanager
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError, PersistError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.losses import Definitions, Touched, check_losses, definitions
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.migrations.plan import Migration

_OPERATION = "migrate"
_DENIED = {
    sqlite3.SQLITE_TRANSACTION: "begins or ends a transaction (executescript and `with conn:` do)",
    sqlite3.SQLITE_ATTACH: "attaches another database",
    sqlite3.SQLITE_DETACH: "detaches a database",
}
_WRITES = frozenset((sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE))
_REMOVES = frozenset((sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VTABLE))
_DEFINES = frozenset((sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VTABLE))
_MAKES_TEMPORARY = frozenset(
    (
        *(sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_CREATE_TEMP_INDEX),
        *(sqlite3.SQLITE_CREATE_TEMP_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_VIEW),
    )
)
_PRAGMAS = frozenset(
    (
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
        *("foreign_key_check", "integrity_check", "quick_check"),
        *("user_version", "application_id", "legacy_alter_table"),
    )
)
"""Those that may be given a value; the others would switch a protection off, or do nothing inside a transaction."""
_UNAWAITED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_PROBE = "aragora_guard"
_ROLLED_BACK = "goes on, or ends as if all were well, after SQLite rolled its transaction back"
_HINTS = {
    _DENIED[sqlite3.SQLITE_TRANSACTION]: "use conn.execute, statement by statement",
    _ROLLED_BACK: "let the error out that made SQLite do so",
}


def run_guarded(
    connection: sqlite3.Connection, migration: Migration, step: Callable[[sqlite3.Connection], object]
) -> None:
    """Run a function of the migration inside the open transaction, and check what it did.

    Raises:
        MigrationError: it raised, or broke one of the rules; the caller rolls back.

    """
    before = definitions(connection)
    rules = _Rules(connection)
    try:
        with _as_it_was(connection, rules):
            result = _called(connection, migration, step)
    except MigrationError as error:
        if rules.broken:
            raise rules.refusal(migration.name) from (error.__cause__ or error)
        raise
    if rules.broken:
        raise rules.refusal(migration.name)
    if isinstance(result, _UNAWAITED):
        raise MigrationError(_OPERATION, migration.name, "returns a generator or a coroutine: nothing of that ran")
    _check_left(connection, migration, rules, before)


class _Rules:
    """The authorizer: SQLite asks it about all that a statement is going to do, when the statement is compiled."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.broken: list[str] = []
        self.touched = Touched()
        self.temporary = False
        self.legacy = False
        self.asked = False

    def __call__(self, action: int, first: str | None, second: str | None, schema: str | None, via: str | None) -> int:
        self.asked = True
        problem = self._problem(action, first, second)
        if problem:
            self.broken.append(problem)
            return sqlite3.SQLITE_DENY
        if action in _MAKES_TEMPORARY:
            self.temporary = True
        elif schema != "temp" and first is not None:
            self._note(action, first, second, via)
        return sqlite3.SQLITE_OK

    def refusal(self, name: str, problem: str = "") -> MigrationError:
        problem = problem or self.broken[0]
        return MigrationError(_OPERATION, name, problem, hint=_HINTS.get(problem, ""))

    def _problem(self, action: int, first: str | None, second: str | None) -> str:
        # Outside of the transaction every statement is denied, and the next ones are not even begun by Python: with an
        # isolation level (see `apply`), it would have to BEGIN for them, and that is denied too.
        if not self._connection.in_transaction:
            return _ROLLED_BACK
        if action in _DENIED:
            return _DENIED[action]
        if action == sqlite3.SQLITE_PRAGMA and second is not None and str(first).lower() not in _PRAGMAS:
            return f"sets PRAGMA {first}"
        if first == ledger.TABLE and (action in _WRITES or action in _DEFINES):
            return f"writes {ledger.TABLE}, the ledger"
        if action == sqlite3.SQLITE_ALTER_TABLE and second == ledger.TABLE:
            return f"alters {ledger.TABLE}, the ledger"
        return ""

    def _note(self, action: int, first: str, second: str | None, via: str | None) -> None:
        touched = self.touched
        if action in _WRITES or action in _DEFINES:
            if not first.startswith("sqlite_"):
                (touched.named if via is None else touched.by_triggers).add(first.lower())
                touched.removes = touched.removes or action in _REMOVES or via is not None
        elif action == sqlite3.SQLITE_ALTER_TABLE and second is not None:
            touched.altered.add(second.lower())
        elif action == sqlite3.SQLITE_DROP_INDEX and second is not None:
            touched.lost_index.add(second.lower())
        elif action == sqlite3.SQLITE_PRAGMA and first.lower() == "legacy_alter_table" and second is not None:
            self.legacy = True


@contextmanager
def _as_it_was(connection: sqlite3.Connection, rules: _Rules) -> Iterator[None]:
    """Have the authorizer asked inside of the block; afterwards the connection gives rows and text as before."""
    row_factory, text_factory = connection.row_factory, connection.text_factory
    connection.create_function(_PROBE, 0, int)
    connection.set_authorizer(rules)
    try:
        yield
        rules.asked = False
        if _is_open(connection) and connection.in_transaction:
            connection.execute("SELECT 'is the guard still there'")
            if not rules.asked:
                rules.broken.append("replaces the authorizer")
    finally:
        if _is_open(connection):
            connection.set_authorizer(None)
            connection.row_factory, connection.text_factory = row_factory, text_factory
            if sys.version_info >= (3, 12):
                connection.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL
            if rules.legacy:
                connection.execute("PRAGMA legacy_alter_table=OFF")


def _called(
    connection: sqlite3.Connection, migration: Migration, step: Callable[[sqlite3.Connection], object]
) -> object:
    try:
        result = step(connection)
        if isinstance(result, CoroutineType):
            result.close()  # or Python complains of it, much later
    except Exception as error:
        raise _failure(error, migration) from error
    except SystemExit as error:
        refuse_exit(error, migration)
        raise
    return result


def refuse_exit(error: SystemExit, migration: Migration) -> None:
    """Refuse the migration if it is what calls ``sys.exit``: the process would end there, and may say "done" with it.

    A signal's exit is none of its.

    Raises:
        MigrationError: it is.

    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_filename == str(migration.path):
        raise MigrationError(_OPERATION, migration.name, "calls sys.exit") from error


def _failure(error: Exception, migration: Migration) -> MigrationError:
    if isinstance(error, PersistError):
        problem = f"{error.operation}: {error.target}: {error.problem}"
        return MigrationError(_OPERATION, migration.name, problem, hint=error.hint)
    hint = translate(error, _OPERATION, "").hint if isinstance(error, DRIVER_ERRORS) else ""
    return MigrationError(_OPERATION, migration.name, f"{type(error).__name__}: {error}", hint=hint)


def _check_left(connection: sqlite3.Connection, migration: Migration, rules: _Rules, before: Definitions) -> None:
    name = migration.name
    if not _is_open(connection):
        raise MigrationError(_OPERATION, name, "closes the connection")
    if not connection.in_transaction:
        raise rules.refusal(name, _ROLLED_BACK)
    if _is_reading(connection):
        gc.collect()  # what nobody can reach any more, only Python still has to notice it
        if _is_reading(connection):
            problem = "leaves a cursor open, which would keep the next migration from its tables"
            raise MigrationError(_OPERATION, name, problem, hint="read it to its end, or close it")
    if rules.temporary:
        left = connection.execute("SELECT type, name FROM sqlite_temp_master LIMIT 1").fetchone()
        if left is not None:
            raise MigrationError(_OPERATION, name, f"leaves the temporary {left[0]} {left[1]} behind")
    check_losses(connection, name, rules.touched, before)


def _is_reading(connection: sqlite3.Connection) -> bool:
    """Say whether a statement is still running: while one is, SQLite takes no function away."""
    try:
        connection.create_function(_PROBE, 0, None)
    except sqlite3.OperationalError:
        return True
    return False


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False
