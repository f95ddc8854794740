"""Copies of a live database, each way beside the others: how long it takes, and how long writers wait meanwhile.

    backups_snapshots.py WAY SOURCE TARGET

Every way is a process of its own, because some never end: after the limit it is killed, and has not finished. Those of
Python tell their own times, without that of their start. ``sound`` is what passes SQLite's quick check and holds every
transaction that was committed before the copy began.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from backups_load import Latencies, within, writer

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCT = "aragora-persist"
IDLE = "nothing is copied"
_COUNT = "SELECT count(*) FROM tier_transitions"


class Run(NamedTuple):
    """One copy: when it began and ended, and what came of it."""

    start: float
    end: float
    finished: bool
    sound: bool
    method: str


def with_product(source: Path, target: Path) -> str:
    """Make a copy that is on the disk under its own name, as a backup is before it is verified."""
    from aragora_persist.backup.files import partial  # noqa: PLC0415 - the others must not pay for it
    from aragora_persist.storage.sqlite.copying import copy_into  # noqa: PLC0415 - as above

    with partial(target) as copy:
        method = copy_into(source, copy.path)
        copy.publish(target, operation="benchmark")
    return method


def with_backup_api(source: Path, target: Path, pages: int = -1) -> str:
    """Use the API as Python has it."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=pages)
    return ""


def with_vacuum(source: Path, target: Path) -> str:
    """Have SQLite write a compact copy."""
    with closing(sqlite3.connect(source)) as live:
        live.execute("VACUUM INTO ?", (str(target),))
    return ""


OURS: dict[str, Callable[[Path, Path], str]] = {
    PRODUCT: with_product,
    "Connection.backup(pages=-1)": with_backup_api,
    "Connection.backup(pages=1000)": lambda source, target: with_backup_api(source, target, 1000),
    "VACUUM INTO": with_vacuum,
}
"""The ways that are written in Python; the first imports ours before its time begins."""


def programs(litestream: str | None) -> dict[str, Callable[[Path, Path], list[str]]]:
    """Return the ways that are others' programs, as the commands that are called."""
    found: dict[str, Callable[[Path, Path], list[str]]] = {
        "cp": lambda source, target: ["cp", str(source), str(target)]
    }
    if shutil.which("sqlite3"):
        found["sqlite3 .backup"] = lambda source, target: [
            *("sqlite3", "-cmd", ".timeout 30000", str(source), f".backup '{target}'")
        ]
    if litestream:
        found["litestream"] = lambda source, target: [
            *(litestream, "replicate", "-once", "-force-snapshot", str(source), f"file://{target}.replica")
        ]
    return found


def run(way: str, source: Path, target: Path, *, litestream: str | None, limit_s: float) -> Run:
    """Copy once and look at the copy, which is removed."""
    others = programs(litestream)
    command = (
        others[way](source, target) if way in others else [sys.executable, __file__, way, *map(str, (source, target))]
    )
    environ = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as reader:
        least = reader.execute(_COUNT).fetchone()[0]
    start, method = time.perf_counter(), ""
    try:
        done = subprocess.run(command, check=way in OURS, capture_output=True, text=True, timeout=limit_s, env=environ)
        end, finished = time.perf_counter(), done.returncode == 0
        if way in OURS:
            start, end, method = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        end, finished = time.perf_counter(), False
    if way == "litestream" and finished:
        command = [str(litestream), "restore", "-o", str(target), f"file://{target}.replica"]
        subprocess.run(command, check=True, capture_output=True, env=environ)
    found = Run(start, end, finished, finished and _sound(target, least), method)
    shutil.rmtree(f"{target}.replica", ignore_errors=True)
    for path in target.parent.glob(f"{target.name}*"):
        path.unlink()
    return found


def _sound(target: Path, least: int) -> bool:
    try:
        with closing(sqlite3.connect(target)) as copy:
            checked = copy.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            return bool(checked and copy.execute(_COUNT).fetchone()[0] >= least)
    except sqlite3.DatabaseError:
        return False


def measure(
    source: Path, folder: Path, *, rounds: int, per_s: float, litestream: str | None, limit_s: float, rest_s: float
) -> dict[str, dict[str, float]]:
    """Return what each way took and did to the writer, the rounds interleaved."""
    ways = [*OURS, *programs(litestream)]
    runs: dict[str, list[Run]] = {IDLE: [], **{way: [] for way in ways}}
    with writer(source, per_s) as latencies:
        for _ in range(rounds):
            for way in ways:
                _settle(rest_s)
                runs[IDLE].append(_idle(2 * rest_s))
                runs[way].append(run(way, source, folder / "copy.db", litestream=litestream, limit_s=limit_s))
    idle = _figures(runs.pop(IDLE), latencies)
    ours = median(one.end - one.start for one in runs[PRODUCT])
    found = {IDLE: {"s": 0.0, **idle}}
    for way, those in runs.items():
        took = median(one.end - one.start for one in those)
        method = f" ({those[0].method})" if those[0].method else ""
        found[f"{way}{method}"] = {
            "s": round(took, 3),
            "ours_is_times": round(ours / took, 3),
            **(figures := _figures(those, latencies)),
            "p99_is_times_idle": round(figures["p99_ms"] / idle["p99_ms"], 2),
            "finished": sum(one.finished for one in those),
            "sound": sum(one.sound for one in those),
            "of": len(those),
        }
    return found


def _settle(rest_s: float) -> None:
    """Let what the last copy left be written, and its blocks be freed: the next one is not to pay for it."""
    os.sync()
    time.sleep(rest_s)


def _idle(seconds: float) -> Run:
    start = time.perf_counter()
    time.sleep(seconds)
    return Run(start, time.perf_counter(), finished=True, sound=True, method="")


def _figures(runs: list[Run], latencies: Latencies) -> dict[str, float]:
    """Return the writer's figures: medians over the rounds, and the worst of all."""
    rounds = [within(latencies, one.start, one.end) for one in runs]
    rounds = [one for one in rounds if one] or [[0.0]]
    return {
        "p50_ms": round(median(one[len(one) // 2] for one in rounds), 2),
        "p99_ms": round(median(one[int(len(one) * 0.99)] for one in rounds), 2),
        "max_ms": round(median(one[-1] for one in rounds), 1),
        "worst_ms": round(max(one[-1] for one in rounds), 1),
    }


def main(way: str, source: str, target: str) -> int:
    """Copy in one way, and tell when it began and ended."""
    if way == PRODUCT:
        import aragora_persist.backup.snapshot  # noqa: F401, PLC0415 - a service has it loaded
    start = time.perf_counter()
    method = OURS[way](Path(source), Path(target))
    print(json.dumps([start, time.perf_counter(), method]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
