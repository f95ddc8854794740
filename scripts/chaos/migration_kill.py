#!/usr/bin/env python3
"""Kills migrations at every boundary in turn and at random moments, lets each begin again, and compares everything.

    scripts/chaos/migration_kill.py [--kills N] [--random 250] [--without transaction] [--scenes NAME …] [--json]

Databases with rows in them are migrated and rolled back; the process that does it gets SIGKILL before and after each
statement, each row of a batch, the commit, the ledger's row, and each step of the snapshot and of the rehearsal
(``migration_boundaries``), then at random moments. After each kill the work is begun again: that must succeed, and
schema, rows and ledger must be those of a run that nobody disturbed; whatever snapshot lies there must be one of a
state between two migrations, and nothing else may be left. Without ``--kills``, every boundary has its kill; with it,
so many are spread over all of them. Exits 1 when anything was wrong. ``--without transaction`` lets each statement
commit by itself and the ledger's row later: that run must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from killing import forked
from migration_boundaries import Boundaries
from migration_scenes import SETS, Scene, make_scenes, workplace
from migration_trials import contents_between, trial, was_killed
from migration_unprotected import without_transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from migration_scenes import Content

_PROGRESS_EVERY = 100
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A scene, and what a run of it that nobody kills passes, takes and makes."""

    scene: Scene
    boundaries: list[str]
    seconds: float
    contents: list[Content]


def act(scene: Scene, place: Path, last: int, told: Path | None = None) -> None:
    """Act up to the boundary ``last`` (0: to the end), and tell those that were passed."""
    boundaries = Boundaries(last)
    boundaries.install()
    scene.act(place)
    if told is not None:
        told.write_bytes(pickle.dumps(boundaries.passed))


def observe(scene: Scene, root: Path) -> Undisturbed:
    """Run a scene to its end: once a version to see what is in between, once to count, once to see the clock."""
    root.mkdir()
    contents = contents_between(scene, root / "between")  # and everything is imported then, as a child will find it
    told = root / "told"
    with trial(scene, root / "counted", contents) as counted:
        was_killed(forked(lambda: act(scene, counted.place, 0, told)))
        wrong = counted.finish() if told.exists() else ["it did not come to its end"]
        if wrong:
            raise RuntimeError(f"{scene.name}: the undisturbed run failed: {wrong}")
    with trial(scene, root / "timed", contents) as timed:
        start = perf_counter()
        was_killed(forked(lambda: scene.act(timed.place)))
        seconds = perf_counter() - start
    return Undisturbed(scene, pickle.loads(told.read_bytes()), seconds, contents)  # noqa: S301 - written by our child


class Rig:
    """The kills so far, and what they brought to light."""

    def __init__(self, root: Path) -> None:
        self.kills = 0
        self.missed: list[str] = []
        self.too_late = 0
        self.landed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._root = root

    def kill_at(self, seen: Undisturbed, boundary: int) -> None:
        """Let a process come to a boundary, where it ends."""
        name = seen.boundaries[boundary - 1]
        if not self._strike(seen, name, lambda place: was_killed(forked(lambda: act(seen.scene, place, boundary)))):
            self.missed.append(f"{seen.scene.name}, {name}")

    def kill_after(self, seen: Undisturbed, seconds: float) -> None:
        """Kill a process at a moment."""

        def strike(place: Path) -> bool:
            pid = forked(lambda: seen.scene.act(place))
            sleep(seconds)
            os.kill(pid, signal.SIGKILL)
            return was_killed(pid)

        self.too_late += not self._strike(seen, "at random", strike)

    def _strike(self, seen: Undisturbed, name: str, strike: Callable[[Path], bool]) -> bool:
        with trial(seen.scene, self._root / "live", seen.contents) as one:
            if not strike(one.place):
                return False
            self.kills += 1
            self.landed[name] += 1
            self.wrong += [f"{seen.scene.name}, {name}: {problem}" for problem in one.finish()]
        if self.kills % _PROGRESS_EVERY == 0:
            print(f"{self.kills} kills, {len(self.wrong)} times something was wrong", file=sys.stderr)
        return True


def run(root: Path, arguments: argparse.Namespace) -> Rig:
    """Kill as often as asked."""
    seen = [
        observe(scene, root / f"observed-{number}") for number, scene in enumerate(make_scenes(root, arguments.scenes))
    ]
    every = [(one, boundary) for one in seen for boundary in range(1, len(one.boundaries) + 1)]
    count = len(every) if arguments.kills is None else min(arguments.kills, len(every))
    if arguments.without:
        without_transaction()
    rig = Rig(root)
    for index in range(count):
        rig.kill_at(*every[index * len(every) // count])
    chance = random.Random(arguments.seed)  # noqa: S311 - repeatable on purpose
    for _ in range(arguments.random):
        one = chance.choice(seen)
        rig.kill_after(one, chance.random() * one.seconds)
    if not arguments.without:  # which takes another way
        rig.wrong += [f"{boundary}: it was not come to" for boundary in rig.missed]
    return rig


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help="so many at boundaries (default: one at each)")
    parser.add_argument("--random", type=int, default=250, help="so many at random moments")
    parser.add_argument("--without", choices=("transaction",))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--scenes", nargs="+", choices=SETS, default=SETS)
    arguments = parser.parse_args()
    start = perf_counter()
    with workplace() as root:
        rig = run(root, arguments)
    seconds = round(perf_counter() - start, 1)
    if arguments.json:
        report = {
            "kills": rig.kills,
            "too_late": rig.too_late,
            "missed": len(rig.missed),
            "landed": dict(rig.landed.most_common()),
        }
        report |= {"wrong": len(rig.wrong), "first_wrong": rig.wrong[:_SHOWN], "seconds": seconds}
        print(json.dumps(report, indent=2))
    else:
        said = f"{rig.kills} kills in {seconds} s, {len(rig.wrong)} times something was wrong"
        print(said, *rig.wrong[:_SHOWN], sep="\n  ")
    return int(bool(rig.wrong))


if __name__ == "__main__":
    sys.exit(main())
