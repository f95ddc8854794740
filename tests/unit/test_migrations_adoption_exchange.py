"""The original's place is taken at once or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.files import beside, partial
from aragora_persist.errors import BusyError, StorageError
from aragora_persist.migrations.adoption import adopt, is_foreign
from aragora_persist.migrations.adoption.exchange import exchange
from aragora_persist.migrations.rehearsal import scratch_copy
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.files import is_being_restored
from aragora_persist.storage.user_store import UserStore
from tests.unit.foreign_databases import DOCUMENTED, DOCUMENTED_ROWS, execute, make, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EMAILS = "SELECT email FROM users ORDER BY id"
THEIRS, OURS = [(" Ann@Example.COM ",), ("bob@example.com",)], [("ann@example.com",), ("bob@example.com",)]
STEPS = frozenset(("os.rename", "os.remove", "os.link", "open"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database made by hand."""
    return make(tmp_path / "data" / "aragora_users.db", DOCUMENTED, DOCUMENTED_ROWS)


def settings_of(path: Path) -> Settings:
    """Return settings that do not wait long."""
    return Settings.from_env({"NOMIC_DIR": str(path.parent), "DB_TIMEOUT": "0.2"})


def take(path: Path) -> None:
    """Adopt it in its place."""
    adopt(path, path, "users", settings=settings_of(path))


def test_a_kill_at_any_step_leaves_one_of_the_two_whole(tmp_path: Path) -> None:
    """A process is killed before each step that touches the folder; the next opener finds or completes one state."""
    found, interrupted = set(), 0
    for step in range(1_000):
        path = make(tmp_path / str(step) / "aragora_users.db", DOCUMENTED, DOCUMENTED_ROWS)
        if not _killed(path, step):
            break
        if is_being_restored(path):
            interrupted += 1
            UserStore(path).close()  # as any opener, it completes the exchange
        assert not is_being_restored(path)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            adopted = not is_foreign(connection)
        found.add(adopted)
        assert rows_of(path, EMAILS) == (OURS if adopted else THEIRS)
        if step % 8 == 0:
            take(path)
            assert rows_of(path, EMAILS) == OURS
            assert [entry.name for entry in path.parent.iterdir() if "partial" in entry.name] == []
    assert (found, interrupted > 1) == ({True, False}, True)


def test_a_process_that_has_it_open_is_found(path: Path) -> None:
    """An idle one too, in either journal mode; the database is the original, and nothing is left beside it."""
    for mode in ("DELETE", "WAL"):
        with closing(sqlite3.connect(path)) as holder:
            holder.execute(f"PRAGMA journal_mode={mode}")
            assert holder.execute("SELECT count(*) FROM users").fetchone() == (2,)
            with pytest.raises(BusyError, match=f"the process {os.getpid()} has it open"):
                take(path)
            assert holder.execute(EMAILS).fetchall() == THEIRS
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_who_opens_it_at_the_last_moment_is_found_too(path: Path) -> None:
    """Then nothing was done, and nothing is left: neither the new file nor the snapshot."""
    with (
        scratch_copy(path) as copy,
        closing(sqlite3.connect(path)) as holder,
        pytest.raises(BusyError, match="has it open"),
    ):
        assert holder.execute("SELECT count(*) FROM users").fetchone() == (2,)
        _exchange(path, copy, settings_of(path))

    assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name, "backups"]
    assert list((path.parent / "backups").iterdir()) == []


def test_a_transaction_that_was_cut_off_is_not_taken_for_done(path: Path) -> None:
    """What it has written already stands in the file until somebody rolls it back."""
    child = os.fork()
    if child == 0:
        holder = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA cache_size=1", "BEGIN", "UPDATE users SET name = printf('%.90000c', 'x')"):
            holder.execute(statement)
        os._exit(0)
    os.waitpid(child, 0)
    before = path.read_bytes()

    with pytest.raises(BusyError, match="has an unfinished transaction"):
        take(path)
    assert path.read_bytes() == before
    assert rows_of(path, "SELECT length(name) FROM users ORDER BY id") == [(0,), (0,)]
    take(path)
    assert rows_of(path, EMAILS) == OURS


def test_what_was_written_meanwhile_is_not_lost(path: Path) -> None:
    """A database that differs from what was adopted is put back."""
    settings = settings_of(path)
    with scratch_copy(path) as copy:
        execute(path, "UPDATE users SET name = 'Ann' WHERE id = 'ann'")
        with pytest.raises(BusyError, match="was written to while it was adopted"):
            _exchange(path, copy, settings)

    assert rows_of(path, "SELECT name FROM users WHERE id = 'ann'") == [("Ann",)]
    assert not is_being_restored(path)
    take(path)
    with UserStore(path) as users:
        ann = users.get_by_email("ann@example.com")
        assert ann is not None
        assert ann.name == "Ann"


@pytest.mark.parametrize("limit", [8_192, 65_536])
def test_a_disk_that_fills_leaves_the_original(path: Path, limit: int) -> None:
    """While the original is copied, and while the new file is written; a later run succeeds."""
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            take(path)
        except StorageError:
            outcome = 0
        finally:
            os._exit(outcome)
    assert os.waitpid(child, 0)[1] == 0
    assert (path.read_bytes(), [entry.name for entry in path.parent.iterdir()]) == (before, [path.name])
    take(path)
    assert rows_of(path, EMAILS) == OURS


def _exchange(path: Path, copy: Path, settings: Settings) -> None:
    with partial(beside(path, ".adopted")) as new:
        new.path.write_bytes(copy.read_bytes())
        exchange(copy, path, new, "users", settings)


def _killed(path: Path, step: int) -> bool:
    """Adopt in a process that is killed before its step of this number in the folder; say whether it came to that."""
    child = os.fork()
    if child == 0:
        sys.addaudithook(_killer(path.parent, step))
        try:
            take(path)
        finally:
            os._exit(0)
    _, state = os.waitpid(child, 0)
    return os.WIFSIGNALED(state)


def _killer(folder: Path, step: int) -> Callable[[str, tuple[object, ...]], None]:
    steps = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        touched = event in STEPS and str(folder) in str(arguments[0])
        if touched and event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        if touched:
            steps += 1
            if steps > step:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook
