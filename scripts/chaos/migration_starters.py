#!/usr/bin/env python3
"""Starts many processes at the same instant that all migrate one database before they work with it.

    scripts/chaos/migration_starters.py [--processes 16] [--rounds 100] [--unprotected] [--until-wrong]

In each round they find a database with rows in it and migrations pending, and in another folder none at all. Exits 1
when one of them failed, when a migration ran twice or not at all (each writes a row that says that it ran), when its
application was told by another number of processes than one, when more than one took a snapshot, or when the result is
not that of a single process.
``--unprotected`` looks at what is pending before it has the write lock: that run must fail, or the rig proves nothing.
``--until-wrong`` ends it with the first round in which something was wrong.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from migration_scenes import Scene, content_of, make_scenes, nothing, workplace
from migration_unprotected import without_lock
from rounds import add_until_wrong, rounds
from starters import race

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 3


def start(scene: Scene, place: Path, told: Path, process: int) -> None:
    """Be one of the processes: migrate, and say what was applied."""
    names = scene.act(place)
    (told / str(process)).write_text("\n".join(names))


def snapshots(place: Path) -> int:
    """Return how many snapshots were taken."""
    return len(list(place.glob("backups/*.db")))


class Rig:
    """The rounds of one scene, and what they brought to light."""

    def __init__(self, scene: Scene, root: Path, processes: int) -> None:
        self.failures: list[str] = []
        self.wrong: list[str] = []
        self._scene = scene
        self._root = root
        self._processes = processes
        root.mkdir()
        scene.set_up(alone := root / "alone")
        self._names = list(scene.act(alone))
        self._expected = content_of(scene.path(alone))
        self._snapshots = snapshots(alone)

    def run(self, number: int) -> None:
        """Let the processes race, in one round."""
        place, told = self._root / str(number), self._root / f"{number}-told"
        self._scene.set_up(place)
        told.mkdir()
        said = race(self._processes, [partial(start, self._scene, place, told)])
        self.failures += [f"{self._scene.name}: {problem}" for problem in said]
        if content_of(self._scene.path(place)) != self._expected:
            self.wrong.append(f"{self._scene.name}: the result is not that of a single process")
        if snapshots(place) != self._snapshots:
            self.wrong.append(f"{self._scene.name}: {snapshots(place)} snapshots were taken")
        answers = [path.read_text().split() for path in told.iterdir()]
        if sorted(name for names in answers for name in names) != self._names:
            self.wrong.append(f"{self._scene.name}: told as applied: {answers}")
        shutil.rmtree(place)


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--unprotected", action="store_true")
    add_until_wrong(parser)
    arguments = parser.parse_args()
    begun = perf_counter()
    with workplace() as root:
        pending = make_scenes(root, ["steps"])[0]
        scenes = [pending, replace(pending, name="fresh folder", template=nothing(root))]
        rigs = [Rig(scene, root / scene.name, arguments.processes) for scene in scenes]
        if arguments.unprotected:
            without_lock()
        starters = 0
        found = [problems for rig in rigs for problems in (rig.failures, rig.wrong)]
        for number in rounds(arguments.rounds, *found, until_wrong=arguments.until_wrong):
            for rig in rigs:
                rig.run(number)
                starters += arguments.processes
    failures = [problem for rig in rigs for problem in rig.failures]
    wrong = [problem for rig in rigs for problem in rig.wrong]
    report = {
        "starters": starters,
        "failed": len(failures),
        "wrong": len(wrong),
        "first": [*failures[:_SHOWN], *wrong[:_SHOWN]],
        "seconds": round(perf_counter() - begun, 1),
    }
    print(json.dumps(report, indent=2))
    return int(bool(failures or wrong))


if __name__ == "__main__":
    sys.exit(main())
