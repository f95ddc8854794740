"""Opening and closing: what is made, refused, shared and left behind."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import (
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    MisuseError,
    SchemaOutdatedError,
    SchemaTooNewError,
    StorageError,
)
from aragora_persist.migrations.folder import latest_version
from aragora_persist.migrations.runner import migrate, rollback
from aragora_persist.storage.schema import get_wal_connection
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.sqlite.opening import require_schema
from tests.unit.tokens import COUNT, INSERT, add, count, settings

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine


class TestOpening:
    """What opening makes, refuses and shares."""

    @pytest.mark.parametrize("moment", ["sqlite_master LIMIT 1", "table_info"])
    def test_a_database_made_meanwhile_is_not_taken_for_an_old_one(self, tmp_path: Path, moment: str) -> None:
        """Another process may make the database at any moment between two looks at it."""
        path = tmp_path / "tokens.db"
        made: list[str] = []

        def make(statement: str) -> None:
            if moment in statement and not made:
                made.append(statement)
                migrate(path, "tokens", settings=settings(NOMIC_DIR=str(tmp_path)))

        with closing(get_wal_connection(path)) as connection:
            connection.set_trace_callback(make)
            require_schema(connection, path, "tokens", migrate=False, settings=settings(NOMIC_DIR=str(tmp_path)))
            connection.set_trace_callback(None)
            versions = connection.execute("SELECT version FROM schema_version").fetchall()

        assert made
        assert versions == [(1,)]

    def test_makes_private_folder_and_file(self, engine: Engine, path: Path) -> None:
        """Nobody but the owner can read a new database, its WAL included."""
        add(engine, "a")
        assert path.parent.stat().st_mode & 0o777 == 0o700
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert modes == {"tokens.db": 0o600, "tokens.db-wal": 0o600, "tokens.db-shm": 0o600}

    def test_leaves_an_existing_folder_as_it_is(self, tmp_path: Path) -> None:
        """The rights of a folder that was there are the operator's."""
        tmp_path.chmod(0o755)
        open_engine(tmp_path / "tokens.db", "tokens").close()
        assert tmp_path.stat().st_mode & 0o777 == 0o755

    def test_none_is_the_registrys_place(self, tmp_path: Path) -> None:
        """Without a path, the database is where the documentation says."""
        open_engine(None, "tokens", settings=settings(NOMIC_DIR=str(tmp_path / "nomic"))).close()
        assert [file.name for file in (tmp_path / "nomic").iterdir()] == ["aragora_tokens.db"]

    def test_migrates_an_empty_file(self, path: Path) -> None:
        """An empty file, as a killed first start leaves it, becomes a database."""
        path.parent.mkdir()
        path.touch()
        with open_engine(path, "tokens") as engine:
            assert count(engine) == 0

    def test_refuses_an_older_schema_and_names_the_command(self, tmp_path: Path) -> None:
        """An existing database is only migrated when the caller says so."""
        path = tmp_path / "aragora_users.db"
        open_engine(path, "users").close()
        rollback(path, "users", to=1, settings=settings(ARAGORA_BACKUP_DIR=str(tmp_path / "before")))
        with pytest.raises(SchemaOutdatedError) as refused:
            open_engine(path, "users")
        assert refused.value.hint.endswith(f"runner --migrate --db users --nomic-dir {tmp_path}")
        backups = settings(ARAGORA_BACKUP_DIR=str(tmp_path / "backups"))
        with open_engine(path, "users", migrate=True, settings=backups) as engine, engine.read("look") as view:
            assert view.one("SELECT max(version) FROM schema_version") == (latest_version("users"),)
            assert view.all("SELECT locked_until FROM users") == []

    @pytest.mark.parametrize(("min_reader", "opens"), [("0.0.1", True), ("99.0.0", False)])
    def test_opens_a_newer_schema_only_if_its_ledger_allows(self, path: Path, min_reader: str, opens: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """A service with the previous library keeps running through an upgrade that allows it."""
        open_engine(path, "tokens").close()
        row = (2, "002_more", "sum", "2026-01-01T00:00:00.000000Z", 1.0, "99.0.0", min_reader)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO schema_version VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.commit()
        if opens:
            with open_engine(path, "tokens") as engine:
                assert count(engine) == 0
        else:
            with pytest.raises(SchemaTooNewError, match=r"99\.0\.0"):
                open_engine(path, "tokens")

    def test_refuses_what_is_no_database(self, path: Path) -> None:
        """A file of something else stays as it was."""
        path.parent.mkdir()
        path.write_bytes(b"not a database, " * 100)
        with pytest.raises(DamagedError) as refused:
            open_engine(path, "tokens")
        assert "restore" in refused.value.hint
        assert path.read_bytes() == b"not a database, " * 100

    def test_refuses_an_unknown_database(self, path: Path) -> None:
        """A name that is none makes no file."""
        with pytest.raises(InvalidValueError, match="tokens"):
            open_engine(path, "token")
        assert not path.exists()

    def test_says_what_it_could_not_make(self, tmp_path: Path) -> None:
        """A file where the folder should be is an error that names the place."""
        (tmp_path / "data").write_text("")
        with pytest.raises(StorageError, match=r"data/tokens\.db"):
            open_engine(tmp_path / "data" / "tokens.db", "tokens")

    def test_openers_of_one_file_share_it(self, engine: Engine, path: Path, tmp_path: Path) -> None:
        """Two handles, one by a symbolic link, have one writer: it can be held by one of them only."""
        (tmp_path / "link.db").symlink_to(path)
        with open_engine(tmp_path / "link.db", "tokens") as other, engine.transaction("outer"):
            assert other.target == engine.target
            with pytest.raises(MisuseError), other.transaction("inner"):
                pass

    def test_refuses_another_database_in_the_same_file(self, engine: Engine, path: Path) -> None:
        """One file cannot be two databases."""
        with pytest.raises(ConflictError, match="tokens"):
            open_engine(path, "users")
        assert count(engine) == 0

    def test_a_file_that_was_replaced_while_open_is_refused(self, path: Path) -> None:
        """Nobody gets the removed file for the one at the path; closing its stores is the way out."""
        engine = open_engine(path, "tokens")
        add(engine, "old")
        for file in path.parent.iterdir():
            file.unlink()
        with pytest.raises(ConflictError, match="replaced"):
            open_engine(path, "tokens")
        engine.close()
        with open_engine(path, "tokens") as new:
            assert count(new) == 0

    def test_one_file_that_takes_long_does_not_hold_up_another(self, path: Path, tmp_path: Path) -> None:
        """While a thread waits for a locked file, the others open, and close, what they need."""
        open_engine(path, "tokens").close()
        opened: list[Engine] = []
        patient = settings(DB_TIMEOUT="60")
        waiting = threading.Thread(target=lambda: opened.append(open_engine(path, "tokens", settings=patient)))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode=DELETE")
            other.execute("BEGIN EXCLUSIVE")
            waiting.start()
            time.sleep(0.2)  # a thread that starts later than this proves less, and breaks nothing
            open_engine(tmp_path / "other.db", "tokens").close()
            still_waiting = waiting.is_alive()
        waiting.join()
        opened[0].close()
        assert still_waiting

    def test_memory_is_each_handles_own(self) -> None:
        """Two databases in memory share nothing."""
        with open_engine(":memory:", "tokens") as one, open_engine(":memory:", "tokens") as other:
            add(one, "a")
            assert (count(one), count(other)) == (1, 0)


class TestClosing:
    """What the last one leaves behind."""

    def test_the_last_one_leaves_one_file(self, path: Path) -> None:
        """After a clean close everything is in the main file, and nothing beside it."""
        first, second = open_engine(path, "tokens"), open_engine(path, "tokens")
        add(first, "a")
        assert count(second) == 1
        first.close()
        first.close()
        assert count(second) == 1
        second.close()
        assert [file.name for file in path.parent.iterdir()] == ["tokens.db"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute(COUNT).fetchone() == (1,)

    def test_refuses_work_after_its_end(self, either: Engine) -> None:
        """A closed handle says so."""
        either.close()
        with pytest.raises(MisuseError, match="closed"), either.read("late"):
            pass
        with pytest.raises(MisuseError, match="closed"), either.transaction("late"):
            pass

    def test_a_view_that_is_still_open_ends_in_order(self, path: Path) -> None:
        """Closing does not pull the connection from under a reader; it closes when the reader is done."""
        engine = open_engine(path, "tokens")
        add(engine, "a")
        with engine.read("long") as view:
            engine.close()
            assert view.one(COUNT) == (1,)
        with open_engine(path, "tokens") as again:
            assert count(again) == 1
        assert [file.name for file in path.parent.iterdir()] == ["tokens.db"]

    def test_says_when_a_transaction_is_still_open(self, engine: Engine, path: Path) -> None:
        """Closing inside a transaction is refused; the transaction still commits."""
        with engine.transaction("long") as tx:
            tx.execute(INSERT, ("a",))
            with pytest.raises(BusyError):
                engine.close()
        assert [file.name for file in path.parent.iterdir()] == ["tokens.db"]
        with open_engine(path, "tokens") as again:
            assert count(again) == 1
