#!/usr/bin/env python3
"""The stores beside what people use instead: same machine, same run, rounds in turn, medians, ratios.

    scripts/bench/stores.py [--only lookup,append,transactions,log,stream,import] [--json FILE] [--short]

Prints a table for each part and, with ``--json``, writes every figure. Needs the group ``bench`` of the project's
dependencies. Read ratios, not absolutes: the goals that they are held against stand beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from parts import measure, parser_for

_PRODUCT = "aragora-persist"


class Sizes:
    """How much of each part is done."""

    def __init__(self, *, short: bool) -> None:
        self.rounds = 1 if short else 5
        self.seconds = 0.1 if short else 2.0
        self.lookup_seconds = 0.02 if short else 0.5
        self.users = 500 if short else 100_000
        self.audit_rows = 2_000 if short else 1_000_000
        self.imports = 1 if short else 15
        self.threads = (1, 8) if short else (1, 8, 64)


def lookup(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Look-up by email."""
    import stores_lookup  # noqa: PLC0415 - the peers load only with their part

    rates = stores_lookup.measure(folder, sizes.users, sizes.lookup_seconds, sizes.rounds)
    medians = {name: median(figures) for name, figures in rates.items()}
    return {
        name: {"per_s": round(rate), "ours_is_times": round(medians[_PRODUCT] / rate, 2)}
        for name, rate in sorted(medians.items(), key=lambda item: -item[1])
    }


def append(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Durable appends to the audit log."""
    import stores_writes  # noqa: PLC0415 - as above

    found: dict[str, Any] = {"fsync": {"p50_ms": round(stores_writes.fsync_ms(folder), 3)}}
    for threads in sizes.threads:
        place = folder / str(threads)
        place.mkdir()
        rounds = stores_writes.measure_appends(place, threads, sizes.seconds, sizes.rounds)
        found |= {f"{threads:2} threads, {name}": _medians(figures) for name, figures in rounds.items()}
    return found


def transactions(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Read, modify, insert."""
    import stores_writes  # noqa: PLC0415 - as above

    rounds = stores_writes.measure_transactions(folder, 8, sizes.seconds, sizes.rounds)
    return {name: _medians(figures) for name, figures in rounds.items()}


def log(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Return how large the write-ahead log becomes."""
    import stores_sizes  # noqa: PLC0415 - as above

    return stores_sizes.measure_log(folder, sizes.seconds * 5)


def stream(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Stream a long log in a process of its own, whose memory is that of nothing else."""
    import stores_sizes  # noqa: PLC0415 - as above

    path = folder / "aragora_users.db"
    rate = stores_sizes.make_log(path, sizes.audit_rows)
    command = [sys.executable, __file__, "--child", str(path)]
    streamed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"log_many": {"rows_per_s": round(rate)}, "iter_entries": streamed}


def imports(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Return what importing costs, over a bare Python."""
    del folder
    import stores_sizes  # noqa: PLC0415 - as above

    bare = stores_sizes.import_ms("pass", sizes.imports)
    statements = {
        "UserStore": "from aragora_persist.storage.user_store import UserStore",
        "sqlite3": "import sqlite3",
        "sqlalchemy": "import sqlalchemy",
        "peewee": "import peewee",
    }
    return {
        name: {"over_bare_ms": round(stores_sizes.import_ms(text, sizes.imports) - bare, 1)}
        for name, text in statements.items()
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(one[name] for one in rounds), 3) for name in rounds[0]}


RUNS = {
    "lookup": lookup,
    "append": append,
    "transactions": transactions,
    "log": log,
    "stream": stream,
    "import": imports,
}


def main() -> int:
    """Run the parts that were asked for."""
    parser = parser_for(__doc__, RUNS)
    parser.add_argument(
        "--short", action="store_true", help="seconds, to see that every part works; figures say nothing"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import stores_sizes  # noqa: PLC0415 - as above

        print(json.dumps(stores_sizes.stream(options.child)))
        return 0
    return measure(RUNS, options, Sizes(short=options.short))


if __name__ == "__main__":
    sys.exit(main())
