#!/usr/bin/env python3
"""How fast a git history gets into the outbox, and whether every row of it is right.

    scripts/bench/import_git.py [--commits 20000 | --repository FOLDER]

Imports in a process of its own (seconds, rows/s, peak memory), again (the cost of an import with nothing new), and then
compares the outbox with git's own listings. ``git_seconds`` is what git alone needs to list the same history. Exits 1
when a row is lost, doubled or different.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from import_git_history import HistoryWriter, compare

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.importers.git import import_git

_GIT_LISTING = ("log", "--raw", "--numstat", "--no-renames", "-z", "--format=%H%at%ct%s%b")


def timed_import(repository: Path, database: Path) -> dict[str, float]:
    """Import in this process, and say what it took."""
    start = perf_counter()
    with Outbox(database) as outbox:
        done = import_git(repository, outbox)
    seconds = perf_counter() - start
    rows = done.cycles + done.evolutions + done.file_changes + done.rollbacks
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(seconds, 3),
        "rows": rows,
        "rows_per_s": round(rows / seconds),
        "peak_mib": round(peak_mib),
    }


def in_child(repository: Path, database: Path) -> dict[str, float]:
    """Import in a new process, so that its memory is its own."""
    command = [sys.executable, __file__, "--child", str(database), "--repository", str(repository)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def main() -> int:
    """Run the benchmark; 1 when the outbox differs from the history."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=20_000)
    parser.add_argument("--repository", type=Path, help="an existing one instead of a generated one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(timed_import(arguments.repository, arguments.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        repository, database = arguments.repository or Path(folder) / "history", Path(folder) / "aragora_outbox.db"
        if not arguments.repository:
            HistoryWriter(repository, seed=1).write(arguments.commits)
        start = perf_counter()
        subprocess.run(["git", "-C", str(repository), *_GIT_LISTING], check=True, stdout=subprocess.DEVNULL)
        git_seconds = round(perf_counter() - start, 3)
        first, again = in_child(repository, database), in_child(repository, database)
        result = compare(repository, database)
    print(json.dumps({"git_seconds": git_seconds, "first": first, "again": again, "comparison": result}, indent=2))
    return 1 if result["lost"] or result["doubled"] or again["rows"] else 0


if __name__ == "__main__":
    sys.exit(main())
