"""What grows: the write-ahead log under readers that never rest, memory while a long log is streamed, and imports."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from stores_writes import OwnConnection, append_plain, count_up, drive, row

from aragora_persist.storage.audit.entries import NewEntry
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable

_READERS = 4
_WRITERS = 4
_AT_ONCE = 1000
_SCAN = "SELECT COUNT(*), SUM(LENGTH(details)) FROM audit_log"


def _peak_while(path: Path, read: Callable[[], object], write: Callable[[], object]) -> dict[str, float]:
    """Return the largest write-ahead log, and how fast was written, while readers scan over and over."""
    stop, peak = threading.Event(), [0]
    log = path.with_name(f"{path.name}-wal")

    def watch() -> None:
        while not stop.wait(0.02):
            if log.exists():
                peak[0] = max(peak[0], log.stat().st_size)

    def scan() -> None:
        while not stop.is_set():
            read()

    others = [threading.Thread(target=watch), *(threading.Thread(target=scan) for _ in range(_READERS))]
    for one in others:
        one.start()
    run = write()
    stop.set()
    for one in others:
        one.join()
    return {"wal_peak_mb": round(peak[0] / 2**20, 1), "rows_per_s": run.report()["rows_per_s"]}


def measure_log(folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return the write-ahead log's peak with connections of one's own and with the product."""
    own, ours = folder / "own.db", folder / "ours.db"
    with open_engine(own, "users") as engine:
        insert = "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('counter', 'a@b', '', '')"
        engine.write("bench.counter", lambda transaction: transaction.execute(insert))

    def scan_own() -> None:
        with closing(sqlite3.connect(own)) as connection:
            connection.execute(_SCAN).fetchone()

    opened = lambda _: OwnConnection(own, "BEGIN IMMEDIATE", count_up)  # noqa: E731 - one line in a call
    found = {"own connections": _peak_while(own, scan_own, lambda: drive(opened, _WRITERS, seconds))}
    with open_engine(ours, "users") as engine:

        def scan() -> None:
            with engine.read("bench.scan") as view:
                view.one(_SCAN)

        def write(thread: int) -> Callable[[int], object]:
            return lambda number: engine.write("bench.append", partial(append_plain, values=row(thread, number)))

        found["aragora-persist"] = _peak_while(ours, scan, lambda: drive(write, _WRITERS, seconds))
    return found


def make_log(path: Path, rows: int) -> float:
    """Make an audit log of so many rows; return the rows a second of ``log_many``."""
    start = perf_counter()
    with AuditStore(path) as audit:
        for first in range(0, rows, _AT_ONCE):
            entries = [
                NewEntry("document.update", user_id=f"user-{n % 50}", details={"n": n})
                for n in range(first, min(first + _AT_ONCE, rows))
            ]
            audit.log_many(entries)
    return rows / (perf_counter() - start)


def stream(path: Path) -> dict[str, float]:
    """Read a whole log as a stream, in this process, and say what it took."""
    start = perf_counter()
    with AuditStore(path) as audit:
        rows = sum(1 for _ in audit.iter_entries())
    return {"rows": rows, "rows_per_s": round(rows / (perf_counter() - start)), "peak_mb": _peak_mb()}


def _peak_mb() -> int:
    """Return the most memory that this process has held; what ``getrusage`` tells has that of its parent in it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def import_ms(statement: str, times: int) -> float:
    """Return the median time of so many Python processes that run this statement, in milliseconds.

    What they import is compiled before, as with an installed package.
    """
    took = []
    with tempfile.TemporaryDirectory() as compiled:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = compiled
        for _ in range(times + 1):
            start = perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
            took.append((perf_counter() - start) * 1000)
    return median(took[1:])
