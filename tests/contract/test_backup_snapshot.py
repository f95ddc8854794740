"""What a snapshot promises, on real files, with real writers."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.files import clean_partials
from aragora_persist.backup.snapshot import snapshot
from aragora_persist.errors import BusyError, ConflictError, DamagedError, NotFoundError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

# Writes pairs of rows, one transaction each, and says when it has begun.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
number = 0
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO pairs VALUES (?, 'left', zeroblob(2000))", (number,))
    connection.execute("INSERT INTO pairs VALUES (?, 'right', zeroblob(2000))", (number,))
    connection.execute("COMMIT")
    number += 1
    if number == 5:
        print("writing", flush=True)
"""


def make_database(path: Path, rows: int = 10) -> None:
    """Make a WAL database with ``rows`` rows, closed cleanly."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pairs (number INTEGER, side TEXT, filling BLOB)")
        connection.executemany("INSERT INTO pairs VALUES (?, 'left', NULL)", ((number,) for number in range(rows)))


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """Return every row of a database file, read without writing anything beside it."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        return connection.execute("SELECT * FROM pairs ORDER BY rowid").fetchall()


def test_it_holds_what_was_committed_and_still_lies_in_the_wal(tmp_path: Path) -> None:
    """Rows that are committed but not yet in the main file are in the copy; an open transaction's are not."""
    source, target = tmp_path / "live.db", tmp_path / "backups" / "copy.db"
    make_database(source)
    with closing(sqlite3.connect(source, isolation_level=None)) as writer:
        writer.execute("INSERT INTO pairs VALUES (10, 'left', NULL)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO pairs VALUES (11, 'left', NULL)")
        snapshot(source, target)
        writer.execute("ROLLBACK")
    assert [row[0] for row in rows_of(target)] == list(range(11))
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]


def test_it_finishes_while_another_process_writes(tmp_path: Path) -> None:
    """Under a writer that never pauses, each copy finishes and holds only whole transactions.

    The database is too large to be copied between two commits: page by page, this would not end.
    """
    source = tmp_path / "live.db"
    make_database(source, rows=0)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.executemany("INSERT INTO pairs VALUES (0, 'both', zeroblob(2000))", [()] * 10_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(source)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        try:
            for number in range(5):
                snapshot(source, tmp_path / f"copy{number}.db")
        finally:
            writer.kill()
    counts = [len(rows_of(tmp_path / f"copy{number}.db")) for number in range(5)]
    assert counts == sorted(counts)
    assert counts[0] >= 10_010
    assert all(count % 2 == 0 for count in counts)


def test_it_leaves_nothing_beside_the_source_but_what_sqlite_keeps(tmp_path: Path) -> None:
    """Beside a cleanly closed source there are at most SQLite's own two files afterwards, its bytes the same."""
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "live.db"
    make_database(source)
    before = source.read_bytes()
    snapshot(source, tmp_path / "copy.db")
    assert {path.name for path in source.parent.iterdir()} <= {"live.db", "live.db-wal", "live.db-shm"}
    assert source.read_bytes() == before


def test_it_reads_a_cleanly_closed_source_in_a_folder_it_may_not_write_to(tmp_path: Path) -> None:
    """A WAL database without a -wal file is copied where no -shm can be made; SQLite alone refuses to open it."""
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "live.db"
    make_database(source)
    source.parent.chmod(0o555)
    code = (
        "import sys; from pathlib import Path; from aragora_persist.backup.snapshot import snapshot; "
        "snapshot(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    # Root may write everywhere, until it has given that right away.
    drop = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-c", code, str(source), str(tmp_path / "copy.db")]
    subprocess.run(command, check=True, timeout=60)
    assert rows_of(tmp_path / "copy.db") == rows_of(source)
    assert list(source.parent.iterdir()) == [source]


def test_it_never_overwrites(tmp_path: Path) -> None:
    """An existing target is refused and stays as it was, and no temporary file remains."""
    source, target = tmp_path / "live.db", tmp_path / "backups" / "copy.db"
    make_database(source)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(ConflictError):
        snapshot(source, target)
    assert target.read_bytes() == b"mine"
    assert list(target.parent.iterdir()) == [target]


def test_a_locked_source_is_refused_in_time(tmp_path: Path) -> None:
    """A source that another connection holds exclusively is a BusyError within the timeout, and nothing is left."""
    source, target = tmp_path / "live.db", tmp_path / "backups" / "copy.db"
    make_database(source)
    with closing(sqlite3.connect(source, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            snapshot(source, target, timeout_s=0.2)
        holder.execute("ROLLBACK")
    assert list(target.parent.iterdir()) == []


def test_a_missing_source_is_not_created(tmp_path: Path) -> None:
    """Copying nothing is an error and makes no empty database."""
    with pytest.raises(NotFoundError):
        snapshot(tmp_path / "live.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A file of other content is DamagedError, not a backup."""
    (tmp_path / "live.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError, match=r"live\.db"):
        snapshot(tmp_path / "live.db", tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["live.db"]


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that cannot be made is our error with the system's reason."""
    make_database(tmp_path / "live.db")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        snapshot(tmp_path / "live.db", tmp_path / "file" / "copy.db")
    assert (tmp_path / "file").read_bytes() == b""


def test_remains_of_a_killed_run_go_and_a_running_one_s_stay(tmp_path: Path) -> None:
    """A temporary file is removed when nobody holds it, with what SQLite left beside it; another program's is not."""
    dead, living = tmp_path / ".a.db.00c0ffee.partial", tmp_path / ".b.db.0badcafe.partial"
    others = tmp_path / ".thesis.partial"
    for path in (dead, tmp_path / ".a.db.00c0ffee.partial-journal", living, others, tmp_path / "users.db"):
        path.write_bytes(b"x")
    descriptor = os.open(living, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert clean_partials(tmp_path) == [dead]
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, others.name, "users.db"]


def test_copies_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Threads that copy to one name: one wins, the others are refused, the file is whole."""
    source, target = tmp_path / "live.db", tmp_path / "copy.db"
    make_database(source)
    refused: list[ConflictError] = []

    def copy() -> None:
        try:
            snapshot(source, target)
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=copy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert rows_of(target) == rows_of(source)
