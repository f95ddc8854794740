"""A store over a database that is only read: nothing is written, also not where nothing can be."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import MisuseError, SchemaOutdatedError, StorageError
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.sqlite.readonly_database import open_read_only
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Backend

NOBODY = 65534


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a closed database with one user, in a folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "users.db"
        with UserStore(path) as users:
            users.create("ada@example.com")
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        yield path
        Path(folder).chmod(0o700)


def emails(path: Path) -> list[str | None]:
    """Look Ada up through a store over the read-only database, by a view and by one statement."""
    with open_read_only(path, "users") as database, UserStore(database) as users:
        ada = users.get_by_email("Ada@Example.com")
        row = database.read_one("look", "SELECT email FROM users")
    return [ada.email if ada else None, str(row[0]) if row else None]


def names(path: Path) -> list[str]:
    """Return what is in the folder."""
    return sorted(file.name for file in path.parent.iterdir())


def test_a_store_reads_in_a_folder_that_cannot_be_written(path: Path) -> None:
    """One who may only read the folder finds the user, and nothing appears there."""
    child = os.fork()
    if child == 0:  # pragma: no cover -- runs in the child
        if os.getuid() == 0:
            os.setuid(NOBODY)  # nothing is forbidden to root
        try:
            (path.parent / "probe").touch()
        except PermissionError:
            os._exit(0 if emails(path) == ["ada@example.com"] * 2 else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert names(path) == ["users.db"]


def test_a_store_sees_what_others_have_written_since(path: Path) -> None:
    """Each view looks anew, whether the writer has the file open or has closed it."""
    path.chmod(0o600)
    path.parent.chmod(0o700)
    count = "SELECT count(*) FROM users"
    with open_read_only(path, "users") as database:
        with UserStore(path) as users:
            users.create("grace@example.com")
            assert database.read_one("count", count) == (2,)
            with database.read("view") as view:
                assert view.one(count) == (2,)
                users.create("joan@example.com")
                assert view.one(count) == (2,)
                with database.read("inner") as inner:
                    assert inner.one(count) == (3,)
        assert database.read_one("count", count) == (3,)


def test_every_write_is_refused(path: Path) -> None:
    """A store says so in its own words and keeps reading; statements that write are refused too."""
    with open_read_only(path, "users") as database:
        backend: Backend = database
        users = UserStore(backend)
        with pytest.raises(MisuseError, match="reading only"):
            users.create("grace@example.com")
        with pytest.raises(MisuseError, match="reading only"), backend.transaction():
            pass
        with pytest.raises(StorageError, match="readonly"), backend.read("sneak") as view:
            view.all("DELETE FROM users")
        assert users.get_by_email("ada@example.com") is not None


def test_what_does_not_fit_is_refused_at_opening(path: Path) -> None:
    """An older schema and a missing file are told when the database is opened, and nothing is made."""
    with pytest.raises(StorageError):
        open_read_only(path.with_name("nothing.db"), "users")
    path.chmod(0o600)
    path.parent.chmod(0o700)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM schema_version WHERE version > 1")
    with pytest.raises(SchemaOutdatedError):
        open_read_only(path, "users")
    assert names(path) == ["users.db"]


def test_after_its_end_it_is_refused(path: Path) -> None:
    """A closed one opens no view; a view that was open ends in order."""
    database = open_read_only(path, "users")
    with database.read("long") as view:
        database.close()
        assert view.one("SELECT count(*) FROM users") == (1,)
    with pytest.raises(MisuseError, match="closed"):
        database.read_one("late", "SELECT 1")
    with pytest.raises(MisuseError, match="closed"), database.read("late"):
        pass


def test_a_transaction_belongs_to_its_own_database(path: Path) -> None:
    """A transaction of another database is not one of this."""
    with (
        open_read_only(path, "users") as database,
        open_engine(":memory:", "users") as other,
        other.transaction() as tx,
    ):
        assert [tx.belongs_to(database), tx.belongs_to(other)] == [False, True]
