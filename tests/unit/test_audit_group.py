"""Entries that several threads log at the same time are appended to the tree at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import ConflictError
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.sqlite.engine import Engine
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLERS = 40
WRITER = """
    import os, sys, threading
    from aragora_persist.storage.audit_store import AuditStore

    def log(name):
        for number in range(100_000):
            entry = audit.log("work", user_id=name, details={"number": number})
            os.write(1, f"{entry.id} {name}-{number}\\n".encode())

    with AuditStore(sys.argv[1]) as audit:
        threads = [threading.Thread(target=log, args=(f"t{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
"""


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditStore]:
    """Open a log that has an entry."""
    with AuditStore(tmp_path / "users.db") as audit:
        audit.log("first", event_key="taken")
        yield audit


def log_together(audit: AuditStore, *keys: str | None) -> tuple[list[str], list[object]]:
    """Log an entry in a thread for each key, in this order; return the statements on the log, and what each got."""
    engine = audit.database
    assert isinstance(engine, Engine)
    found: list[object] = [None] * len(keys)

    def log(number: int, key: str | None) -> None:
        try:
            found[number] = audit.log(f"entry {number}", details={"number": number}, event_key=key)
        except ConflictError as error:
            found[number] = error

    threads = [threading.Thread(target=log, args=item) for item in enumerate(keys)]
    statements: list[str] = []
    connection = engine.writer.take("hold")
    try:
        for number, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda number=number: len(engine.writer.turns._line) > number, "its place", every_s=0.001)  # type: ignore[misc] # mypy infers no type for the default
        connection.set_trace_callback(lambda sql: statements.append(sql.split("(")[0]))
    finally:
        engine.writer.give()
    for thread in threads:
        thread.join(PATIENCE_S)
    engine.writer.take("look").set_trace_callback(None)
    engine.writer.give()
    return statements, found


def test_the_tree_moves_once_for_all(audit: AuditStore) -> None:
    """One statement moves its edge, few insert the rows, and every entry is where its caller was told."""
    statements, found = log_together(audit, *[None] * CALLERS)
    assert [sql.split()[0] for sql in statements] == ["BEGIN", "UPDATE", "INSERT", "INSERT", "COMMIT"]
    assert list(audit.iter_entries(newest_first=False))[1:] == found
    report = audit.verify()
    assert (report.ok, report.size) == (True, CALLERS + 1)


def test_a_conflict_leaves_no_leaf(audit: AuditStore) -> None:
    """The entry that is refused is in neither the log nor the tree; the others are, and each once."""
    _, found = log_together(audit, None, "taken", "new", "new", None)
    assert isinstance(found[1], ConflictError)
    assert isinstance(found[3], ConflictError)  # `new` is another event by then
    assert list(audit.iter_entries(newest_first=False))[1:] == [found[0], found[2], found[4]]
    report = audit.verify()
    assert (report.ok, report.size) == (True, 4)


def test_a_guess_that_is_wrong_is_corrected_for_all(audit: AuditStore) -> None:
    """Another store has moved the tree meanwhile: those who log together are appended behind it."""
    with AuditStore(str(audit.database.target)) as other:
        other.log("meanwhile")
    _, found = log_together(audit, None, None, None)
    assert list(audit.iter_entries(newest_first=False))[2:] == found
    report = audit.verify()
    assert (report.ok, report.size) == (True, 5)


@pytest.mark.parametrize("acknowledged", [20, 400])
def test_what_threads_were_told_survives_a_kill(tmp_path: Path, acknowledged: int) -> None:
    """Each entry is there once, under the id that its caller was told, and the tree is that of the entries."""
    path = tmp_path / "users.db"
    AuditStore(path).close()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    with AuditStore(path) as audit:
        logged = [f"{entry.id} {entry.user_id}-{entry.details['number']}\n" for entry in audit.iter_entries()]
        assert set(lines) <= set(logged)
        assert max(Counter(line.split()[1] for line in logged).values()) == 1
        report = audit.verify()
        assert (report.problems, report.size) == ((), len(logged))
