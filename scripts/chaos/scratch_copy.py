#!/usr/bin/env python3
"""Copies a database for a rehearsal, again and again, while processes write, checkpoint and reopen it.

    scripts/chaos/scratch_copy.py [--folder DIR] [--copies 250] [--writers 3] [--unprotected]

In a folder on XFS or btrfs the copies are clones, elsewhere SQLite makes them; the answer says how many of each. Exits
1 when a copy is not sound, lacks what was committed before it began, or has half of a transaction (each moves something
from one row to another, so that the sum stays). ``--unprotected`` copies the file and its log as any program would:
that run must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.migrations.rehearsal import scratch_copy
from aragora_persist.storage.sqlite.readonly import open_readonly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

ROWS = 1000


def fill(path: Path) -> None:
    """Make the database: rows of several pages, so that a copy takes a while."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER, pad BLOB)")
        connection.execute("CREATE TABLE moves (id INTEGER PRIMARY KEY)")
        rows = ((number,) for number in range(ROWS))
        connection.executemany("INSERT INTO accounts VALUES (?, 0, randomblob(9000))", rows)


def write(path: Path, number: int, stop: Event) -> None:
    """Move amounts between rows until told to stop; each writer has its own way of checkpointing."""
    while not stop.is_set():
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            for _ in range(200):
                if stop.is_set():
                    return
                source, target = random.sample(range(ROWS), 2)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE accounts SET amount = amount - 1 WHERE id = ?", (source,))
                connection.execute("UPDATE accounts SET amount = amount + 1 WHERE id = ?", (target,))
                connection.execute("INSERT INTO moves DEFAULT VALUES")
                connection.execute("COMMIT")
                if number:
                    connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if number % 2 else 'PASSIVE'})")


@contextmanager
def plain_copy(path: Path) -> Iterator[Path]:
    """Copy file and log without a lock."""
    with tempfile.TemporaryDirectory() as folder:
        copy, log = Path(folder, path.name), Path(f"{path}-wal")
        shutil.copyfile(path, copy)
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        yield copy


def moves(path: Path) -> int:
    """Return how many transactions are committed."""
    with open_readonly(path) as connection:
        count: int = connection.execute("SELECT count(*) FROM moves").fetchone()[0]
    return count


def examined(copy: Path, least: int) -> str:
    """Return what is wrong with a copy, or ''."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return "damaged"
            if connection.execute("SELECT sum(amount), count(*) FROM accounts").fetchone() != (0, ROWS):
                return "half of a transaction"
            behind = connection.execute("SELECT count(*) FROM moves").fetchone()[0] < least
            return "behind" if behind else ""
    except sqlite3.DatabaseError as error:
        return str(error)


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the database and scratch space are")
    parser.add_argument("--copies", type=int, default=250)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--unprotected", action="store_true")
    arguments = parser.parse_args()
    wrong: list[str] = []
    clones, seconds, context = 0, [], multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        tempfile.tempdir = folder
        path, stop = Path(folder, "live.db"), context.Event()
        fill(path)
        writers = [context.Process(target=write, args=(path, number, stop)) for number in range(arguments.writers)]
        for writer in writers:
            writer.start()
        while not moves(path):
            pass
        for _ in range(arguments.copies):
            least, start = moves(path), perf_counter()
            with (plain_copy if arguments.unprotected else scratch_copy)(path) as copy:
                seconds.append(perf_counter() - start)
                clones += Path(f"{copy}-wal").exists()
                wrong += filter(None, [examined(copy, least)])
        stop.set()
        for writer in writers:
            writer.join()
        transactions = moves(path)
    report = {"copies": len(seconds), "clones": clones, "transactions": transactions, "wrong": len(wrong)}
    median_ms = round(1000 * sorted(seconds)[len(seconds) // 2], 1)
    print(json.dumps({**report, "first_wrong": wrong[:3], "median_ms": median_ms}, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
