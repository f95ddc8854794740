#!/usr/bin/env python3
"""Opens a fresh folder with many processes at the same instant, round after round.

    scripts/chaos/open_race.py [--processes 16] [--rounds 100] [--unprotected]

In each round every process opens all databases of a folder that is not there yet (whoever is first makes and migrates
them) and writes one row. Exits 1 when one of them failed or a row is missing. ``--unprotected`` looks at what is to be
migrated before it has the write lock: that run must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES, find_database
from aragora_persist.migrations import apply, ledger, plan, runner
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

    from aragora_persist.migrations.plan import Migration
    from aragora_persist.storage.port import Transaction

_PATIENCE_S = 60
_LAST = "9999-12-31T00:00:00.000000Z"


def insert(transaction: Transaction, *, key: str) -> int:
    """Insert one row."""
    sql = "INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, ?, ?)"
    return transaction.execute(sql, (key, _LAST, _LAST))


def apply_what_was_pending(
    connection: sqlite3.Connection, migrations: Sequence[Migration], target: object, before: Callable[[], object]
) -> tuple[Migration, ...]:
    """Do what the product does, but look at what is pending without the lock under which it is applied."""
    todo = plan.pending(migrations, ledger.read(connection), target)
    with apply._exclusive(connection, target):  # noqa: SLF001 - the product's inside is what is varied
        before()
        ledger.create(connection)
        for migration in todo:
            apply._upgrade(connection, migration)  # noqa: SLF001 - as above
    return todo


def open_all(place: Path, process: int, together: Barrier, failures: SimpleQueue[str]) -> None:
    """Be one of the processes; all of them open each database at the same instant."""
    settings = Settings.from_env({}, nomic_dir=place)
    for database in DATABASES:
        together.wait(_PATIENCE_S)
        try:
            with open_engine(None, database.name, settings=settings) as engine:
                if database.name == "tokens":
                    engine.write("rig.insert", partial(insert, key=str(process)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            failures.put(f"{type(error).__name__}: {error}")


def race(place: Path, processes: int) -> list[str]:
    """Let so many processes open a folder at once; return what those that failed said."""
    fork = multiprocessing.get_context("fork")  # quick, and safe here: nothing is open and no thread runs
    together, failures = fork.Barrier(processes), fork.SimpleQueue()
    started = [fork.Process(target=open_all, args=(place, number, together, failures)) for number in range(processes)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    said = [f"exit code {one.exitcode}" for one in started if one.exitcode]
    while not failures.empty():
        said.append(failures.get())
    return said


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--unprotected", action="store_true")
    arguments = parser.parse_args()
    if arguments.unprotected:
        runner.apply_pending = apply_what_was_pending
    failures: list[str] = []
    rows, start = 0, perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            place = Path(folder) / str(number)
            failures += race(place, arguments.processes)
            path = find_database("tokens").path(place)
            with closing(sqlite3.connect(path)) as connection:
                rows += connection.execute("SELECT COUNT(*) FROM token_blacklist").fetchone()[0] if not failures else 0
    opened = arguments.rounds * arguments.processes
    report = {"openers": opened, "failed": len(failures), "rows": rows, "first_failures": failures[:3]}
    print(json.dumps({**report, "seconds": round(perf_counter() - start, 1)}, indent=2))
    return int(bool(failures) or rows != opened)


if __name__ == "__main__":
    sys.exit(main())
