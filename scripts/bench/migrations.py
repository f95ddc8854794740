#!/usr/bin/env python3
"""Migrations beside what people use instead: same machine, same run, rounds in turn, medians, ratios.

    scripts/bench/migrations.py [--only files,help,rebuild] [--rounds 5] [--files 200] [--size-mb 1024] [--json FILE]

Prints a table for each part and, with ``--json``, writes every figure. Needs the group ``bench`` of the project's
dependencies, and for ``rebuild`` six times its size of free disk in the folder for temporary files. Read ratios, not
absolutes. Goals: files applied in .25 of yoyo's time, their status in .2; ``--help`` in 1.3 of bare argparse's; a
rebuild of 1 GB in 100 MB of memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

_PRODUCT = "aragora-persist"
_PARTS = ("files", "help", "rebuild")


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


def show(part: str, title: str, figures: dict[str, dict[str, float]]) -> None:
    """Print one part as a table."""
    print(f"\n{part}: {title}")
    width = max(len(name) for name in figures)
    for name, values in figures.items():
        print(f"  {name:{width}}  " + "  ".join(f"{key} {value:,}" for key, value in values.items()))


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(_PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size-mb", type=float, default=1024)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = dict(zip(_PARTS, (files, help_texts, rebuild), strict=True))
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(runs):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    report = {}
    for part in wanted:
        with tempfile.TemporaryDirectory() as folder:
            report[part] = runs[part](Path(folder), options)
        show(part, (runs[part].__doc__ or "").splitlines()[0], report[part])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
