"""The documented connection API: ``get_wal_connection``, ``DatabaseManager``, ``safe_add_column``."""

from __future__ import annotations

import gc
import multiprocessing
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.storage.schema import DatabaseManager, get_wal_connection, safe_add_column
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestGetWalConnection:
    """Plain connections."""

    def test_is_as_documented(self, tmp_path: Path) -> None:
        """WAL as a tuple row, foreign keys on, a private file in a private folder."""
        path = tmp_path / "data" / "database.db"
        with closing(get_wal_connection(path, timeout=60.0)) as conn:
            assert type(conn) is sqlite3.Connection
            assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert conn.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert conn.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
        assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)

    def test_waits_as_long_as_the_environment_says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a timeout, DB_TIMEOUT holds, fractions included."""
        with closing(get_wal_connection(tmp_path / "a.db")) as conn:
            assert conn.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
        monkeypatch.setenv("DB_TIMEOUT", "0.25")
        with closing(get_wal_connection(str(tmp_path / "a.db"))) as conn:
            assert conn.execute("PRAGMA busy_timeout").fetchone() == (250,)

    @pytest.mark.parametrize(("timeout_s", "milliseconds"), [(float("inf"), 2**31 - 1), (1e308, 2**31 - 1), (-1.0, 0)])
    def test_any_timeout_has_its_nearest_form(self, tmp_path: Path, timeout_s: float, milliseconds: int) -> None:
        """For ever is as long as SQLite can say, and less than nothing is nothing."""
        with closing(get_wal_connection(tmp_path / "a.db", timeout=timeout_s)) as conn:
            assert conn.execute("PRAGMA busy_timeout").fetchone() == (milliseconds,)

    def test_its_transactions_take_the_write_lock_first(self, tmp_path: Path) -> None:
        """An implicit transaction cannot fail halfway, because it begins IMMEDIATE; without a commit it is gone."""
        path = tmp_path / "a.db"
        with closing(get_wal_connection(path)) as conn:
            conn.execute("CREATE TABLE t (a)")
            conn.execute("INSERT INTO t VALUES (1)")
            with (
                closing(get_wal_connection(path, timeout=0)) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("DELETE FROM t")
        with closing(get_wal_connection(path)) as conn:
            assert conn.execute("SELECT * FROM t").fetchall() == []

    def test_memory_works(self) -> None:
        """A database in memory makes no file."""
        with closing(get_wal_connection(":memory:")) as conn:
            assert conn.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert conn.execute("PRAGMA database_list").fetchone()[2] == ""

    def test_refuses_what_is_no_database(self, tmp_path: Path) -> None:
        """A file of something else stays as it was, and no connection is left open."""
        path = tmp_path / "text.db"
        path.write_bytes(b"some text, " * 200)
        with pytest.raises(DamagedError):
            get_wal_connection(path)
        gc.collect()
        assert path.read_bytes() == b"some text, " * 200

    def test_many_threads_open_a_new_file_at_once(self, tmp_path: Path) -> None:
        """The race for WAL mode is waited out."""
        barrier = threading.Barrier(16)
        modes: list[object] = []

        def work() -> None:
            barrier.wait()
            with closing(get_wal_connection(tmp_path / "a.db")) as conn:
                modes.append(conn.execute("PRAGMA journal_mode").fetchone())

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert modes == [("wal",)] * 16


class TestDatabaseManager:
    """The singleton with a connection for each thread."""

    @pytest.fixture(autouse=True)
    def _forget(self) -> Iterator[None]:
        yield
        DatabaseManager.close_all()

    def test_is_one_for_each_name(self, tmp_path: Path) -> None:
        """The same name and path give the same manager; another path is refused, and the first stays."""
        manager = DatabaseManager.get_instance("users", tmp_path / "users.db")
        assert DatabaseManager.get_instance("users", str(tmp_path / "users.db")) is manager
        assert DatabaseManager.get_instance("users") is manager
        with pytest.raises(ConflictError, match=r"users\.db"):
            DatabaseManager.get_instance("users", tmp_path / "other.db")
        assert DatabaseManager.get_instance("users") is manager
        assert not (tmp_path / "other.db").exists()

    def test_knows_the_registrys_places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a path the name is one of the databases, and nothing else."""
        monkeypatch.setenv("NOMIC_DIR", str(tmp_path))
        assert DatabaseManager.get_instance("elo").path == tmp_path.resolve() / "aragora_elo.db"
        with pytest.raises(InvalidValueError, match="elo"):
            DatabaseManager.get_instance("nothing")

    def test_closing_hands_the_connection_back(self, tmp_path: Path) -> None:
        """What was not committed is rolled back; the thread gets the same open connection again."""
        manager = DatabaseManager.get_instance("users", tmp_path / "users.db")
        first = manager.get_connection()
        assert isinstance(first, sqlite3.Connection)
        first.execute("CREATE TABLE t (a)")
        first.execute("INSERT INTO t VALUES (1)")
        first.close()
        second = manager.get_connection()
        assert second is first
        assert second.execute("SELECT * FROM t").fetchall() == []

    def test_each_thread_has_its_own_until_it_ends(self, tmp_path: Path) -> None:
        """Threads share no connection, and a thread that ends leaves none open."""
        manager = DatabaseManager.get_instance("users", tmp_path / "users.db")
        mine = manager.get_connection()
        others: list[bool] = []
        thread = threading.Thread(target=lambda: others.append(manager.get_connection() is mine))
        thread.start()
        thread.join()
        gc.collect()
        assert others == [False]
        assert manager._every == {mine}

    def test_close_all_closes_and_forgets(self, tmp_path: Path) -> None:
        """Afterwards the connections are unusable, no WAL is left, and a name may mean another file."""
        connection = DatabaseManager.get_instance("users", tmp_path / "users.db").get_connection()
        connection.execute("CREATE TABLE t (a)")
        DatabaseManager.close_all()
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")
        connection.close()
        assert [file.name for file in tmp_path.iterdir()] == ["users.db"]
        other = DatabaseManager.get_instance("users", tmp_path / "other.db").get_connection()
        assert other.execute("SELECT 1").fetchone() == (1,)

    def test_a_forked_child_gets_its_own(self, tmp_path: Path) -> None:
        """The child opens a new connection, and leaves the parent's, of every thread, alone."""
        manager = DatabaseManager.get_instance("users", tmp_path / "users.db")
        mine = manager.get_connection()
        mine.execute("CREATE TABLE t (a)")
        mine.execute("INSERT INTO t VALUES (1)")
        ready, leave = threading.Event(), threading.Event()

        def hold() -> None:
            manager.get_connection()
            ready.set()
            leave.wait(PATIENCE_S)

        def child() -> None:
            theirs = manager.get_connection()
            assert theirs is not mine
            assert theirs.execute("SELECT * FROM t").fetchall() == []

        holder = threading.Thread(target=hold)
        holder.start()
        assert ready.wait(PATIENCE_S)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(PATIENCE_S)
        leave.set()
        holder.join()
        assert process.exitcode == 0
        mine.commit()
        assert mine.execute("SELECT * FROM t").fetchall() == [(1,)]


class TestSafeAddColumn:
    """Adding a column that may be there."""

    @pytest.fixture
    def conn(self) -> Iterator[sqlite3.Connection]:
        """Return a connection with a table of an awkward name."""
        with closing(get_wal_connection(":memory:")) as conn:
            conn.execute('CREATE TABLE "odd ""name" (id INTEGER)')
            conn.execute('INSERT INTO "odd ""name" VALUES (1)')
            yield conn

    def columns(self, conn: sqlite3.Connection) -> list[tuple[str, str, str | None]]:
        """Return name, type and default of each column."""
        rows = conn.execute('PRAGMA table_info("odd ""name")')
        return [(row[1], row[2], row[4]) for row in rows]

    def test_adds_once(self, conn: sqlite3.Connection) -> None:
        """The second time it finds the column, whatever the case of its name and type, and changes nothing."""
        assert safe_add_column(conn, 'odd "name', 'a "b"', "VARCHAR (10)", "'it''s'")
        assert not safe_add_column(conn, 'odd "name', 'A "B"', "varchar(10)", "'other'")
        assert self.columns(conn) == [("id", "INTEGER", None), ('a "b"', "VARCHAR (10)", "'it''s'")]
        assert conn.execute('SELECT * FROM "odd ""name"').fetchall() == [(1, "it's")]
        assert safe_add_column(conn, 'odd "name', "\u00e4", "TEXT")
        assert safe_add_column(conn, 'odd "name', "\u00c4", "TEXT")  # to SQLite, another name

    @pytest.mark.parametrize("default", [None, "NULL", "0", "-1.5e3", "'x; DROP TABLE t'", "x'00ff'", "TRUE"])
    def test_takes_every_literal(self, conn: sqlite3.Connection, default: str | None) -> None:
        """The documented fifth argument is an SQL literal."""
        assert safe_add_column(conn, 'odd "name', "new_field", "TEXT", default)
        assert self.columns(conn)[1] == ("new_field", "TEXT", default)

    def test_refuses_another_type(self, conn: sqlite3.Connection) -> None:
        """A column of the same name with another type is not what was asked for."""
        with pytest.raises(ConflictError, match="INTEGER"):
            safe_add_column(conn, 'odd "name', "id", "TEXT")
        assert self.columns(conn) == [("id", "INTEGER", None)]

    @pytest.mark.parametrize(
        "column_type", ["", "TEXT; DROP TABLE x", "INTEGER NOT NULL", "TEXT DEFAULT 1", "TEXT UNIQUE"]
    )
    def test_refuses_what_is_no_plain_type(self, conn: sqlite3.Connection, column_type: str) -> None:
        """Neither SQL nor a constraint comes in through the type."""
        with pytest.raises(InvalidValueError, match="plain type"):
            safe_add_column(conn, 'odd "name', "a", column_type)
        assert self.columns(conn) == [("id", "INTEGER", None)]

    @pytest.mark.parametrize("default", ["", "'a' || 'b'", "random()", "0); DROP TABLE x", "'open"])
    def test_refuses_what_is_no_literal(self, conn: sqlite3.Connection, default: str) -> None:
        """An expression is not a literal."""
        with pytest.raises(InvalidValueError, match="literal"):
            safe_add_column(conn, 'odd "name', "a", "TEXT", default)
        assert self.columns(conn) == [("id", "INTEGER", None)]

    def test_refuses_a_missing_table(self, conn: sqlite3.Connection) -> None:
        """It does not make one."""
        with pytest.raises(NotFoundError):
            safe_add_column(conn, "nothing", "a", "TEXT")
        assert conn.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
