"""What a snapshot promises, on real files, with real writers."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.files import clean_partials
from aragora_persist.backup.snapshot import snapshot
from aragora_persist.errors import BusyError, ConflictError, DamagedError, NotFoundError, StorageError
from aragora_persist.storage.sqlite.copier import FILE_COPY, REFLINK, copy_files
from aragora_persist.storage.sqlite.copying import BACKUP_API
from tests.waiting import PATIENCE_S, is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Writes pairs of rows, one transaction each, and says when it has begun.
WAL_HEADER_BYTES = 32
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


# Takes a snapshot and says how that ended.
SNAPSHOT = """
import sys
from pathlib import Path
from aragora_persist.backup.snapshot import snapshot
from aragora_persist.errors import PersistError
try:
    print(snapshot(Path(sys.argv[1]), Path(sys.argv[2]), timeout_s=0))
except PersistError as error:
    print(type(error).__name__, error)
"""


def make_database(path: Path, rows: int = 10, mode: str = "WAL") -> None:
    """Make a database with ``rows`` rows, closed cleanly."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
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
    assert target.read_bytes()[18:20] == b"\x01\x01"  # rollback mode: no medium is too read-only for it
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_it_finishes_while_another_process_writes(tmp_path: Path, mode: str) -> None:
    """Under a writer that never pauses, each copy finishes and holds only whole transactions.

    The database is too large to be copied between two commits: page by page, this would not end.
    """
    source = tmp_path / "live.db"
    make_database(source, rows=0, mode=mode)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.executemany("INSERT INTO pairs VALUES (0, 'both', zeroblob(2000))", [()] * 5_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(source)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        try:
            for number in range(3):
                assert snapshot(source, tmp_path / f"copy{number}.db") in {REFLINK, FILE_COPY}
        finally:
            writer.kill()
    counts = [len(rows_of(tmp_path / f"copy{number}.db")) for number in range(3)]
    assert counts == sorted(counts)
    assert counts[0] >= 5_010
    assert all(count % 2 == 0 for count in counts)


def test_it_leaves_nothing_beside_the_source(tmp_path: Path) -> None:
    """Beside a cleanly closed source nothing appears, and its bytes stay the same."""
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "live.db"
    make_database(source)
    before = source.read_bytes()
    snapshot(source, tmp_path / "copy.db")
    assert list(source.parent.iterdir()) == [source]
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
    subprocess.run(command, check=True, timeout=PATIENCE_S)
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


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_locked_source_is_refused_in_time(tmp_path: Path, mode: str) -> None:
    """A source that another connection holds exclusively is a BusyError within the timeout, and nothing is left."""
    source, target = tmp_path / "live.db", tmp_path / "backups" / "copy.db"
    make_database(source, mode=mode)
    with closing(sqlite3.connect(source, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
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


def test_what_a_killed_writer_left_is_whole(tmp_path: Path) -> None:
    """Its log counts, also where it was killed while it wrote to the memory that all processes share.

    Where it had only begun the log, nothing is in it.
    """
    source = tmp_path / "live.db"
    make_database(source)
    with closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute("INSERT INTO pairs VALUES (10, 'left', NULL)")
        # By other processes: to close the file would drop this one's locks on it, and its memory is as it should be.
        forget = "open(__import__('sys').argv[1], 'r+b').write(bytes(136))"
        subprocess.run([sys.executable, "-c", forget, f"{source}-shm"], check=True)
        command = [sys.executable, "-c", SNAPSHOT, str(source), str(tmp_path / "one.db")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    killed = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "connection.execute(\"INSERT INTO pairs VALUES (11, 'left', NULL)\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(source)], check=False)
    snapshot(source, tmp_path / "two.db")
    os.truncate(f"{source}-wal", WAL_HEADER_BYTES)
    snapshot(source, tmp_path / "three.db")
    assert told.strip() in {REFLINK, FILE_COPY}
    assert [len(rows_of(tmp_path / name)) for name in ("one.db", "two.db", "three.db")] == [11, 12, 11]


def test_a_source_that_someone_opens_meanwhile_is_copied_with_its_log(tmp_path: Path) -> None:
    """It was a file that nobody had open when it was looked at; what is then written to it is in a log."""
    source = tmp_path / "live.db"
    make_database(source)
    with closing(sqlite3.connect(source, isolation_level=None)) as writer:

        def write(frame: FrameType, what: str, _argument: object) -> None:
            if what == "call" and frame.f_code.co_name == "_copy_files" and not writer.total_changes:
                writer.execute("INSERT INTO pairs VALUES (10, 'left', NULL)")

        sys.setprofile(write)
        try:
            snapshot(source, tmp_path / "copy.db")
        finally:
            sys.setprofile(None)
    assert len(rows_of(tmp_path / "copy.db")) == 11


def test_who_came_and_went_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Before and after the copy nobody has the file open; in between someone wrote into it, checkpoints and all."""
    source = tmp_path / "live.db"
    make_database(source)
    writers: list[sqlite3.Connection] = []

    def come_and_go(frame: FrameType, what: str, _argument: object) -> None:
        if frame.f_code.co_name == "_copy_files" and what == "call" and not writers:
            writers.append(sqlite3.connect(source, isolation_level=None))
            writers[0].execute("INSERT INTO pairs VALUES (10, 'left', NULL)")
        elif frame.f_code.co_name == "_copy_files" and what == "return":
            writers[0].close()

    sys.setprofile(come_and_go)
    try:
        snapshot(source, tmp_path / "copy.db")
    finally:
        sys.setprofile(None)
    assert not Path(f"{source}-wal").exists()
    assert len(rows_of(tmp_path / "copy.db")) == 11


def test_a_log_that_is_begun_anew_meanwhile_is_copied_again(tmp_path: Path) -> None:
    """Half of the old log would take pages back to what they once were; a reader that needs none does not keep it."""
    source, copy = tmp_path / "live.db", tmp_path / "copy.db"
    make_database(source, rows=0)
    begun: list[int] = []
    with ExitStack() as stack:
        writer = stack.enter_context(closing(sqlite3.connect(source, isolation_level=None)))
        for pragma in ("wal_autocheckpoint = 0", "synchronous = OFF"):
            writer.execute(f"PRAGMA {pragma}")
        writer.execute(
            "INSERT INTO pairs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
            " SELECT i, 'old', zeroblob(3000) FROM n"
        )
        for side in ("old", "new"):
            for number in range(1, 201):
                writer.execute("UPDATE pairs SET side = ? WHERE number = ?", (side, number))
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        reader = stack.enter_context(closing(sqlite3.connect(source, isolation_level=None)))
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM pairs LIMIT 1").fetchone()
        paths = (str(source), f"{source}-wal", "/dev/shm", "/dev/shm")  # noqa: S108 - another file system: no clones

        def begin_anew(frame: FrameType, what: str, argument: object) -> None:
            if what == "c_call" and argument is os.pwrite and frame.f_locals.get("source") == files[1] and not begun:
                begun.append(1)
                writer.execute("UPDATE pairs SET side = 'newest'")

        files = [os.open(path, os.O_RDONLY) for path in paths[:2]]
        files += [os.open(path, os.O_TMPFILE | os.O_RDWR) for path in paths[2:]]
        for descriptor in files:
            stack.callback(os.close, descriptor)
        sys.setprofile(begin_anew)
        try:
            assert copy_files(files[0], files[1], (files[2], files[3])) == FILE_COPY
        finally:
            sys.setprofile(None)
        for path, descriptor in ((copy, files[2]), (tmp_path / "copy.db-wal", files[3])):
            path.write_bytes(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT DISTINCT side FROM pairs").fetchall() == [("newest",)]
    assert begun


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("executable", ["/there/is/none", "", None])
def test_where_no_process_can_be_started_sqlite_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, executable: str | None, *, live: bool
) -> None:
    """Who has given up rights, or has Python inside, does not know how to run it, and gets a backup all the same."""
    source = tmp_path / "live.db"
    make_database(source, mode=mode)
    monkeypatch.setattr(sys, "executable", executable)
    with closing(sqlite3.connect(source, isolation_level=None)) as writer:
        if live:
            writer.execute("INSERT INTO pairs VALUES (10, 'left', NULL)")
        assert snapshot(source, tmp_path / "backups" / "copy.db") == BACKUP_API
    assert len(rows_of(tmp_path / "backups" / "copy.db")) == 10 + live
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["copy.db"]


@contextmanager
def held_up(folder: Path) -> Iterator[tuple[Path, subprocess.Popen[str], int]]:
    """Yield a source, a process that copies it, and the id of the one that it started, which waits until the end."""
    source = folder / "live.db"
    make_database(source, mode="DELETE")
    os.mkfifo(f"{source}-journal")  # nobody writes to it: to open it waits
    command = [sys.executable, "-c", SNAPSHOT, str(source), str(folder / "backups" / "copy.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        try:
            wait_until(lambda: any(has_open(pid, source) for pid in children.read_text().split()), "what copies")
            yield source, parent, int(children.read_text())
        finally:
            parent.kill()


def has_open(pid: str, path: Path) -> bool:
    """Tell whether a process has a file open; one that has just ended has none."""
    try:
        return any(descriptor.samefile(path) for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_a_killed_copying_process_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The error says what happened; nothing has the backup's name."""
    with held_up(tmp_path) as (source, parent, child):
        os.kill(child, signal.SIGKILL)
        told, _ = parent.communicate(timeout=PATIENCE_S)
    assert told.startswith("StorageError copy database")
    assert str(source) in told
    assert "signal 9" in told
    assert list((tmp_path / "backups").iterdir()) == []


def test_after_a_killed_parent_the_copying_process_ends_and_all_remains_can_go(tmp_path: Path) -> None:
    """The files are those that a killed backup leaves, and none appears once they are removed."""
    with held_up(tmp_path) as (source, parent, child):
        parent.kill()
        parent.wait()
        assert [path.suffix for path in clean_partials(tmp_path / "backups")] == [".partial"]
        with Path(f"{source}-journal").open("wb"):
            wait_until(lambda: not is_running(child), "the end of the process that copied")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_source_that_is_deleted_meanwhile_is_no_backup(tmp_path: Path) -> None:
    """What was copied of it may be half of a move to elsewhere: it is not kept."""
    with held_up(tmp_path) as (source, parent, _child):
        source.unlink()
        with Path(f"{source}-journal").open("wb"):
            told, _ = parent.communicate(timeout=PATIENCE_S)
    assert told.startswith("NotFoundError copy database")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_disk_without_room_is_told_before_it_is_full(tmp_path: Path) -> None:
    """Nothing is left, and the error says how much is free and how much it takes."""
    source, target = tmp_path / "live.db", tmp_path / "backups" / "copy.db"
    make_database(source)
    os.truncate(source, 2**42)  # without taking any room
    with pytest.raises(StorageError, match=r"free, and the copy may take 4\.\d TiB") as refused:
        snapshot(source, target)
    assert refused.value.target == str(target.parent)
    assert list(target.parent.iterdir()) == []


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
