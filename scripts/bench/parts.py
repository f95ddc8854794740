"""What the benchmarks of several parts share: their options, a folder for each part, tables, a file of all figures."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Given = TypeVar("Given")


def parser_for(description: str | None, runs: Mapping[str, object]) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have: which parts to run, and where to write the figures."""

    def parts(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := set(wanted) - set(runs):
            raise argparse.ArgumentTypeError(f"there is no part {', '.join(sorted(unknown))}")
        return wanted

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=parts, default=list(runs), metavar="PART,…")
    parser.add_argument("--json", type=Path)
    return parser


def measure(
    runs: Mapping[str, Callable[[Path, Given], dict[str, Any]]], options: argparse.Namespace, given: Given
) -> int:
    """Run the parts that were asked for, each in a folder of its own; show and write what they found."""
    report = {}
    for part in options.only:
        with tempfile.TemporaryDirectory() as folder:
            report[part] = runs[part](Path(folder), given)
        show(part, (runs[part].__doc__ or "").splitlines()[0], report[part])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def show(part: str, title: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print one part as a table."""
    print(f"\n{part}: {title}")
    width = max(len(name) for name in figures)
    for name, values in figures.items():
        print(f"  {name:{width}}  " + "  ".join(f"{key} {value:,}" for key, value in values.items()))
