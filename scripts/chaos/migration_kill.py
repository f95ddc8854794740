#!/usr/bin/env python3
"""Kills migrations at every boundary in turn and at random moments, lets each begin again, and compares everything.

    scripts/chaos/migration_kill.py [--kills N] [--random 250] [--without transaction] [--seed 1] [--json]

Databases with rows in them are migrated and rolled back; the process that does it gets SIGKILL before and after each
statement, each row of a batch, the commit, the ledger's row, and each step of the snapshot and of the rehearsal
(``migration_boundaries``), then at random moments. After each kill the work is begun again: that must succeed, and
schema, rows and ledger must be those of a run that nobody disturbed; whatever snapshot lies there must be one of a
state between two migrations, and no other file may be left. Without ``--kills``, every boundary has its kill; with it,
so many are spread over all of them. Exits 1 when anything was wrong. ``--without transaction`` lets each statement
commit by itself and the ledger's row later: that run must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from migration_boundaries import Boundaries
from migration_scenes import Scene, content_of, first_of, make_scenes, version_of, workplace
from migration_unprotected import apply_without_transaction

from aragora_persist.migrations import runner
from aragora_persist.migrations.folder import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from migration_scenes import Content


_PROGRESS_EVERY = 100
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a run that nobody kills passes, takes and leaves."""

    boundaries: list[str]
    seconds: float
    contents: list[Content]
    """What there may be in between, the first before it and the last after it."""


def child(scene: Scene, place: Path, last: int | None, told: Path | None = None) -> int:
    """Act in a process of its own, up to the boundary ``last`` (0: to the end; None: uncounted); return its id.

    By a fork: a new interpreter would take twenty times as long and do the same, since this process has no other
    thread and nothing open when it forks, and SQLite keeps nothing over the last close of a file.
    """
    if pid := os.fork():
        return pid
    code = 1
    try:
        if last is not None:
            boundaries = Boundaries(last)
            boundaries.install()
        scene.act(place)
        if told is not None:
            told.write_bytes(pickle.dumps(boundaries.passed))
        code = 0
    finally:
        os._exit(code)  # nothing of what the parent would do at its end


def scratch_of(place: Path) -> Path:
    """Return the folder in which everything finds its scratch space from now on."""
    scratch = place.with_name(f"{place.name}-scratch")
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    return scratch


def observe(scene: Scene, root: Path) -> Undisturbed:
    """Run a scene to its end: once to count, once to see the clock, once a version to see what is in between."""
    counted, timed, told = root / "counted", root / "timed", root / "told"
    scratch_of(counted)
    for place in (counted, timed):
        scene.set_up(place)
    scene.set_up(warm := root / "warm")
    scene.act(warm)  # everything is imported now, as a child will find it
    if os.waitpid(child(scene, counted, 0, told), 0)[1]:
        raise RuntimeError(f"{scene.name}: the undisturbed run failed")
    start = perf_counter()
    os.waitpid(child(scene, timed, None), 0)
    seconds = perf_counter() - start
    contents = steps_between(scene, root / "steps-between")
    if contents[-1] != content_of(scene.path(counted)):
        raise RuntimeError(f"{scene.name}: step by step, the result is another one")
    return Undisturbed(pickle.loads(told.read_bytes()), seconds, contents)  # noqa: S301 - written by our child


def steps_between(scene: Scene, place: Path) -> list[Content]:
    """Return the content before, after each single migration, and at the end."""
    scene.set_up(place)
    path = scene.path(place)
    contents = [content_of(path)] if path.exists() else []
    begin = version_of(path) if path.exists() else 0
    if scene.undo_to is None:
        for version in range(begin + 1, len(load(scene.folder)) + 1):
            folder = first_of(scene.folder, version, place.with_name(f"{place.name}-{version}"))
            replace(scene, folder=folder).act(place)
            contents.append(content_of(path))
    else:
        for version in range(begin - 1, scene.undo_to - 1, -1):
            replace(scene, undo_to=version).act(place)
            contents.append(content_of(path))
    return contents


def judge(scene: Scene, place: Path, scratch: Path, undisturbed: Undisturbed) -> list[str]:
    """Begin the work again where a process was killed, and return what is wrong then."""
    try:
        scene.finish(place)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the rig looks for
        return [f"the rerun failed: {type(error).__name__}: {error}"]
    wrong = []
    if content_of(scene.path(place)) != undisturbed.contents[-1]:
        wrong.append("the result is not that of an undisturbed run")
    for path in sorted([*place.rglob("*"), *scratch.rglob("*")]):
        if path == scene.path(place) or path == place / "backups":
            continue
        if "_before_" in path.name and path.suffix == ".db":
            if content_of(path) not in undisturbed.contents:
                wrong.append(f"{path.name} is of no state that was ever committed")
        else:
            wrong.append(f"{path.name} was left behind")
    return wrong


def kill_at(scene: Scene, place: Path, boundary: int) -> bool:
    """Let a process come to a boundary, where it ends; say whether it did."""
    _, status = os.waitpid(child(scene, place, boundary), 0)
    return os.WIFSIGNALED(status)


def kill_after(scene: Scene, place: Path, seconds: float) -> bool:
    """Kill a process at a moment; say whether it still ran."""
    pid = child(scene, place, None)
    sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


class Rig:
    """The kills so far, and what they brought to light."""

    def __init__(self, root: Path) -> None:
        self.kills = 0
        self.survived = 0
        self.landed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._root = root

    def kill(self, scene: Scene, undisturbed: Undisturbed, name: str, strike: Callable[[Scene, Path], bool]) -> None:
        """Set a scene up, strike, begin again, judge."""
        place = self._root / f"kill-{self.kills + self.survived}"
        scene.set_up(place)
        scratch = scratch_of(place)
        if strike(scene, place):
            self.kills += 1
            self.landed[name] += 1
            self.wrong += [f"{scene.name}, {name}: {problem}" for problem in judge(scene, place, scratch, undisturbed)]
            if self.kills % _PROGRESS_EVERY == 0:
                print(f"{self.kills} kills, {len(self.wrong)} wrong", file=sys.stderr)
        else:
            self.survived += 1
        shutil.rmtree(place)
        shutil.rmtree(scratch)


def spread(moments: list[tuple[int, int]], count: int | None) -> list[tuple[int, int]]:
    """Return so many of the moments, evenly spread, or all of them."""
    if count is None or count >= len(moments):
        return moments
    return [moments[index * len(moments) // count] for index in range(count)]


def run(root: Path, arguments: argparse.Namespace) -> Rig:
    """Kill as often as asked."""
    made, live = root / "made", root / "live"
    for folder in (made, live):
        folder.mkdir()
    scenes = make_scenes(made)
    observed = []
    for number, scene in enumerate(scenes):
        (own := root / f"observed-{number}").mkdir()
        observed.append(observe(scene, own))
    if arguments.without:
        runner.apply_pending = apply_without_transaction
    rig = Rig(live)
    chance = random.Random(arguments.seed)  # noqa: S311 - repeatable on purpose
    every = [(number, at) for number, seen in enumerate(observed) for at in range(1, len(seen.boundaries) + 1)]
    for number, at in spread(every, arguments.kills):
        name = observed[number].boundaries[at - 1]
        rig.kill(scenes[number], observed[number], name, lambda scene, place, at=at: kill_at(scene, place, at))
    for _ in range(arguments.random):
        number = chance.randrange(len(scenes))
        after = chance.random() * observed[number].seconds
        rig.kill(
            scenes[number],
            observed[number],
            "at random",
            lambda scene, place, after=after: kill_after(scene, place, after),
        )
    return rig


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help="so many at boundaries (default: one at each)")
    parser.add_argument("--random", type=int, default=250, help="so many at random moments")
    parser.add_argument("--without", choices=("transaction",))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    arguments = parser.parse_args()
    start = perf_counter()
    with workplace() as root:
        rig = run(root, arguments)
    report = {
        "kills": rig.kills,
        "ended_before": rig.survived,
        "landed": dict(rig.landed.most_common()),
        "wrong": len(rig.wrong),
        "first_wrong": rig.wrong[:_SHOWN],
        "seconds": round(perf_counter() - start, 1),
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        print(
            f"{rig.kills} kills in {report['seconds']} s, {len(rig.wrong)} times something was wrong",
            *rig.wrong[:_SHOWN],
            sep="\n  ",
        )
    return int(bool(rig.wrong))


if __name__ == "__main__":
    sys.exit(main())
