"""The PostgreSQL backend of the port on a real server: what the contract suites of the stores do not ask of it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.errors import (
    AccessDeniedError,
    BusyError,
    ConflictError,
    InvalidValueError,
    MigrationError,
    MisuseError,
    NotFoundError,
    OutcomeUnknownError,
    PersistError,
    SchemaOutdatedError,
    SchemaTooNewError,
    StorageError,
    UnreachableError,
)
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.settings import Durability, Secret, Settings
from aragora_persist.storage.postgresql import open_postgresql
from aragora_persist.storage.postgresql.connecting import Server
from aragora_persist.storage.postgresql.opening import migrated
from aragora_persist.storage.postgresql.pool import MOST_CONNECTIONS
from aragora_persist.storage.user_store import UserStore
from tests.interrupts import AlarmError, interrupted
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.storage.port import Transaction, Value
    from aragora_persist.storage.postgresql.backend import PostgresqlDatabase
    from tests.postgresql_fixtures import PostgresqlServer

pytest_plugins = ("tests.postgresql_fixtures",)
pytestmark = pytest.mark.engine

IMPATIENT = Settings.from_env({"DB_TIMEOUT": "0.2"})
INSERT = "INSERT INTO token_blacklist (jti, user_id, expires_at, revoked_at) VALUES (?, ?, '', '')"
COUNT = "SELECT COUNT(*) FROM token_blacklist"


@pytest.fixture
def database(postgresql: PostgresqlServer, schema: str) -> Iterator[PostgresqlDatabase]:
    """Give the smallest database, empty."""
    with open_postgresql("tokens", postgresql.address, schema=schema) as opened:
        yield opened


@pytest.fixture
def other(postgresql: PostgresqlServer, database: PostgresqlDatabase, schema: str) -> Iterator[PostgresqlDatabase]:
    """Give the same database as another process has it: with connections of its own, and little patience."""
    assert database.name == "tokens"
    with open_postgresql("tokens", postgresql.address, schema=schema, settings=IMPATIENT) as opened:
        yield opened


def put(tx: Transaction, jti: str, user_id: str = "") -> None:
    """Write a row."""
    tx.execute(INSERT, (jti, user_id))


def one(database: PostgresqlDatabase, sql: str, *parameters: Value) -> Value:
    """Return the one value of a query."""
    with database.read("ask") as view:
        row = view.one(sql, parameters)
    assert row is not None
    return row[0]


def of(schema: str) -> str:
    """Return the condition for the server's processes that a schema's connections have."""
    return f"application_name = 'aragora-persist {schema}'"


def is_connected(server: PostgresqlServer, schema: str) -> bool:
    """Tell whether the server has a connection to a schema."""
    return bool(server.rows(f"SELECT 1 FROM pg_stat_activity WHERE {of(schema)}"))


def cut_off(server: PostgresqlServer, schema: str) -> None:
    """End every connection to a schema, and wait until it is gone."""
    server.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of(schema)}")
    wait_until(lambda: not is_connected(server, schema), "the connections to end")


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child, and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_older(server: PostgresqlServer, schema: str) -> None:
    """Make a schema as the first release made it, with some rows."""
    first = Server(Secret(server.address), schema, 5)
    with first.connect("make") as connection, connection.transaction():
        migrated(connection, first, load(folder_of("users"))[:1])
        connection.execute(
            "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('u', 'a@example.com', '', '')"
        )
        connection.execute("INSERT INTO organizations (id, name, slug, owner_id) VALUES ('o', 'O', 'o', 'u')")
        connection.execute("INSERT INTO audit_log (timestamp, action) VALUES ('2026-01-02T03:04:05.000000Z', 'x')")


def catalog(server: PostgresqlServer, schema: str) -> list[str]:
    """Return every column, constraint and index of a schema as PostgreSQL describes it."""
    columns = "table_name, column_name, data_type, collation_name, column_default, is_nullable, is_identity"
    parts = (
        f"SELECT {columns} FROM information_schema.columns WHERE table_schema = '{schema}'",
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = '{schema}'::regnamespace",
        f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}'",
    )
    return sorted(str(row).replace(schema, "") for part in parts for row in server.rows(part))


class TestSchema:
    """A database is a schema with the tables of this release."""

    def test_is_made_once_by_sixteen_openers(self, postgresql: PostgresqlServer, schema: str) -> None:
        """One makes it, all work, and the ledger tells of each migration once."""

        def open_and_write(number: int) -> None:
            with open_postgresql("users", postgresql.address, schema=schema) as opened, UserStore(opened) as users:
                users.create(f"user{number}@example.com")

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(open_and_write, range(16)))
        with open_postgresql("users", postgresql.address, schema=schema) as opened:
            versions = one(opened, "SELECT COUNT(*) FROM schema_version")
            assert versions == one(opened, "SELECT MAX(version) FROM schema_version")
            assert one(opened, "SELECT COUNT(*) FROM users") == 16

    def test_databases_of_one_server_are_apart(self, postgresql: PostgresqlServer, schema: str) -> None:
        """Each has its own name in the target, its own tables, and its own ledger."""
        with ExitStack() as opened:
            two = opened.enter_context(open_postgresql("tokens", postgresql.address, schema=schema))
            opened.callback(postgresql.do, f"DROP SCHEMA {schema}_2 CASCADE")
            three = opened.enter_context(open_postgresql("tokens", postgresql.address, schema=f"{schema}_2"))
            two.write("put", lambda tx: put(tx, "a"))
            assert (one(two, COUNT), one(three, COUNT)) == (1, 0)
            assert two.target.endswith(f"/postgres/{schema}")

    def test_the_default_schema_is_the_documented_one(self, postgresql: PostgresqlServer) -> None:
        """``aragora_<name>``; made for the administrator's convenience beforehand, it is filled."""
        postgresql.do_as_user("CREATE SCHEMA aragora_tokens")
        try:
            with open_postgresql("tokens", Secret(postgresql.address)) as opened:
                assert one(opened, "SELECT COUNT(*) FROM aragora_tokens.token_blacklist") == 0
        finally:
            postgresql.do("DROP SCHEMA aragora_tokens CASCADE")

    def test_an_older_one_is_migrated_when_asked_for(self, postgresql: PostgresqlServer, schema: str) -> None:
        """Else it is refused, and stays as it is; afterwards it is what a new one is, with its rows."""
        make_older(postgresql, schema)
        with pytest.raises(SchemaOutdatedError, match=r"has schema 1.*migrate=True"):
            open_postgresql("users", postgresql.address, schema=schema)
        assert postgresql.rows(f"SELECT version FROM {schema}.schema_version") == [(1,)]

        with ExitStack() as opened:
            old = opened.enter_context(open_postgresql("users", postgresql.address, schema=schema, migrate=True))
            opened.callback(postgresql.do, f"DROP SCHEMA {schema}_new CASCADE")
            opened.enter_context(open_postgresql("users", postgresql.address, schema=f"{schema}_new"))
            assert one(old, "SELECT email FROM users") == "a@example.com"
            assert catalog(postgresql, schema) == catalog(postgresql, f"{schema}_new")

    def test_a_migration_that_fails_changes_nothing(self, postgresql: PostgresqlServer, schema: str) -> None:
        """It is named, and the older schema is as it was."""
        make_older(postgresql, schema)
        postgresql.do(f"CREATE TABLE {schema}.api_keys (x int)")
        before = catalog(postgresql, schema)
        with pytest.raises(MigrationError, match=r"003_accounts.*api_keys"):
            open_postgresql("users", postgresql.address, schema=schema, migrate=True)
        assert catalog(postgresql, schema) == before

    @pytest.mark.parametrize(("min_reader", "opens"), [("0.0.1", True), ("999.0.0", False)])
    def test_a_newer_one_opens_if_it_says_so(
        self, postgresql: PostgresqlServer, schema: str, min_reader: str, *, opens: bool
    ) -> None:
        """As with files, its ledger decides."""
        open_postgresql("tokens", postgresql.address, schema=schema).close()
        postgresql.do(f"INSERT INTO {schema}.schema_version SELECT 99, '099_x', '', '', 0, '9.0.0', '{min_reader}'")
        if opens:
            open_postgresql("tokens", postgresql.address, schema=schema).close()
        else:
            with pytest.raises(SchemaTooNewError, match="999"):
                open_postgresql("tokens", postgresql.address, schema=schema)
        assert postgresql.rows(f"SELECT MAX(version) FROM {schema}.schema_version") == [(99,)]

    def test_tables_of_another_program_are_left_alone(self, postgresql: PostgresqlServer, schema: str) -> None:
        """A schema that is not ours is refused, and nothing is made in it."""
        postgresql.do_as_user(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.users (x int)")
        with pytest.raises(ConflictError, match="not ours"):
            open_postgresql("users", postgresql.address, schema=schema)
        assert postgresql.rows(f"SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == [
            ("users",)
        ]

    def test_texts_sort_as_bytes_and_defaults_have_the_one_time_form(
        self, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """As in SQLite: capitals first, then small letters, then the rest of Unicode."""
        with open_postgresql("users", postgresql.address, schema=schema) as opened:
            for name in ("b", "B", "ä", "a"):
                opened.write(
                    "put",
                    lambda tx, name=name: tx.execute(  # type: ignore[misc] # bound at once
                        "INSERT INTO users (id, email, password_hash, password_salt) VALUES (?, ?, '', '')",
                        (name, name),
                    ),
                )
            with opened.read("sorted") as view:
                assert view.all("SELECT id FROM users ORDER BY id") == [("B",), ("a",), ("b",), ("ä",)]
            made = one(opened, "SELECT created_at FROM users WHERE id = ?", "a")
        assert isinstance(made, str)
        assert (len(made), made[10], made[19], made[-1]) == (27, "T", ".", "Z")


class TestStatements:
    """Values and statements mean what they mean in SQLite."""

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("SUM(n)", 6),
            ("AVG(n)", 2.0),
            ("SUM(n * 1.5)", 9.0),
            ("SUM(n * 0.5) > 2", 1),
            ("COUNT(*) = 4", 0),
            ("MAX(n) / 2", 1),
            ("MIN(NULL)", None),
            ("SUM(9223372036854775807)", 3 * 9223372036854775807),
        ],
    )
    def test_rows_hold_plain_values(self, database: PostgresqlDatabase, expression: str, expected: Value) -> None:
        """No Decimal and no bool: ints where a value is whole, else floats."""
        found = one(database, f"SELECT {expression} FROM (VALUES (1), (2), (3)) AS rows (n)")
        assert (found, type(found)) == (expected, type(expected))

    @pytest.mark.parametrize(
        "value", [0, -1, 2**63 - 1, -(2**63), 0.1, -1e300, 5e-324, "", "ä☕\n'\"\\%?", b"\x00\xff", None]
    )
    def test_values_come_back_as_they_went(self, postgresql: PostgresqlServer, schema: str, value: Value) -> None:
        """Every kind, at its limits."""
        with open_postgresql("tokens", postgresql.address, schema=schema) as opened:
            kind = {int: "BIGINT", float: "DOUBLE PRECISION", bytes: "BYTEA"}.get(type(value), "TEXT")
            found = one(opened, f"SELECT CAST(? AS {kind})", value)
        assert (found, type(found)) == (value, type(value))

    def test_a_number_becomes_what_its_column_is(self, database: PostgresqlDatabase) -> None:
        """As SQLite's affinity makes it: text in a text column; a bool is 0 or 1."""
        database.write("put", lambda tx: tx.execute(INSERT, (5, True)))
        with database.read("get") as view:
            assert view.one("SELECT jti, user_id FROM token_blacklist WHERE jti = ?", (5,)) == ("5", "1")

    def test_a_question_mark_in_a_text_is_no_parameter(self, database: PostgresqlDatabase) -> None:
        """Nor are percent signs anything."""
        sql = "SELECT '?%s' || jti || '%' FROM token_blacklist WHERE jti <> '?' AND jti = ?"
        database.write("put", lambda tx: put(tx, "a"))
        assert one(database, sql, "a") == "?%sa%"

    def test_counts_what_changed(self, database: PostgresqlDatabase) -> None:
        """For one statement and for many, and nothing for what was left out."""

        def work(tx: Transaction) -> list[int]:
            unless = f"{INSERT} ON CONFLICT (jti) DO NOTHING"
            return [
                tx.execute_many(INSERT, ((str(number), "") for number in range(5))),
                tx.execute(unless, ("1", "")),
                tx.execute_many(unless, [("1", ""), ("9", "")]),
                tx.execute("UPDATE token_blacklist SET reason = 'x' WHERE jti < ?", ("3",)),
                tx.execute("DELETE FROM token_blacklist WHERE jti = '4' RETURNING jti"),
                tx.execute_many(INSERT, []),
            ]

        assert database.write("count", work) == [5, 0, 1, 3, 1, 0]

    @pytest.mark.parametrize(
        "value", ["a\x00b", "\udc80", 2**63, object()], ids=["NUL", "surrogate", "65 bits", "object"]
    )
    @pytest.mark.parametrize("many", [False, True])
    def test_refuses_what_cannot_be_stored(self, database: PostgresqlDatabase, value: str, *, many: bool) -> None:
        """Nothing of the transaction stays, and the database works on."""

        def work(tx: Transaction) -> None:
            put(tx, "before")
            if many:
                tx.execute_many(INSERT, [("x", ""), (value, "")])
            else:
                tx.execute(INSERT, (value, ""))

        with pytest.raises(InvalidValueError):
            database.write("put", work)
        assert one(database, COUNT) == 0

    @pytest.mark.parametrize(
        ("statement", "parameters"),
        [
            ("INSERT INTO users (id, email, password_hash, password_salt) VALUES ('1', ?, '', '')", ("hidden",)),
            ("INSERT INTO users (id, email, password_hash, password_salt) VALUES (?, NULL, '', '')", ("hidden",)),
            ("INSERT INTO usage_events (org_id, event_type, timestamp) VALUES (?, '', '')", ("hidden",)),
        ],
        ids=["unique", "not null", "foreign key"],
    )
    def test_a_constraint_is_a_conflict_and_tells_no_value(
        self, postgresql: PostgresqlServer, schema: str, statement: str, parameters: tuple[str, ...]
    ) -> None:
        """PostgreSQL's own words show the row; ours name the constraint, in the whole traceback."""
        with open_postgresql("users", postgresql.address, schema=schema) as opened:
            first = "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('0', 'hidden', '', '')"
            opened.write("put", lambda tx: tx.execute(first))
            with pytest.raises(ConflictError) as refused:
                opened.write("put", lambda tx: tx.execute(statement, parameters))
            assert one(opened, "SELECT COUNT(*) FROM users") == 1
        assert "hidden" not in "".join(traceback.format_exception(refused.value))
        assert "constraint" in refused.value.problem

    @pytest.mark.parametrize(
        ("sql", "parameters", "leaf"),
        [
            ("SELECT * FROM nowhere", (), StorageError),
            ("SELECT 1 WHERE 1 = ?", ("hidden",), InvalidValueError),
            ("SELECT CAST(? AS TEXT)", (), InvalidValueError),
            ("SELECT 1 / 0", (), InvalidValueError),
            ("DELETE FROM token_blacklist", (), StorageError),
        ],
    )
    def test_a_wrong_statement_is_our_error(
        self, database: PostgresqlDatabase, sql: str, parameters: tuple[str, ...], leaf: type[PersistError]
    ) -> None:
        """Never a bare one of the driver; writing in a view is refused."""
        with pytest.raises(leaf) as refused, database.read("ask") as view:
            view.all(sql, parameters)
        assert (refused.value.operation, refused.value.target) == ("ask", database.target)
        assert "hidden" not in "".join(traceback.format_exception(refused.value))
        assert one(database, COUNT) == 0


class TestViews:
    """Reading."""

    def test_one_statement_is_read_alone(self, database: PostgresqlDatabase) -> None:
        """Without a transaction, and still for reading only: what would write is refused, and writes nothing."""
        database.write("put", lambda tx: put(tx, "a", "b"))
        by_id = "SELECT user_id FROM token_blacklist WHERE jti = ?"
        assert database.read_one("get", by_id, ("a",)) == ("b",)
        assert database.read_one("get", by_id, ("c",)) is None
        with pytest.raises(StorageError, match="read-only"):
            database.read_one("put", f"{INSERT} RETURNING jti", ("c", ""))
        with pytest.raises(StorageError, match="nowhere"):
            database.read_one("get", "SELECT 1 FROM nowhere")
        assert database.read_one("count", COUNT) == (1,)

    def test_a_view_sees_one_state(self, database: PostgresqlDatabase, other: PostgresqlDatabase) -> None:
        """From its first statement on, whatever is written meanwhile; and it keeps no writer waiting."""
        with database.read("view") as view:
            assert view.one(COUNT) == (0,)
            other.write("put", lambda tx: put(tx, "a"))
            assert view.one(COUNT) == (0,)
        assert one(database, COUNT) == 1

    def test_a_reader_does_not_wait_for_a_writer(self, database: PostgresqlDatabase, other: PostgresqlDatabase) -> None:
        """It sees what was before, even in the writer's own thread."""
        with database.transaction() as tx:
            put(tx, "a")
            assert (one(other, COUNT), one(database, COUNT), tx.one(COUNT)) == (0, 0, (1,))

    def test_streams_many_rows_and_several_at_once(self, database: PostgresqlDatabase) -> None:
        """Row by row, in a view and in a transaction; an abandoned stream is none's trouble."""
        database.write("put", lambda tx: tx.execute_many(INSERT, ((f"{n:04}", "") for n in range(1000))))
        sql = "SELECT jti FROM token_blacklist WHERE jti >= ? ORDER BY jti"
        with database.read("stream") as view, database.transaction("stream") as tx:
            pairs = list(zip(view.stream(sql, ("0000",)), tx.stream(sql, ("0500",)), strict=False))
            assert next(view.stream(sql, ("0999",))) == ("0999",)
        assert (len(pairs), pairs[-1]) == (500, (("0499",), ("0999",)))

    def test_a_stream_ends_with_its_block(self, database: PostgresqlDatabase) -> None:
        """As every other use of it does, with an error that says so."""
        database.write("put", lambda tx: tx.execute_many(INSERT, ((f"{n:04}", "") for n in range(1000))))
        with database.read("stream") as view:
            rows = view.stream("SELECT jti FROM token_blacklist")
            next(rows)
        with pytest.raises(MisuseError, match="has ended"):
            list(rows)
        with pytest.raises(MisuseError, match="has ended"):
            view.one(COUNT)

    def test_waits_for_a_free_connection_no_longer_than_said(self, other: PostgresqlDatabase) -> None:
        """With all in use, the next one is told so, and works again when one is free."""
        with ExitStack() as views:
            for _ in range(10):
                views.enter_context(other.read("held"))
            with pytest.raises(BusyError, match="all 10 connections"):
                one(other, COUNT)
        assert one(other, COUNT) == 0


class TestWrites:
    """Writing: one at a time, all or nothing."""

    def test_no_update_is_lost(self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str) -> None:
        """Eight threads of two processes' worth of connections read, add one and write: every one counts."""
        database.write("put", lambda tx: put(tx, "counter", "0"))

        def add(tx: Transaction) -> None:
            (count,) = tx.one("SELECT user_id FROM token_blacklist") or ("",)
            tx.execute("UPDATE token_blacklist SET user_id = ?", (int(str(count)) + 1,))

        with open_postgresql("tokens", postgresql.address, schema=schema) as second, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: (database, second)[n % 2].write("add", add), range(40)))
        assert one(database, "SELECT user_id FROM token_blacklist") == "40"

    def test_no_two_decide_on_the_same_state(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Of many that write a row of their own unless there is one, one does (plain snapshots would let all)."""

        def only_one(tx: Transaction, number: int) -> bool:
            if tx.one(COUNT) != (0,):
                return False
            put(tx, str(number))
            return True

        with open_postgresql("tokens", postgresql.address, schema=schema) as second, ThreadPoolExecutor(8) as pool:
            wrote = pool.map(lambda n: (database, second)[n % 2].write("one", lambda tx: only_one(tx, n)), range(16))
        assert (sum(wrote), one(database, COUNT)) == (1, 1)

    def test_waits_for_another_process_no_longer_than_said(
        self, database: PostgresqlDatabase, other: PostgresqlDatabase
    ) -> None:
        """The other's transaction is told of as busy, nothing was written, and the next one works."""
        with database.transaction() as tx:
            put(tx, "a")
            with pytest.raises(BusyError, match="lock"):
                other.write("put", lambda tx: put(tx, "b"))
        other.write("put", lambda tx: put(tx, "c"))
        assert one(database, COUNT) == 2

    # One that an interrupt has cut off while it was taken is closed by its destructor, which warns of it.
    @pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
    def test_nothing_is_kept_by_an_interrupt(self, database: PostgresqlDatabase) -> None:
        """Wherever it comes, the caller gets it, turn and connections are free, and others write at once."""

        def change() -> None:
            with database.read("look") as view:
                view.one(COUNT)
            database.read_one("look", COUNT)
            with database.transaction() as tx:
                put(tx, "block")
                tx.execute("DELETE FROM token_blacklist")
            database.write("put", lambda tx: put(tx, "work"))

        at = 0
        while interrupted(change, at, AlarmError):
            assert (database._turns._line, database._lent, database._pool._room.qsize()) == ([], {}, MOST_CONNECTIONS)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(database.write, "clear", lambda tx: tx.execute("DELETE FROM token_blacklist")).result()
            at += 1
        gc.collect()  # in this test, which knows of the warning
        assert at > 20
        assert one(database, COUNT) == 1

    @pytest.mark.parametrize("held", ["SELECT 1 FROM {} FOR UPDATE", "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"])
    def test_waits_for_a_lock_that_no_store_took_no_longer_than_said(
        self, other: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str, held: str
    ) -> None:
        """A row or a table that somebody's own statement holds: it is told as busy, in a read too, and passes."""
        other.write("put", lambda tx: put(tx, "a", "before"))
        change = "UPDATE token_blacklist SET user_id = 'after'"
        with psycopg.connect(postgresql.address) as somebody:
            somebody.execute(held.format(f"{schema}.token_blacklist").encode())
            with pytest.raises(BusyError, match="lock timeout"):
                other.write("change", lambda tx: tx.execute(change))
            if "TABLE" in held:
                with pytest.raises(BusyError, match="lock timeout"):
                    one(other, COUNT)
            somebody.rollback()
            assert one(other, "SELECT user_id FROM token_blacklist") == "before"
            assert other.write("change", lambda tx: tx.execute(change)) == 1

    def test_waits_for_another_thread_no_longer_than_said(self, other: PostgresqlDatabase) -> None:
        """Threads of a process take turns."""
        with ThreadPoolExecutor(1) as pool, other.transaction():
            refused = pool.submit(other.write, "put", lambda tx: put(tx, "b")).exception()
        assert isinstance(refused, BusyError)
        assert one(other, COUNT) == 0

    def test_refuses_a_transaction_in_another_of_its_thread(self, database: PostgresqlDatabase) -> None:
        """It would wait for itself; the outer one goes on."""
        with database.transaction() as tx:
            with pytest.raises(MisuseError, match="tx="):
                database.write("inner", lambda tx: put(tx, "b"))
            put(tx, "a")
        assert one(database, COUNT) == 1

    def test_any_exception_takes_everything_back(self, database: PostgresqlDatabase) -> None:
        """Also one that is no error."""
        with pytest.raises(KeyboardInterrupt), database.transaction() as tx:
            put(tx, "a")
            raise KeyboardInterrupt
        assert one(database, COUNT) == 0

    def test_a_savepoint_takes_back_its_own_part(self, database: PostgresqlDatabase) -> None:
        """A failed statement in it leaves the transaction usable, at any depth."""

        def inner(tx: Transaction) -> None:
            put(tx, "b")
            with pytest.raises(ConflictError):
                tx.nested(lambda deepest: put(deepest, "b"))
            put(tx, "c")

        with database.transaction() as tx:
            put(tx, "a")
            tx.nested(inner)
            with pytest.raises(ConflictError):
                tx.nested(lambda inner: inner.execute_many(INSERT, [("d", ""), ("a", "")]))
        with database.read("get") as view:
            assert view.all("SELECT jti FROM token_blacklist ORDER BY jti") == [("a",), ("b",), ("c",)]

    @pytest.mark.parametrize("further", [False, True], ids=["commit", "statement"])
    def test_a_failure_that_was_caught_outside_a_savepoint_is_no_success(
        self, database: PostgresqlDatabase, *, further: bool
    ) -> None:
        """PostgreSQL gives the transaction up, and would take its COMMIT for a rollback without a word."""
        with pytest.raises(MisuseError, match="nested"), database.transaction() as tx:
            put(tx, "a")
            with pytest.raises(ConflictError):
                put(tx, "a")
            if further:
                put(tx, "b")
        assert one(database, COUNT) == 0

    def test_a_transaction_that_its_own_statement_ended_is_no_success(self, database: PostgresqlDatabase) -> None:
        """Nothing is reported as written that may not be."""
        with pytest.raises(MisuseError, match="ended"), database.transaction() as tx:
            tx.execute("ROLLBACK")

    @pytest.mark.parametrize(
        ("asked", "expected"), [(None, "on"), (Durability.DURABLE, "on"), (Durability.COMMITTED, "off")]
    )
    def test_durability_decides_what_a_commit_waits_for(
        self, database: PostgresqlDatabase, asked: Durability | None, expected: str
    ) -> None:
        """Transaction by transaction."""
        assert database.write("ask", lambda tx: tx.one("SHOW synchronous_commit"), durability=asked) == (expected,)

    def test_ids_become_visible_in_their_order(self, postgresql: PostgresqlServer, schema: str) -> None:
        """So a reader that goes on after the last id it saw misses none."""
        missed: list[Value] = []
        done = threading.Event()
        with open_postgresql("users", postgresql.address, schema=schema) as opened:

            def follow() -> None:
                seen: set[Value] = set()
                while not done.is_set() or len(seen) < 60:
                    with opened.read("follow") as view:
                        ids = {row[0] for row in view.all("SELECT id FROM audit_log")}
                    missed.extend(
                        late for late in ids - seen if seen and int(str(late)) < max(int(str(s)) for s in seen)
                    )
                    seen = ids

            insert = "INSERT INTO audit_log (timestamp, action) VALUES ('', '')"
            with ThreadPoolExecutor(5) as pool:
                follower = pool.submit(follow)
                list(pool.map(lambda _: opened.write("put", lambda tx: tx.execute(insert)), range(60)))
                done.set()
                follower.result()
        assert missed == []


class TestFaults:
    """Connections that break, servers that refuse."""

    def test_connections_that_the_server_closed_are_replaced(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Nobody notices: a restart of the server between two calls is no error."""
        with database.read("hold"), database.read("hold"):
            assert one(database, COUNT) == 0
        cut_off(postgresql, schema)
        assert database.read_one("count", COUNT) == (0,)
        database.write("put", lambda tx: put(tx, "a"))
        assert one(database, COUNT) == 1

    def test_a_connection_that_breaks_inside_a_block_is_said(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Nothing was written, and the next transaction works."""
        with pytest.raises(UnreachableError, match="nothing was written"), database.transaction() as tx:
            put(tx, "a")
            cut_off(postgresql, schema)
            put(tx, "b")
        with pytest.raises(UnreachableError), database.read("ask") as view:
            cut_off(postgresql, schema)
            view.one(COUNT)
        assert one(database, COUNT) == 0

    def test_a_commit_that_breaks_off_is_no_success_and_no_failure(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """The caller is told to look; the database works on."""
        with pytest.raises(OutcomeUnknownError, match="event_key"), database.transaction() as tx:
            put(tx, "a")
            cut_off(postgresql, schema)
        assert one(database, COUNT) == 0

    def test_a_machine_that_is_gone_is_noticed_while_its_answer_is_waited_for(
        self, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """The system asks after it soon: its default, of two hours, would be the longest that a call takes."""
        with Server(Secret(postgresql.address), schema, 5).connect("ask") as connection:
            line = socket.socket(fileno=os.dup(connection.fileno()))
            with line:
                options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT
                assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert [line.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [5, 5, 5000]

    def test_an_interrupted_commit_says_that_it_may_have_taken_place(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Ctrl-C while the server commits (here for long) ends the wait, with a note; the database works on."""
        postgresql.do_as_user(f"""
            CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep({PATIENCE_S}); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {schema}.token_blacklist DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION {schema}.slow()
        """)
        committing = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'COMMIT' AND {of(schema)}"

        def interrupt() -> None:
            wait_until(lambda: bool(postgresql.rows(committing)), "the commit to begin")
            os.kill(os.getpid(), signal.SIGINT)

        with ThreadPoolExecutor(1) as pool:
            interrupted = pool.submit(interrupt)
            with pytest.raises(KeyboardInterrupt) as raised:
                database.write("token.put", lambda tx: put(tx, "a"))
            interrupted.result()
        assert raised.value.__notes__ == ["token.put may have been written before this"]
        assert one(database, COUNT) == 0

    def test_a_server_that_lets_nobody_in_any_more_is_told_with_its_reason(
        self, database: PostgresqlDatabase, other: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Not as busy; afterwards everything works again."""
        assert one(other, COUNT) == 0
        postgresql.do("ALTER ROLE postgres NOLOGIN")
        try:
            cut_off(postgresql, schema)
            with pytest.raises(AccessDeniedError, match="not permitted to log in"):
                one(other, COUNT)
        finally:
            postgresql.do("ALTER ROLE postgres LOGIN")
        assert (one(other, COUNT), one(database, COUNT)) == (0, 0)

    @pytest.mark.parametrize("wrong", ["password", "port", "database"])
    def test_an_address_that_does_not_open_is_told_without_its_password(
        self, postgresql: PostgresqlServer, wrong: str
    ) -> None:
        """At once, with the leaf that says what to correct."""
        server = postgresql.address.rpartition("@")[0]
        leaf, address = {
            "password": (AccessDeniedError, postgresql.address.replace(postgresql.password, f"x{postgresql.password}")),
            "port": (UnreachableError, f"{server}@127.0.0.1:1/postgres"),
            "database": (NotFoundError, f"{postgresql.address.removesuffix('postgres')}nowhere"),
        }[wrong]
        with pytest.raises(leaf) as refused:
            open_postgresql("tokens", Secret(address))
        shown = traceback.TracebackException.from_exception(refused.value, capture_locals=True).format()
        told = "".join(line for line in shown if "tests/" not in line)
        assert postgresql.password not in told


class TestLife:
    """Closing, forking, logging."""

    def test_close_leaves_no_connection(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """Nor does closing twice do harm; afterwards every use is refused."""
        assert one(database, COUNT) == 0
        database.close()
        database.close()
        wait_until(lambda: not is_connected(postgresql, schema), "the connections to end")
        with pytest.raises(MisuseError, match="closed"):
            one(database, COUNT)
        with pytest.raises(MisuseError, match="closed"):
            database.write("put", lambda tx: put(tx, "a"))

        def child() -> None:
            with pytest.raises(MisuseError, match="closed"):
                one(database, COUNT)

        assert in_child(child) == 0

    def test_close_says_when_a_transaction_is_open(
        self, other: PostgresqlDatabase, postgresql: PostgresqlServer, schema: str
    ) -> None:
        """That one may still commit; its connection is closed with its end."""
        with other.transaction() as tx:
            put(tx, "a")
            with pytest.raises(BusyError, match="still open"):
                other.close()
        assert postgresql.rows(f"SELECT jti FROM {schema}.token_blacklist") == [("a",)]

    def test_a_forked_child_has_connections_of_its_own(self, database: PostgresqlDatabase) -> None:
        """Parent and child work on, and neither disturbs the other."""
        assert one(database, COUNT) == 0
        assert in_child(lambda: database.write("put", lambda tx: put(tx, "child"))) == 0
        database.write("put", lambda tx: put(tx, "parent"))
        assert one(database, COUNT) == 2

    def test_a_forked_child_cannot_end_its_parents_transaction(self, database: PostgresqlDatabase) -> None:
        """It is refused there, and commits in the parent."""

        @contextmanager
        def refused() -> Iterator[None]:
            with pytest.raises(MisuseError, match="forked"):
                yield

        def child() -> None:
            with refused():
                put(tx, "child")
            with refused():
                block.__exit__(None, None, None)

        block = database.transaction()
        with block as tx:
            put(tx, "parent")
            assert in_child(child) == 0
        with database.read("get") as view:
            assert view.all("SELECT jti FROM token_blacklist") == [("parent",)]

    def test_slow_queries_are_logged_with_their_context(
        self, postgresql: PostgresqlServer, schema: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the documented line, of reads and of writes, and nothing of the parameters."""
        settings = Settings.from_env({"ARAGORA_SLOW_QUERY_MS": "0"})
        with (
            open_postgresql("tokens", postgresql.address, schema=schema, settings=settings) as opened,
            caplog.at_level(logging.WARNING, "aragora_persist.slow"),
        ):
            opened.write("put", lambda tx: put(tx, "hidden"), context={"id": 7})
            with opened.read("get", {"id": 8}) as view:
                view.one(COUNT)
            opened.read_one("one", COUNT, (), {"id": 9})
        lines = [record.getMessage() for record in caplog.records]
        assert [line.split(": ", 1)[1] for line in lines] == [
            "put [id=7] (threshold: 0.000s)",
            "get [id=8] (threshold: 0.000s)",
            "one [id=9] (threshold: 0.000s)",
        ]

    def test_nothing_that_is_printed_of_it_holds_the_password(
        self, database: PostgresqlDatabase, postgresql: PostgresqlServer
    ) -> None:
        """Neither its name in errors nor any of its parts."""
        shown = repr([database, database.target, vars(database), vars(database._server)])
        assert postgresql.password not in shown
