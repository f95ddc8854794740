"""The maintenance that the service does on an open database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import BusyError, MisuseError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine


def open_tokens(path: Path) -> Engine:
    """Open a small database without long waits."""
    return open_engine(path, "tokens", settings=Settings.from_env({"NOMIC_DIR": str(path.parent), "DB_TIMEOUT": "5"}))


def test_tidy_empties_the_log(tmp_path: Path) -> None:
    """What was written is in the file itself afterwards, and the log takes no space."""
    path = tmp_path / "tokens.db"
    wal = tmp_path / "tokens.db-wal"
    with open_tokens(path) as engine:
        with engine.transaction() as tx:
            tx.execute("CREATE TABLE extra (value TEXT)")
        before = wal.stat().st_size

        engine.tidy()

        after = wal.stat().st_size
    assert before > 0
    assert after == 0


def test_tidy_leaves_what_a_reader_needs(tmp_path: Path) -> None:
    """An open view keeps seeing what it saw, and the maintenance does not wait for its end."""
    path = tmp_path / "tokens.db"
    with open_tokens(path) as engine:
        with engine.transaction() as tx:
            tx.execute("CREATE TABLE extra (value TEXT)")
        with engine.read("look") as view:
            before = view.all("SELECT * FROM extra")
            with engine.transaction() as tx:
                tx.execute("INSERT INTO extra VALUES ('new')")

            engine.tidy()

            assert view.all("SELECT * FROM extra") == before == []


def test_tidy_says_when_another_process_writes_and_succeeds_later(tmp_path: Path) -> None:
    """A write lock held elsewhere makes the maintenance fail quickly; nothing is broken by it."""
    path = tmp_path / "tokens.db"
    with open_tokens(path) as engine:
        with engine.transaction() as tx:
            tx.execute("CREATE TABLE extra (value INTEGER)")
            tx.execute("CREATE INDEX extra_value ON extra (value)")
            tx.execute_many("INSERT INTO extra VALUES (?)", [(n,) for n in range(2000)])
            tx.execute("ANALYZE")
            tx.execute_many("INSERT INTO extra VALUES (?)", [(n,) for n in range(60000)])
        with engine.transaction() as tx:  # asks for statistics, so that there is something to refresh
            tx.one("SELECT * FROM extra WHERE value = 7")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError):
                engine.tidy()
            other.execute("ROLLBACK")

        engine.tidy()

        with engine.read("count") as view:
            assert view.one("SELECT count(*) FROM extra") == (62000,)


def test_tidy_after_the_end_is_refused(tmp_path: Path) -> None:
    """A closed handle does no maintenance."""
    engine = open_tokens(tmp_path / "tokens.db")
    engine.close()

    with pytest.raises(MisuseError):
        engine.tidy()
