"""What backups are measured on: a database of a given size, and a process that writes to it at a steady rate.

The rows are those of the product's own ``memory`` database, of words, so that they compress as text does.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from contextlib import closing, contextmanager
from random import Random
from typing import TYPE_CHECKING

from aragora_persist.migrations.runner import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

DATABASE = "memory"
FILE = "aragora_memory.db"
_ROW_BYTES = 4096
_AT = "2026-01-02T03:04:05.678901Z"
_WAIT_S = 60.0

Latencies = list[tuple[float, float]]
"""When each transaction began and how long it took, in seconds of ``perf_counter``, which all processes share."""


def make_database(path: Path, size_mb: float) -> None:
    """Make the database, of about this size."""
    migrate(path, DATABASE)
    chance = Random(1)  # noqa: S311 - the same rows in every run
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 10))) for _ in range(5000)]
    rows = max(1, int(size_mb * 2**20 / _ROW_BYTES))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO memories (id, content, created_at, updated_at) VALUES (?, ?, ?, ?)",
            ((f"{n:032x}", " ".join(chance.choices(words, k=530)), _AT, _AT) for n in range(rows)),
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _write(path: Path, per_s: float, told: Connection) -> None:
    """Change a row and insert one, in one transaction that is on the disk when it returns, so many times a second."""
    latencies: Latencies = []
    chance = Random(2)  # noqa: S311 - as above
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        rows = connection.execute("SELECT count(*) FROM memories").fetchone()[0]
        due = time.perf_counter()
        told.send("writing")
        while not told.poll():
            due = max(due + 1 / per_s, time.perf_counter() - 1 / per_s)
            time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            which = (f"{chance.randrange(rows):032x}",)
            connection.execute("UPDATE memories SET access_count = access_count + 1 WHERE id = ?", which)
            move = "INSERT INTO tier_transitions (memory_id, from_tier, to_tier, reason, moved_at)"
            connection.execute(f"{move} VALUES (?, 'fast', 'slow', 'bench', '{_AT}')", which)
            connection.execute("COMMIT")
            latencies.append((start, time.perf_counter() - start))
    told.send(latencies)


@contextmanager
def writer(path: Path, per_s: float) -> Iterator[Latencies]:
    """Write meanwhile, in a process of its own; what is yielded is filled when the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_write, args=(path, per_s, theirs))
    process.start()
    theirs.close()  # so that the end of a writer that failed is the end of the waiting
    found: Latencies = []
    try:
        ours.recv()
        yield found
        ours.send("stop")
        found += ours.recv()
    finally:
        if process.is_alive() and not found:
            process.kill()
        process.join()


def within(latencies: Latencies, start: float, end: float) -> list[float]:
    """Return, in milliseconds and in order, how long those transactions took that a span of time touched."""
    return sorted(took * 1000 for began, took in latencies if began < end and began + took > start)
