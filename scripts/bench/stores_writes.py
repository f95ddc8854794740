"""Writes of many threads to one file: the product beside a connection for each thread.

Both acknowledge a row when it survives a loss of power (``synchronous=FULL``). The connections do what the SQLite
documentation tells them: WAL, a busy timeout, ``BEGIN IMMEDIATE``. Times are of single calls, as their callers see
them; fairness is the count of the slowest thread over that of the fastest.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aragora_persist.storage.audit.entries import NewEntry, draft
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.times import to_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.storage.audit.entries import Draft
    from aragora_persist.storage.port import Transaction
    from aragora_persist.storage.sqlite.engine import Engine

_INSERT = (
    "INSERT INTO audit_log (timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address,"
    " user_agent) VALUES (?, ?, ?, 'document.update', 'document', ?, '{\"field\":\"title\"}', '203.0.113.7', 'bench')"
)
_INSERT_ALL = (
    "INSERT INTO audit_log (timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address,"
    " user_agent, event_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_TIMEOUT_S = 30
_FSYNCS = 300


@dataclass(slots=True)
class Run:
    """What so many threads did in a while."""

    rows: int = 0
    seconds: float = 0
    fairness: float = 0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, float]:
        """Return the figures, times in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "rows_per_s": round(self.rows / self.seconds),
            "p50_ms": round(median(ordered) * 1000, 3),
            "p99.9_ms": round(ordered[int(len(ordered) * 0.999)] * 1000, 2),
            "worst_ms": round(ordered[-1] * 1000, 1),
            "fairness": round(self.fairness, 3),
            "errors": self.errors.total(),
        }


def fsync_ms(folder: Path) -> float:
    """Return the median of what one sync of one page takes here, in milliseconds."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            start = perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append(perf_counter() - start)
    return median(took) * 1000


def drive(open_thread: Callable[[int], Callable[[int], object]], threads: int, seconds: float) -> Run:
    """Let so many threads call what ``open_thread`` gives each of them, for so long."""
    run, done, lock = Run(), [0] * threads, threading.Lock()
    together = threading.Barrier(threads + 1)

    def work(thread: int) -> None:
        write, latencies, number = open_thread(thread), [], 0
        together.wait()
        end = perf_counter() + seconds
        while (start := perf_counter()) < end:
            try:
                write(number)
            except (sqlite3.OperationalError, RuntimeError) as error:
                run.errors[str(error)] += 1
            else:
                latencies.append(perf_counter() - start)
                done[thread] += 1
            number += 1
        with lock:
            run.latencies += latencies
        getattr(write, "close", lambda: None)()

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for one in workers:
        one.start()
    together.wait()
    start = perf_counter()
    for one in workers:
        one.join()
    run.seconds, run.rows, run.fairness = perf_counter() - start, sum(done), min(done) / max(*done, 1)
    return run


class OwnConnection:
    """One thread's connection; called, it writes in a transaction of its own."""

    def __init__(self, path: Path, begin: str, body: Callable[[sqlite3.Connection, int], object]) -> None:
        self._connection = sqlite3.connect(path, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._begin, self._body = begin, body

    def __call__(self, number: int) -> None:
        """Write."""
        self._connection.execute(self._begin)
        try:
            self._body(self._connection, number)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def row(thread: int, number: int) -> tuple[str, str, str, str]:
    """Return the varying values of an audit row."""
    return to_text(utc_now()), f"user-{thread}", f"org-{thread % 4}", f"document-{number}"


def append_plain(transaction: Transaction, *, values: tuple[str, str, str, str]) -> int:
    """Insert an audit row as a connection of one's own does: without the tree that shows tampering."""
    return transaction.execute(_INSERT, values)


def append_checked(transaction: Transaction, *, checked: Draft) -> object:
    """Insert an entry that was checked as ``AuditStore`` checks it, without the tree that shows tampering."""
    transaction.execute(_INSERT_ALL, tuple(checked.row)[1:11])
    return checked.entry(0)


def appenders(folder: Path) -> dict[str, tuple[Path, Callable[[int], Callable[[int], object]], Callable[[], object]]]:
    """Return each way to append to an audit log: its file, how a thread opens it, how it is closed."""
    paths = {name: folder / f"{name}.db" for name in ("own", "plain", "checked", "audit")}
    open_engine(paths["own"], "users").close()
    plain: Engine = open_engine(paths["plain"], "users")
    checking: Engine = open_engine(paths["checked"], "users")
    audit = AuditStore(paths["audit"])

    def own(thread: int) -> OwnConnection:
        body = lambda connection, number: connection.execute(_INSERT, row(thread, number))  # noqa: E731 - one line in another
        return OwnConnection(paths["own"], "BEGIN IMMEDIATE", body)

    def engine_only(thread: int) -> Callable[[int], object]:
        return lambda number: plain.write("bench.append", partial(append_plain, values=row(thread, number)))

    def fields(thread: int, number: int) -> dict[str, Any]:
        return {
            "user_id": f"user-{thread}",
            "org_id": f"org-{thread % 4}",
            "resource_type": "document",
            "resource_id": f"document-{number}",
            "details": {"field": "title"},
            "ip_address": "203.0.113.7",
            "user_agent": "bench",
        }

    def check(thread: int) -> Callable[[int], object]:
        def write(number: int) -> object:
            checked = draft("bench.append", NewEntry("document.update", **fields(thread, number)), utc_now())
            return checking.write("bench.append", partial(append_checked, checked=checked))

        return write

    def log(thread: int) -> Callable[[int], object]:
        return lambda number: audit.log("document.update", **fields(thread, number))

    return {
        "own connections, IMMEDIATE": (paths["own"], own, lambda: None),
        "aragora-persist, plain rows": (paths["plain"], engine_only, plain.close),
        "aragora-persist, checked rows": (paths["checked"], check, checking.close),
        "aragora-persist, AuditStore.log": (paths["audit"], log, audit.close),
    }


def measure_appends(folder: Path, threads: int, seconds: float, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the figures of each way to append, one a round, the rounds interleaved."""
    ways = appenders(folder)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, opened, _) in ways.items():
            found[name].append(drive(opened, threads, seconds).report())
    for _, _, close in ways.values():
        close()
    return found


def count_up(connection: sqlite3.Connection, number: int) -> None:
    """Read a counter, change it, and add a row: what goes wrong when two do it at once."""
    (value,) = connection.execute("SELECT failed_login_count FROM users WHERE id = 'counter'").fetchone()
    connection.execute("UPDATE users SET failed_login_count = ? WHERE id = 'counter'", (value + 1,))
    connection.execute(_INSERT, row(0, number))


def count_up_in(transaction: Transaction, *, number: int) -> None:
    """Do the same through the product."""
    found = transaction.one("SELECT failed_login_count FROM users WHERE id = 'counter'")
    value = int(found[0] or 0) if found else 0
    transaction.execute("UPDATE users SET failed_login_count = ? WHERE id = 'counter'", (value + 1,))
    transaction.execute(_INSERT, row(0, number))


def measure_transactions(folder: Path, threads: int, seconds: float, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the figures of read-modify-insert transactions, with the updates that were lost."""
    begins = {"deferred": "BEGIN", "IMMEDIATE": "BEGIN IMMEDIATE"}
    names = [*(f"own connections, {name}" for name in begins), "aragora-persist"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            path = folder / f"{name.split()[-1]}-{number}.db"
            with open_engine(path, "users") as engine:
                insert = "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('counter', 'a@b', '', '')"
                engine.write("bench.counter", partial(_insert_counter, sql=insert))
                if name == "aragora-persist":
                    write = lambda n, e=engine: e.write("bench.count", partial(count_up_in, number=n))  # noqa: E731 - as above
                    run = drive(lambda _, w=write: w, threads, seconds)
                else:
                    begin = begins[name.split()[-1]]
                    run = drive(lambda _, p=path, b=begin: OwnConnection(p, b, count_up), threads, seconds)
            with closing(sqlite3.connect(path)) as connection:
                (value,) = connection.execute("SELECT failed_login_count FROM users").fetchone()
            found[name].append({**run.report(), "lost_updates": run.rows - value})
    return found


def _insert_counter(transaction: Transaction, *, sql: str) -> int:
    return transaction.execute(sql)
