"""The write-ahead log: who brings it into the file, and that it stays small."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.sqlite.checkpointer import LITESTREAM_BYTES
from aragora_persist.storage.sqlite.engine import open_engine
from tests.unit.tokens import add, settings
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine

MEGABYTE = 2**20
DUE = 20
"""As many megabytes make the log large enough for somebody to care."""
INSERT_LARGE = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, 'x', 'y')"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """Open a database that does not wait for the disk."""
    environ = {"DB_TIMEOUT": str(PATIENCE_S), "ARAGORA_DURABILITY": "committed"}
    with open_engine(path, "tokens", settings=settings(**environ)) as engine:
        yield engine


def grow(engine: Engine, megabytes: int, name: str = "row") -> None:
    """Write so much, a megabyte a commit, over the same rows again and again."""
    for number in range(megabytes):
        key = f"{name}-{number % 4}"
        engine.write("forget", lambda tx, key=key: tx.execute("DELETE FROM token_blacklist WHERE jti = ?", (key,)))  # type: ignore[misc] # mypy infers no type for the default
        engine.write("grow", lambda tx, key=key: tx.execute(INSERT_LARGE, (key, "x" * MEGABYTE)))  # type: ignore[misc] # as above


def size(path: Path) -> float:
    """Return how many megabytes the log takes."""
    return path.with_name(f"{path.name}-wal").stat().st_size / MEGABYTE


def lock_file(path: Path) -> Path:
    """Return where the lock of the checkpointer is."""
    return path.with_name(f"{path.name}-checkpoint")


def is_held(path: Path) -> bool:
    """Say whether some process is the checkpointer."""
    if not lock_file(path).exists():
        return False
    with lock_file(path).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_nobody_cares_for_a_small_log(engine: Engine, path: Path) -> None:
    """What is written little to has its three files and no lock."""
    add(engine, "a")
    assert sorted(file.name for file in path.parent.iterdir()) == ["tokens.db", "tokens.db-shm", "tokens.db-wal"]


def test_the_log_is_written_from_its_start_again(engine: Engine, path: Path) -> None:
    """Without readers it stays near the size at which it is due, and a clean close takes the lock file away."""
    grow(engine, 60)
    assert is_held(path)
    assert size(path) < 2 * DUE
    engine.close()
    assert [file.name for file in path.parent.iterdir()] == ["tokens.db"]


def test_the_log_stays_bounded_under_readers_that_never_pause(engine: Engine, path: Path) -> None:
    """There is always somebody who reads, and still it stays within 64 MB while 80 MB are written."""
    stop = threading.Event()
    overlapping = threading.Barrier(4)

    def read() -> None:
        overlapping.wait(PATIENCE_S)
        while not stop.is_set():
            with engine.read("hot") as view:
                view.all("SELECT jti, length(reason) FROM token_blacklist")
                view.all("SELECT jti, length(reason) FROM token_blacklist")

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    largest = 0.0
    for _ in range(20):
        grow(engine, 4)
        largest = max(largest, size(path))
    stop.set()
    for reader in readers:
        reader.join()
    assert largest < 64


def test_a_long_reader_costs_patience_but_no_error(engine: Engine, path: Path) -> None:
    """While one view is open the log can only grow; when it has ended, the log is emptied."""
    with engine.read("long") as view:
        assert view.one("SELECT count(*) FROM token_blacklist") == (0,)
        grow(engine, 50)
        assert size(path) > 48
        assert view.one("SELECT count(*) FROM token_blacklist") == (0,)
    grow(engine, 25)
    assert size(path) < 2 * DUE


def test_the_role_passes_on_when_its_holder_is_killed(engine: Engine, path: Path) -> None:
    """One process holds it, the other leaves the log alone; after kill -9 the other takes it, and writes go on."""
    code = f"""
        import sys
        from aragora_persist.storage.sqlite.engine import open_engine
        engine = open_engine(sys.argv[1], "tokens")
        for number in range({DUE}):
            engine.write("grow", lambda tx: tx.execute("{INSERT_LARGE}", (f"other-{{number}}", "x" * {MEGABYTE})))
        print("holds", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "holds\n"
            assert is_held(path)
            grow(engine, DUE)
            assert not has_role(engine)
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait(PATIENCE_S)
    assert not is_held(path)

    def taken_over() -> bool:
        grow(engine, 1)
        return has_role(engine)

    wait_until(taken_over, "the role of the killed process")
    assert is_held(path)
    grow(engine, 40)
    assert size(path) < 64


def test_a_forked_child_leaves_the_role_with_its_parent(engine: Engine, path: Path) -> None:
    """The child's end does not give it away."""
    grow(engine, DUE)
    child = os.fork()
    if child == 0:  # pragma: no cover -- runs in the child
        os._exit(1 if has_role(engine) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert has_role(engine)
    assert is_held(path)


def test_where_no_lock_can_be_made_sqlite_checkpoints_as_ever(engine: Engine, path: Path) -> None:
    """The log stays small without the lock file, and no write fails for it."""
    lock_file(path).mkdir()
    grow(engine, 60)
    assert not has_role(engine)
    assert size(path) < 2 * DUE


def test_under_litestream_nobody_checkpoints(engine: Engine, path: Path) -> None:
    """Its frames stay in the log until it has copied them: neither commits nor the maintenance take them away."""
    engine.write("replicate", lambda tx: tx.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY)"))
    grow(engine, 40)
    engine.tidy()
    assert size(path) > 40
    assert not lock_file(path).exists()


def test_what_litestream_left_behind_does_not_let_the_log_grow_for_ever(engine: Engine, path: Path) -> None:
    """Its table stays in the database when it is gone: a log that it would have emptied by now is emptied."""
    engine.write("replicate", lambda tx: tx.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY)"))
    grow(engine, 130)
    assert size(path) < LITESTREAM_BYTES / MEGABYTE
    assert not lock_file(path).exists()


def has_role(engine: Engine) -> bool:
    """Say whether this process is the checkpointer of the file."""
    checkpointer = engine.writer._checkpointer
    return checkpointer is not None and checkpointer._lock is not None
