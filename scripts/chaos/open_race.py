#!/usr/bin/env python3
"""Opens a fresh folder with many processes at the same instant, round after round.

    scripts/chaos/open_race.py [--processes 16] [--rounds 100] [--unprotected] [--until-wrong]

In each round every process opens all databases of a folder that is not there yet (whoever is first makes and migrates
them) and writes one row. Exits 1 when one of them failed or a row is missing. ``--unprotected`` looks at what is to be
migrated before it has the write lock: that run must fail, or the rig proves nothing. ``--until-wrong`` ends it with
the first round in which one failed.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from migration_unprotected import without_lock
from rounds import add_until_wrong, rounds
from starters import race

from aragora_persist.databases import DATABASES, find_database
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction

_LAST = "9999-12-31T00:00:00.000000Z"


def insert(transaction: Transaction, *, key: str) -> int:
    """Insert one row."""
    sql = "INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, ?, ?)"
    return transaction.execute(sql, (key, _LAST, _LAST))


def open_one(place: Path, database: str, process: int) -> None:
    """Open a database as one of the processes."""
    with open_engine(None, database, settings=Settings.from_env({}, nomic_dir=place)) as engine:
        if database == "tokens":
            engine.write("rig.insert", partial(insert, key=str(process)))


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--unprotected", action="store_true")
    add_until_wrong(parser)
    arguments = parser.parse_args()
    if arguments.unprotected:
        without_lock()
    failures: list[str] = []
    opened, rows, start = 0, 0, perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in rounds(arguments.rounds, failures, until_wrong=arguments.until_wrong):
            place = Path(folder) / str(number)
            failures += race(arguments.processes, [partial(open_one, place, database.name) for database in DATABASES])
            opened += arguments.processes
            path = find_database("tokens").path(place)
            with closing(sqlite3.connect(path)) as connection:
                rows += connection.execute("SELECT COUNT(*) FROM token_blacklist").fetchone()[0] if not failures else 0
    report = {"openers": opened, "failed": len(failures), "rows": rows, "first_failures": failures[:3]}
    print(json.dumps({**report, "seconds": round(perf_counter() - start, 1)}, indent=2))
    return int(bool(failures) or rows != opened)


if __name__ == "__main__":
    sys.exit(main())
