"""Where a database may be, and looking at one without leaving a trace."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import BusyError, DamagedError, InvalidValueError, UnsupportedError
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.connecting import warn_of_wal_reset_bug
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.sqlite.files import file_system, refuse_network, resolve
from aragora_persist.storage.sqlite.readonly import open_readonly

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

WAL_HEADER_BYTES = 32
MOUNTS = [
    "22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw",
    "27 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw",
    "90 27 0:77 /export /mnt/na\\040s rw master:3 propagate_from:2 - nfs4 server:/export rw,vers=4.2",
]


def test_the_file_system_is_found_by_its_device() -> None:
    """The mount's type comes after the separator, whatever optional fields are before it."""
    assert file_system(MOUNTS, os.makedev(254, 0)) == "ext4"
    assert file_system(MOUNTS, os.makedev(0, 77)) == "nfs4"
    assert file_system(MOUNTS, os.makedev(9, 9)) == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """Locks over the network lose data: the error names the kind and the way out."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"90 27 {os.major(device)}:{os.minor(device)} / {tmp_path} rw - {kind} server:/export rw\n")
    with pytest.raises(UnsupportedError, match=kind) as refused:
        refuse_network(tmp_path / "users.db", mounts)
    assert "NOMIC_DIR" in refused.value.hint


def test_a_local_file_system_is_accepted(tmp_path: Path) -> None:
    """This machine's own folder is fine, and so is a system that lists no mounts."""
    refuse_network(tmp_path / "users.db")
    refuse_network(tmp_path / "users.db", tmp_path / "no-mountinfo")
    open_engine(tmp_path / "tokens.db", "tokens").close()
    assert (tmp_path / "tokens.db").exists()


def test_a_path_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, links and the tilde all come to the same file."""
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path.resolve() / "x.db"
    assert [resolve(path) for path in ("x.db", "link/x.db", "~/x.db", expected)] == [expected] * 4


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x.db", "x\0.db"])
def test_what_cannot_be_a_path_is_refused(path: str) -> None:
    """The error shows it."""
    with pytest.raises(InvalidValueError) as refused:
        resolve(path)
    assert refused.value.target == repr(path)


@pytest.mark.parametrize(("spent_s", "lines"), [(0.5, 0), (0.5231, 1), (0.4999, 0)])
def test_the_slow_query_line_is_the_documented_one(
    caplog: pytest.LogCaptureFixture, spent_s: float, lines: int
) -> None:
    """Only above the threshold, and to the letter."""
    report_slow("save_cycle", {"cycle": 5}, spent_s, 500.0)
    expected = "Slow query (0.523s): save_cycle [cycle=5] (threshold: 0.500s)"
    assert [record.getMessage() for record in caplog.records] == [expected] * lines
    assert {(record.name, record.levelname) for record in caplog.records} <= {("aragora_persist.slow", "WARNING")}


def test_the_slow_query_line_shows_its_context_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Several keys share the brackets; a value is cut, and cannot begin a line of its own."""
    report_slow("save", {"loop": "a\nSlow query", "cycle": None, "text": "x" * 1000}, 1.0, 500.0)
    report_slow("save", {}, 1.0, 500.0)
    cut = "x" * 99 + "…"
    assert [record.getMessage() for record in caplog.records] == [
        f"Slow query (1.000s): save [loop=a\\nSlow query, cycle=None, text={cut}] (threshold: 0.500s)",
        "Slow query (1.000s): save (threshold: 0.500s)",
    ]


def test_an_unconfigured_program_gets_no_log(tmp_path: Path) -> None:
    """A library does not write to the standard error of a program that did not ask for its log."""
    code = """
import sys
from aragora_persist.storage.sqlite.engine import open_engine
with open_engine(sys.argv[1], 'elo'): pass
"""
    environ = {**os.environ, "ARAGORA_SLOW_QUERY_MS": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "elo.db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_wal_reset_bug_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """A SQLite that has it earns one warning in a process, and a fixed one none."""
    vulnerable = (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3)
    warn_of_wal_reset_bug.cache_clear()
    for _ in range(2):
        warn_of_wal_reset_bug()
    assert [sqlite3.sqlite_version in record.getMessage() for record in caplog.records] == [True] * vulnerable


def trace(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything about the files of a folder that reading could change."""
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_mode, file.read_bytes()) for file in folder.iterdir()}


class TestOpenReadonly:
    """Looking leaves no trace, in each state in which a database can be found."""

    def look(self, path: Path) -> list[tuple[object, ...]]:
        """Return the tokens, and check that the folder is as it was."""
        before = trace(path.parent)
        with open_readonly(path) as connection:
            rows = connection.execute("SELECT jti FROM token_blacklist").fetchall()
        assert trace(path.parent) == before
        return rows

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Return a cleanly closed database with one token."""
        path = tmp_path / "data" / "tokens.db"
        with open_engine(path, "tokens") as engine, engine.transaction("add") as tx:
            tx.execute("INSERT INTO token_blacklist VALUES ('a', NULL, NULL, 'x', 'y')")
        return path

    def test_a_closed_one(self, path: Path) -> None:
        """Nothing appears beside a cleanly closed file."""
        assert self.look(path) == [("a",)]

    def test_one_that_another_process_has_open(self, path: Path) -> None:
        """What another process has committed into its WAL is seen, and its shared memory is not written."""
        code = (
            "import sys; from aragora_persist.storage.sqlite.engine import open_engine\n"
            "with open_engine(sys.argv[1], 'tokens') as engine:\n"
            "    with engine.transaction('add') as tx:\n"
            "        tx.execute(\"INSERT INTO token_blacklist VALUES ('b', NULL, NULL, 'x', 'y')\")\n"
            "    print('ready', flush=True)\n"
            "    sys.stdin.readline()\n"
        )
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            assert self.look(path) == [("a",), ("b",)]
            holder.communicate("done\n", timeout=10)
        assert holder.returncode == 0

    def test_one_that_this_process_has_open(self, path: Path) -> None:
        """Looking disturbs neither the writer nor its locks."""
        with open_engine(path, "tokens") as engine:
            with engine.transaction("add") as tx:
                tx.execute("INSERT INTO token_blacklist VALUES ('b', NULL, NULL, 'x', 'y')")
                with open_readonly(path) as connection:
                    assert connection.execute("SELECT jti FROM token_blacklist").fetchall() == [("a",)]
                with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
                    other.execute("BEGIN IMMEDIATE")
            with open_readonly(path) as connection:
                assert connection.execute("SELECT jti FROM token_blacklist").fetchall() == [("a",), ("b",)]

    def killed(self, path: Path) -> None:
        """Write a second token in a process that dies before anything is checkpointed."""
        code = (
            "import os, sys; from aragora_persist.storage.sqlite.engine import open_engine\n"
            "with open_engine(sys.argv[1], 'tokens').transaction('add') as tx:\n"
            "    tx.execute(\"INSERT INTO token_blacklist VALUES ('b', NULL, NULL, 'x', 'y')\")\n"
            "os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, path], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr

    def test_one_whose_writer_was_killed(self, path: Path) -> None:
        """A WAL and a shared memory that nobody holds are read and stay as they are."""
        self.killed(path)
        assert sorted(file.name for file in path.parent.iterdir()) == ["tokens.db", "tokens.db-shm", "tokens.db-wal"]
        assert self.look(path) == [("a",), ("b",)]

    def test_a_copy_with_its_wal(self, path: Path, tmp_path: Path) -> None:
        """A file copied together with its WAL only, as rsync does it, is read whole."""
        self.killed(path)
        (tmp_path / "copy").mkdir()
        for name in ("tokens.db", "tokens.db-wal"):
            shutil.copy(path.parent / name, tmp_path / "copy")
        assert self.look(tmp_path / "copy" / "tokens.db") == [("a",), ("b",)]

    @pytest.mark.parametrize("seen", ["wal", "wal and shm"])
    def test_one_that_is_closed_while_it_is_opened(self, path: Path, seen: str) -> None:
        """Side files that were there a moment ago, and went with the last one who had it open, are no error."""
        self.killed(path)
        if seen == "wal":
            path.with_name("tokens.db-shm").unlink()
        gone: list[sqlite3.Connection] = []

        def close(frame: FrameType, what: str, argument: object) -> None:
            copying = what == "call" and frame.f_code.co_name == "_stamps"
            connecting = what == "c_call" and argument is sqlite3.connect
            if (copying or connecting) and not gone:
                gone.append(sqlite3.connect(path))
                gone[0].execute("PRAGMA wal_checkpoint(TRUNCATE)")
                gone[0].close()

        sys.setprofile(close)
        try:
            with open_readonly(path) as connection:
                rows = connection.execute("SELECT jti FROM token_blacklist").fetchall()
        finally:
            sys.setprofile(None)
        assert gone
        assert rows == [("a",), ("b",)]

    def test_a_log_that_a_killed_writer_had_only_begun_hides_nothing(self, path: Path) -> None:
        """SQLite itself answers "locking protocol" to readers, until somebody opens the file for writing."""
        self.killed(path)
        os.truncate(f"{path}-wal", WAL_HEADER_BYTES)
        assert self.look(path) == [("a",)]

    def test_it_cannot_write(self, path: Path) -> None:
        """The connection refuses to change the file."""
        before = trace(path.parent)
        with pytest.raises(Exception, match="readonly"), open_readonly(path) as connection:
            connection.execute("DELETE FROM token_blacklist")
        assert trace(path.parent) == before

    def test_what_is_no_database_is_damaged(self, tmp_path: Path) -> None:
        """The driver's error becomes ours."""
        (tmp_path / "x.db").write_bytes(b"nothing of the kind" * 99)
        with pytest.raises(DamagedError), open_readonly(tmp_path / "x.db") as connection:
            connection.execute("SELECT 1 FROM sqlite_master")

    def test_one_made_by_others_is_read_too(self, tmp_path: Path) -> None:
        """A database with a rollback journal is no special case."""
        with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
            connection.execute("CREATE TABLE token_blacklist (jti)")
        assert self.look(tmp_path / "x.db") == []


def test_a_journal_that_comes_and_goes_is_no_missing_file(tmp_path: Path) -> None:
    """Whoever writes to another program's database makes and removes one with each transaction."""
    path, journal = tmp_path / "a.db", tmp_path / "a.db-journal"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")

    def write(frame: FrameType, what: str, _argument: object) -> None:
        if what == "call" and frame.f_code.co_name == "_connected":
            journal.write_bytes(b"")
        if what == "call" and frame.f_code.co_name == "_stamps":
            journal.unlink(missing_ok=True)

    sys.setprofile(write)
    try:
        with pytest.raises(BusyError, match="kept changing"), open_readonly(path):
            pass
    finally:
        sys.setprofile(None)
