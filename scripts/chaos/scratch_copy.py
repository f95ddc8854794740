#!/usr/bin/env python3
"""Copies a database for a rehearsal and for a backup in turn, while processes write, checkpoint and reopen it.

    scripts/chaos/scratch_copy.py [--folder DIR] [--copies 250] [--writers 3] [--unprotected] [--until-wrong]

In a folder on XFS or btrfs the copies are clones, elsewhere they are made in pieces; the answer says which. Exits
1 when a copy is not sound, lacks what was committed before it began, or has half of a transaction (each moves something
from one row to another, so that the sum stays). ``--unprotected`` copies in the same way, but without the read lock:
that run must fail, or the rig proves nothing. ``--until-wrong`` ends it with the first wrong copy.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rounds import add_until_wrong, rounds

from aragora_persist.backup.snapshot import snapshot
from aragora_persist.migrations.rehearsal import scratch_copy
from aragora_persist.storage.sqlite import copier
from aragora_persist.storage.sqlite.readonly import open_readonly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

ROWS = 1000
METHODS: Counter[str] = Counter()
"""How often each was used, of the copies that tell."""


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
def kept_copy(path: Path) -> Iterator[Path]:
    """Copy as a backup does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        METHODS[snapshot(path, copy)] += 1
        yield copy


@contextmanager
def unlocked_copy(path: Path) -> Iterator[Path]:
    """Have the program that copies do the same, and tell it that there is a lock."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        copy = Path(folder, path.name)
        files = [stack.enter_context(Path(f"{copy}{ending}").open("wb")) for ending in ("", "-wal")]
        descriptors = [file.fileno() for file in files]
        command = [sys.executable, copier.__file__, "held", str(path), f"{path}-wal", *map(str, descriptors)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, pass_fds=descriptors)
        METHODS[done.stdout.strip()] += 1
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
    add_until_wrong(parser)
    arguments = parser.parse_args()
    wrong: list[str] = []
    seconds, context = [], multiprocessing.get_context("spawn")
    ways = cycle([unlocked_copy] if arguments.unprotected else [scratch_copy, kept_copy])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        tempfile.tempdir = folder
        path, stop = Path(folder, "live.db"), context.Event()
        fill(path)
        writers = [context.Process(target=write, args=(path, number, stop)) for number in range(arguments.writers)]
        for writer in writers:
            writer.start()
        while not moves(path):
            pass
        for _ in rounds(arguments.copies, wrong, until_wrong=arguments.until_wrong):
            least, start = moves(path), perf_counter()
            with next(ways)(path) as copy:
                seconds.append(perf_counter() - start)
                wrong += filter(None, [examined(copy, least)])
        stop.set()
        for writer in writers:
            writer.join()
        transactions = moves(path)
    report = {"copies": len(seconds), "methods": METHODS, "transactions": transactions, "wrong": len(wrong)}
    median_ms = round(1000 * sorted(seconds)[len(seconds) // 2], 1)
    print(json.dumps({**report, "first_wrong": wrong[:3], "median_ms": median_ms}, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
