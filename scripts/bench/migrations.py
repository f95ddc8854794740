#!/usr/bin/env python3
"""Migrations beside what people use instead: same machine, same run, rounds in turn, medians, ratios.

    scripts/bench/migrations.py [--only files,help,rebuild] [--rounds 5] [--files 200] [--size-mb 1024] [--json FILE]

Prints a table for each part and, with ``--json``, writes every figure. Needs the group ``bench`` of the project's
dependencies, and for ``rebuild`` six times its size of free disk in the folder for temporary files. Read ratios, not
absolutes. Goals: files applied in .25 of yoyo's time, their status in .2; ``--help`` in 1.3 of bare argparse's; a
rebuild of 1 GB in 100 MB of memory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from parts import measure, parser_for

if TYPE_CHECKING:
    import argparse

sys.path.insert(0, str(Path(__file__).parents[2]))

_PRODUCT = "aragora-persist"


def files(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Apply many small files; find nothing to do; tell the status."""
    import migrations_files  # noqa: PLC0415 - each part loads only what it needs

    seconds = migrations_files.measure(folder, options.files, options.rounds)
    medians = {name: {action: median(times) for action, times in found.items()} for name, found in seconds.items()}
    ours = medians[_PRODUCT]
    return {
        name: {f"{action}_s": round(took, 3) for action, took in found.items()}
        | {f"{action}_ours_is_times": round(ours[action] / took, 3) for action, took in found.items()}
        for name, found in medians.items()
    }


def help_texts(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Start --help."""
    import migrations_help  # noqa: PLC0415 - as above

    found = {}
    for name, seconds in migrations_help.measure(folder, options.rounds * 3).items():
        ours, bare = median(seconds["ours"]), median(seconds["bare"])
        ratio = {"ours_is_times": round(ours / bare, 2)}
        found[name] = {"ours_ms": round(ours * 1000, 1), "bare_ms": round(bare * 1000, 1), **ratio}
    return found


def rebuild(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Rebuild a large table."""
    import migrations_rebuild  # noqa: PLC0415 - as above

    rounds = migrations_rebuild.measure(folder, options.size_mb, min(options.rounds, 3))
    medians = {name: {key: median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()}
    ours = medians[_PRODUCT]
    return {
        name: found | {f"{key}_ours_is_times": round(ours[key] / found[key], 2) for key in ("s", "cpu_s")}
        for name, found in medians.items()
    }


RUNS = {"files": files, "help": help_texts, "rebuild": rebuild}


def main() -> int:
    """Run the parts that were asked for."""
    parser = parser_for(__doc__, RUNS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size-mb", type=float, default=1024)
    options = parser.parse_args()
    return measure(RUNS, options, options)


if __name__ == "__main__":
    sys.exit(main())
