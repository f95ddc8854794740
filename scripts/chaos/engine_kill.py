#!/usr/bin/env python3
"""Kills processes that write one database, again and again, and looks for every row that they had acknowledged.

    scripts/chaos/engine_kill.py [--kills 1000] [--processes 1] [--threads 4] [--wal-limit-mb 64]
        [--unprotected] [--until-wrong]

Each process writes with several threads and reports each row when its write has returned; one of them at a time gets
SIGKILL at a random moment, and a new one takes its place, so that with several processes the one that checkpoints for
all dies again and again too, while others write and a reader in each keeps old pages wanted. Exits 1 when an
acknowledged row is missing, the database is not sound, or the write-ahead log grew above its limit. ``--unprotected``
reports each row when it has been written but not committed: that run must fail, or the rig proves nothing.
``--until-wrong`` ends it with the first loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import struct
import sys
import tempfile
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from select import select
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING

from killing import forked
from rounds import add_until_wrong, rounds

from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction
    from aragora_persist.storage.sqlite.engine import Engine

_INSERT = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, ?, ?)"
_LAST = "9999-12-31T00:00:00.000000Z"
_PADDING = "x" * 700
_REPORT = struct.Struct("<IHI")  # process, thread, number: far below what a pipe takes in one piece
_AT_ONCE = 6553 * _REPORT.size
_NO_THREAD = 2**16 - 1
_LONGEST_START_S = 30
_LONGEST_LIFE_S = 0.25


def insert(transaction: Transaction, *, report: bytes, early: int | None) -> None:
    """Insert the row of a report; with ``early``, report it there before it is committed."""
    transaction.execute(_INSERT, (report.hex(), _PADDING, _LAST, _LAST))
    if early is not None:
        os.write(early, report)
        sleep(0.002)  # the time between a report that is too early and its commit is short otherwise


def write(engine: Engine, pipe: int, process: int, thread: int, *, protected: bool) -> None:
    """Write rows until the process is killed, and report each one."""
    for number in range(2**32):
        report = _REPORT.pack(process, thread, number)
        engine.write("rig.insert", partial(insert, report=report, early=None if protected else pipe))
        if protected:
            os.write(pipe, report)


def read(engine: Engine) -> None:
    """Read some thousand rows over and over: a view is open nearly always, and what it sees stays in the log."""
    while True:
        with engine.read("rig.count") as view:
            view.one(
                "SELECT SUM(LENGTH(reason)) FROM (SELECT reason FROM token_blacklist ORDER BY jti DESC LIMIT 5000)"
            )


def child(path: Path, pipe: int, process: int, threads: int, *, protected: bool) -> None:
    """Be one of the writing processes."""
    engine = open_engine(path, "tokens", settings=Settings.from_env({}))
    writers = [
        threading.Thread(target=write, args=(engine, pipe, process, thread), kwargs={"protected": protected})
        for thread in range(threads)
    ]
    for one in [*writers, threading.Thread(target=read, args=(engine,))]:
        one.start()
    os.write(pipe, _REPORT.pack(process, _NO_THREAD, 0))  # it lives
    signal.pause()


class Child:
    """A writing process, and what it has reported."""

    def __init__(self, number: int, path: Path, arguments: argparse.Namespace) -> None:
        self.reported: set[str] = set()
        self._alive = False
        self._pipe, theirs = os.pipe()
        self.pid = forked(lambda: child(path, theirs, number, arguments.threads, protected=not arguments.unprotected))
        os.close(theirs)

    def listen(self, until: float) -> None:
        """Take in reports until this moment, and longer where none has come yet: such a kill would say nothing."""
        while (left := until - monotonic()) > 0 or not self._alive:
            if select([self._pipe], [], [], max(left, 0) if self._alive else _LONGEST_START_S)[0]:
                self._take(os.read(self._pipe, _AT_ONCE))
            elif not self._alive:
                raise RuntimeError("a writing process did not start")

    def kill(self) -> None:
        """Kill it, and take in what it had reported up to then."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while data := os.read(self._pipe, _AT_ONCE):
            self._take(data)
        os.close(self._pipe)

    def _take(self, data: bytes) -> None:
        if not data:
            raise RuntimeError("a writing process ended by itself")
        for report in _REPORT.iter_unpack(data):
            if report[1] != _NO_THREAD:
                self.reported.add(_REPORT.pack(*report).hex())
        self._alive = True


def missing(path: Path, reported: set[str], number: int) -> set[str]:
    """Return the rows that a process reported and that are not in the database."""
    first = _REPORT.pack(number, 0, 0).hex()[:8]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT jti FROM token_blacklist WHERE jti >= ? AND jti < ?", (first, first + "g"))
        return reported - {key for (key,) in rows}


def run(path: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Kill as often as asked; return the counts."""
    chance = random.Random(arguments.seed)  # noqa: S311 - repeatable on purpose
    children = {number: Child(number, path, arguments) for number in range(arguments.processes)}
    found: dict[str, float] = {"kills": 0, "acknowledged": 0, "unsound": 0, "wal_peak_mb": 0}
    lost: set[str] = set()
    log = path.with_name(f"{path.name}-wal")
    for kill in rounds(arguments.kills, lost, until_wrong=arguments.until_wrong):
        victim = chance.choice(list(children))
        end = monotonic() + chance.random() * _LONGEST_LIFE_S
        for one in children.values():
            one.listen(end)
        children[victim].kill()
        if log.exists():
            found["wal_peak_mb"] = max(found["wal_peak_mb"], round(log.stat().st_size / 2**20, 1))
        reported = children.pop(victim).reported
        found["kills"] += 1
        found["acknowledged"] += len(reported)
        lost |= missing(path, reported, victim)
        number = arguments.processes + kill
        children[number] = Child(number, path, arguments)
    for number, one in children.items():
        one.kill()
        lost |= missing(path, one.reported, number)
    with closing(sqlite3.connect(path)) as connection:
        found["unsound"] = int(connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)])
    return {**found, "lost": len(lost)}


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--wal-limit-mb", type=float, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true")
    add_until_wrong(parser)
    arguments = parser.parse_args()
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aragora_tokens.db"
        open_engine(path, "tokens", settings=Settings.from_env({})).close()
        found = run(path, arguments)
    print(json.dumps({**found, "seconds": round(perf_counter() - start, 1)}, indent=2))
    return int(bool(found["lost"] or found["unsound"] or found["wal_peak_mb"] > arguments.wal_limit_mb))


if __name__ == "__main__":
    sys.exit(main())
