#!/usr/bin/env python3
"""Backups beside what people use instead: same machine, same run, rounds in turn, medians, ratios.

    scripts/bench/backups.py [--only snapshot,size,verify,recovery] [--rounds 5] [--size-mb 1024] [--json FILE]
        [--folder DIR] [--per-s 300] [--limit-s 30] [--litestream PROGRAM] [--short]

Prints a table for each part and, with ``--json``, writes every figure. ``--folder`` is where everything lies: on XFS or
btrfs, copies are clones. It needs four times the size of free disk. Read ratios, not absolutes. Goals: a snapshot in .5
of ``Connection.backup(pages=-1)``'s time, and in 50 ms where blocks can be shared; writers' p99 at most twice that of
an idle disk, and never 50 ms; every stored byte looked at in 1.2 of SHA-256's time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from parts import measure, parser_for

if TYPE_CHECKING:
    import argparse

sys.path.insert(0, str(Path(__file__).parents[2]))


class Given(NamedTuple):
    """What every part is given."""

    options: argparse.Namespace
    database: Path


def snapshot(folder: Path, given: Given) -> dict[str, Any]:
    """Copy a live database while it is written to."""
    import backups_snapshots  # noqa: PLC0415 - each part loads only what it needs

    options = given.options
    return backups_snapshots.measure(
        given.database,
        folder,
        rounds=options.rounds,
        per_s=options.per_s,
        litestream=options.litestream,
        limit_s=options.limit_s,
        rest_s=0.05 if options.short else 1.0,
    )


def size(folder: Path, given: Given) -> dict[str, Any]:
    """Make an archive of a copy, and open it again."""
    import backups_archives  # noqa: PLC0415 - as above

    return backups_archives.sizes(given.database, folder, min(given.options.rounds, 3))


def verify(folder: Path, given: Given) -> dict[str, Any]:
    """Look at every byte of a backup, and at all that it means."""
    import backups_archives  # noqa: PLC0415 - as above

    return backups_archives.checks(given.database, folder, min(given.options.rounds, 3))


def recovery(folder: Path, given: Given) -> dict[str, Any]:
    """Have a lost database back, verified and on the disk."""
    import backups_archives  # noqa: PLC0415 - as above

    options = given.options
    return backups_archives.recoveries(given.database, folder, min(options.rounds, 3), options.litestream)


_SHORT = {"rounds": 1, "size_mb": 4}
RUNS = {"snapshot": snapshot, "size": size, "verify": verify, "recovery": recovery}


def main() -> int:
    """Run the parts that were asked for, all on one database."""
    parser = parser_for(__doc__, RUNS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mb", type=float, default=1024)
    parser.add_argument("--per-s", type=float, default=300)
    parser.add_argument("--limit-s", type=float, default=30, help="how long a copy may take before it is given up")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--litestream", metavar="PROGRAM", help="measure this one, too")
    parser.add_argument(
        "--short", action="store_true", help="seconds, to see that every part works; figures say nothing"
    )
    options = parser.parse_args()
    if options.short:
        vars(options).update(_SHORT)
    import backups_load  # noqa: PLC0415 - as above

    if options.folder:
        tempfile.tempdir = str(options.folder)
    with tempfile.TemporaryDirectory() as shared:
        database = Path(shared, backups_load.FILE)
        backups_load.make_database(database, options.size_mb)
        return measure(RUNS, options, Given(options, database))


if __name__ == "__main__":
    sys.exit(main())
