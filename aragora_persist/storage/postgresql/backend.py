"""The PostgreSQL backend of the port: one pool of connections, and writers that come one after the other.

As with SQLite, a database has one writer at a time: what a transaction has read stays true until it commits, so that
check-then-act is safe, nothing has to be tried again, and ids become visible in their order. Threads of a process take
turns; between processes the lock of the table ``schema_version`` decides, first come, first served. Readers never wait.
"""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg.pq import TransactionStatus

from aragora_persist.errors import BusyError, MisuseError, OutcomeUnknownError, PersistError, UnreachableError
from aragora_persist.settings import Durability
from aragora_persist.storage.blocks import Block
from aragora_persist.storage.postgresql.connecting import Server, milliseconds
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.postgresql.opening import require_schema
from aragora_persist.storage.postgresql.pool import MOST_CONNECTIONS, Pool
from aragora_persist.storage.postgresql.sessions import Session, View, WriteTransaction
from aragora_persist.storage.postgresql.statements import numbered
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.forks import watch
from aragora_persist.storage.sqlite.turns import Place, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from psycopg import Cursor

    from aragora_persist.settings import Secret, Settings
    from aragora_persist.storage.port import Context, Item, Result, Row, Transaction, Value
    from aragora_persist.storage.postgresql.connecting import Connection

_SYNCHRONOUS = {Durability.DURABLE: "on", Durability.COMMITTED: "off"}
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ"
# The lock first, the snapshot with the first statement after it: so this sees all that the writer before it wrote.
_WRITE = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; SET LOCAL lock_timeout = {timeout_ms}; "
    "SET LOCAL synchronous_commit = {synchronous}; LOCK TABLE schema_version IN EXCLUSIVE MODE"
)


def open_database(
    database: str, address: Secret, schema: str, settings: Settings, *, migrate: bool
) -> PostgresqlDatabase:
    """Open a database with the schema of this release; see ``open_postgresql``."""
    opened = PostgresqlDatabase(database, Server(address, schema, settings.db_timeout_s), settings)
    try:
        opened.require_schema(migrate=migrate)
    except BaseException:
        opened.close()
        raise
    return opened


class PostgresqlDatabase:
    """One open database; satisfies ``port.Backend``."""

    def __init__(self, name: str, server: Server, settings: Settings) -> None:
        self.name = name
        self.target = server.target
        self.slow_query_ms = settings.slow_query_ms
        self._server = server
        self._durability = settings.durability
        self._closed = False
        self._begin_anew()
        watch(self)

    def require_schema(self, *, migrate: bool) -> None:
        """Make sure that this release can work with the schema; see ``opening``."""
        connection = self._pool.take("open database", self._server.timeout_s)
        try:
            require_schema(connection, self._server, self.name, migrate=migrate)
        finally:
            self._pool.give(connection)

    def read(self, operation: str, context: Context | None = None) -> Block[View]:
        """Open a view for reading. See ``port.Backend``."""
        return Block(View(self, operation, context))

    def read_one(
        self, operation: str, sql: str, parameters: Sequence[Value] = (), context: Context | None = None
    ) -> Row | None:
        """Return the first row of one statement, which needs no transaction. See ``port.Backend``."""
        connection, cursor, spent_s = self._begin(
            operation, None, numbered(sql), parameters, monotonic() + self._server.timeout_s
        )
        try:
            self.end(connection)
        except BaseException:  # interrupted: once more
            self.end(connection)
            raise
        report_slow(operation, context, spent_s, self.slow_query_ms)
        return cursor.fetchone()

    def write(
        self,
        operation: str,
        work: Callable[[Transaction], Result],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Run ``work`` in a write transaction and return its result. See ``port.Backend``.

        Raises:
            OutcomeUnknownError: the connection broke while the commit was under way.

        """
        with Block(WriteTransaction(self, operation, durability, context)) as transaction:
            return work(transaction)

    def write_together(
        self,
        operation: str,
        item: Item,
        work: Callable[[Transaction, Sequence[Item]], Sequence[Result]],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Do ``work`` to ``item`` and return its result: here, by itself. See ``port.Backend``."""
        return self.write(operation, lambda tx: work(tx, (item,))[0], durability=durability, context=context)

    def transaction(
        self, operation: str = "transaction", *, durability: Durability | None = None
    ) -> Block[WriteTransaction]:
        """Open a write transaction. See ``port.Backend`` and ``write``."""
        return Block(WriteTransaction(self, operation, durability))

    def close(self) -> None:
        """Close every connection. Closing twice does nothing.

        Raises:
            BusyError: a write transaction was still open after the timeout; its end closes its connection.

        """
        if self._closed:
            return
        self._closed = True
        idle = not self._turns.mine() and self._turns.take(self._server.timeout_s)
        self._pool.close()
        if not idle:
            raise BusyError("close database", self.target, "a transaction is still open")
        self._turns.give()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin_read(self, operation: str, session: Session) -> Connection:
        """Lend a connection with a read transaction open."""
        return self._begin(operation, session, _READ, None, monotonic() + self._server.timeout_s)[0]

    def begin_write(
        self, operation: str, session: Session, durability: Durability | None, place: Place[None]
    ) -> Connection:
        """Lend a connection with a write transaction open, alone among all writers; ``place`` has their turn."""
        deadline = monotonic() + self._server.timeout_s
        if self._turns.mine():
            raise MisuseError(
                operation,
                self.target,
                "this thread already has a transaction open here",
                hint="work through the open one: pass it on as tx=",
            )
        if not self._turns.take(self._server.timeout_s, place):
            raise BusyError(
                operation,
                self.target,
                f"other threads kept the writer for {self._server.timeout_s:g} s",
                hint="look for a long-running transaction, or raise DB_TIMEOUT",
            )
        synchronous = _SYNCHRONOUS[durability or self._durability]
        begin = _WRITE.format(timeout_ms=milliseconds(deadline - monotonic()), synchronous=synchronous)
        return self._begin(operation, session, begin.encode(), None, deadline)[0]

    def commit(self, connection: Connection, operation: str) -> None:
        """Commit; after an error nothing of the transaction stays, but where the connection broke just then.

        Raises:
            OutcomeUnknownError: it did.
            MisuseError: a statement has failed or ended the transaction, and the block went on.

        """
        if connection.pgconn.transaction_status != TransactionStatus.INTRANS and not connection.closed:
            raise MisuseError(
                operation,
                self.target,
                "the transaction was ended by a statement, or by one that failed and whose error was caught",
                hint="put what may fail into nested()",
            )
        try:
            connection.execute(b"COMMIT", prepare=False)
        except DRIVER_ERRORS as error:
            raise self._commit_fault(connection, error, operation) from None
        except BaseException as interrupt:
            interrupt.add_note(f"{operation} may have been written before this")
            raise

    def end(self, connection: Connection) -> None:
        """Take a connection back, unless that is done; a transaction that is still open is rolled back."""
        if connection not in self._lent:
            return
        try:
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.execute(b"ROLLBACK", prepare=False)
        except psycopg.Error:
            pass  # the pool closes it, which rolls back
        finally:
            self._pool.give(connection)
            del self._lent[connection]

    def let_next(self, place: Place[None]) -> None:
        """Let the next writer begin, if it is the turn of ``place`` that has ended."""
        if self._turns.has(place):
            self._turns.give()

    def abandon(self) -> list[Connection]:
        """See ``forks.Holder``."""
        inherited = [*self._pool.abandon(), *self._lent]
        for session in self._lent.values():
            if session is not None:
                session.disown()
        self._begin_anew()
        return inherited

    def _begin_anew(self) -> None:
        self._turns: Turns[None] = Turns()
        self._lent: dict[Connection, Session | None] = {}
        self._pool = Pool(self._server)
        if self._closed:
            self._pool.close()

    def _begin(
        self,
        operation: str,
        session: Session | None,
        statement: bytes,
        parameters: Sequence[Value] | None,
        deadline: float,
    ) -> tuple[Connection, Cursor[Row], float]:
        """Lend a connection after its first statement, with what that gave and took, in seconds.

        Connections that the server has closed meanwhile are replaced.
        """
        for _ in range(MOST_CONNECTIONS + 1):
            connection = self._pool.take(operation, deadline - monotonic())
            self._lent[connection] = session
            try:
                start = perf_counter()
                cursor = connection.execute(statement, parameters, prepare=None if parameters else False)
                return connection, cursor, perf_counter() - start
            except BaseException as error:
                self.end(connection)
                if connection.closed and isinstance(error, psycopg.Error):
                    continue
                if isinstance(error, DRIVER_ERRORS):
                    raise translate(error, operation, self.target) from None
                raise
        raise UnreachableError(
            operation, self.target, "the server closes every connection", hint="is it shutting down?"
        )

    def _commit_fault(self, connection: Connection, error: BaseException, operation: str) -> PersistError:
        if not connection.closed:
            return translate(error, operation, self.target)
        return OutcomeUnknownError(
            operation,
            self.target,
            "the connection broke while the commit was under way: it may have taken place",
            hint="look whether it did; what carries an event_key may simply be written again",
        )
