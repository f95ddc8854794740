"""The audit log in a file: several processes, kills, entries from before there was a tree, and a long export."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING, TextIO, cast

import pytest

from aragora_persist.errors import DamagedError
from aragora_persist.migrations.apply import apply_pending, undo
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.storage.audit_store import AuditStore, NewEntry, check_inclusion
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 4
EACH = 50
WRITER = """
    import sys
    from aragora_persist.storage.audit_store import AuditStore, NewEntry
    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with AuditStore(path) as audit:
        for number in range(count):
            audit.log_many([NewEntry("work", user_id=name, event_key=f"{name}-{number}-{part}") for part in range(3)])
            print(number, flush=True)
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start a process that logs batches of three."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(WRITER), str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_make_one_tree(tmp_path: Path) -> None:
    """No fork, nothing lost, and a head from the middle still holds at the end."""
    path = tmp_path / "users.db"
    with AuditStore(path) as audit:
        writers = [start(path, f"p{number}", EACH) for number in range(PROCESSES)]
        assert writers[0].stdout is not None
        writers[0].stdout.readline()
        head = audit.head(signed=False)
        outcomes = [(writer.communicate(timeout=PATIENCE_S)[1], writer.returncode) for writer in writers]
        assert [code for _, code in outcomes] == [0] * PROCESSES, outcomes
        report = audit.verify(head)
        assert (report.problems, report.size) == ((), PROCESSES * EACH * 3)


@pytest.mark.parametrize("batches", [3, 11])
def test_a_killed_writer_leaves_a_valid_tree(tmp_path: Path, batches: int) -> None:
    """Whatever was acknowledged is there, each batch whole, and a retry of everything doubles nothing."""
    path = tmp_path / "users.db"
    AuditStore(path).close()
    writer = start(path, "p", 100_000)
    assert writer.stdout is not None
    for _ in range(batches):
        acknowledged = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=PATIENCE_S)
    with AuditStore(path) as audit:
        report = audit.verify()
        assert report.problems == ()
        assert report.size >= 3 * (acknowledged + 1)
        assert report.size % 3 == 0
    again = start(path, "p", 20)
    assert again.communicate(timeout=PATIENCE_S)[1] == ""
    with AuditStore(path) as audit:
        assert audit.verify().size == max(report.size, 60)


def test_entries_from_before_there_was_a_tree(tmp_path: Path) -> None:
    """They are taken into it as they are, whatever their form; going back leaves them as they were."""
    migrations = load(folder_of("users"))
    rows = [
        (3, "2026-01-01 10:00:00", "u", None, "a", "user", "v", None, "1.2.3.4", None),
        (7, "2026-01-02T10:00:00.000000Z", None, None, "b", None, None, '{"a": 1}', None, "x"),
        (9, "2026-01-03T10:00:00.000000Z", "u", "o", "c", None, None, "{}", None, None),
    ]
    documented = "id, timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address, user_agent"
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        apply_pending(connection, migrations[:4], path, lambda: None)
        connection.executemany(f"INSERT INTO audit_log ({documented}) VALUES ({', '.join('?' * 10)})", rows)
        apply_pending(connection, migrations, path, lambda: None)
    with AuditStore(path) as audit:
        assert [entry.id for entry in audit.iter_entries(newest_first=False)] == [3, 7, 9]
        entry = audit.log("d")
        assert (entry.id, audit.verify().problems, audit.verify().size) == (10, (), 4)
        assert check_inclusion(entry, audit.prove(entry.id), audit.head(signed=False))
        assert audit.prove(9).position == 2
        with pytest.raises(DamagedError, match="before there was a tree"):
            audit.prove(7)
        assert audit.erase_person("u") == 2
        assert audit.verify().problems == ()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        undo(connection, migrations, 4, path, lambda: None)
        kept = connection.execute(f"SELECT {documented} FROM audit_log WHERE id = 7").fetchall()
    assert kept == rows[1:2]


def test_text_that_is_none_is_named(tmp_path: Path) -> None:
    """Bytes that cannot be read as text are one altered entry; the others are verified as ever."""
    path = tmp_path / "users.db"
    with AuditStore(path) as audit:
        audit.log_many([NewEntry("a", user_id=f"u{number}") for number in range(10)])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE audit_log SET action = CAST(x'ff61' AS TEXT) WHERE id = 5")
        report = audit.verify()
        assert {(problem.kind, problem.entry_id) for problem in report.problems} >= {("altered", 5)}
        assert {problem.entry_id for problem in report.problems} == {5}


class _Counting:
    """A text file that keeps nothing but how many lines it was given."""

    def __init__(self) -> None:
        self.lines = 0
        self.last = ""

    def write(self, text: str) -> int:
        """Count a line."""
        self.lines += 1
        self.last = text
        return len(text)


def test_an_export_is_one_cut_in_bounded_memory(tmp_path: Path) -> None:
    """While others log, exactly the entries of one moment are written, few of them in memory at a time."""
    with AuditStore(tmp_path / "users.db") as audit:
        for start_at in range(0, 6_000, 3_000):
            audit.log_many([NewEntry("a", details={"number": start_at + number}) for number in range(3_000)])
        stop = threading.Event()

        def log_on() -> None:
            while not stop.is_set():
                audit.log_many([NewEntry("b")] * 10)

        writer = threading.Thread(target=log_on)
        writer.start()
        file = _Counting()
        tracemalloc.start()
        try:
            count = audit.export(cast("TextIO", file))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            stop.set()
            writer.join()
        last = json.loads(file.last)
        assert file.lines == count >= 6_000
        assert last["id"] == count
        assert (count - 6_000) % 10 == 0
        assert peak_bytes < 2 * 2**20
