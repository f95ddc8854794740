#!/usr/bin/env python3
"""Lets the disk be full at each write of a migration, a rollback and a dry run in turn, and looks at what is left.

    scripts/chaos/migration_disk_full.py [--every 1] [--unprotected] [--scenes NAME …] [--small FOLDER]

The layer under SQLite (``power_loss_recorder``) refuses the n-th write with "disk full", in one run that one alone, in
another every one from it on, for each n; ``--every 5`` takes each fifth. An error must say that the disk is full, of
which file or folder, and once a migration began: which, and where the snapshot from before is. The database must be in
a state between two migrations, after a dry run be the same bytes. When there is room again, the same call must succeed,
as it would have without the disturbance, and nothing else may be left. Exits 1 when anything was wrong.
``--unprotected`` lets each statement commit by itself: that run must fail, or the rig proves nothing. ``--small`` names
a folder on a small file system of its own (``mount -t tmpfs -o size=4m none FOLDER``): that one is filled, but for more
and more, until there is room enough.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from killing import forked
from migration_scenes import SETS, Scene, content_of, make_scenes, workplace
from migration_trials import Trial, contents_between, trial, was_killed
from migration_unprotected import without_transaction
from power_loss_recorder import FULL, OK, Event, Recorder

from aragora_persist.errors import PersistError
from aragora_persist.migrations.folder import load

if TYPE_CHECKING:
    from migration_scenes import Content

_SHOWN = 5
_PAGE = 4096
_TORN = "what is there is of no state between two migrations"


class CountedDisk:
    """A disk that counts writes, and is full at one of them (0: at none), or from it on."""

    def __init__(self, full_at: int, *, stays_full: bool) -> None:
        self.name = f"{'from' if stays_full else 'at'} write {full_at}"
        self.writes = 0
        self._full_at = full_at
        self._stays_full = stays_full

    def begin(self) -> None:
        """Become the disk of this process."""
        self._recorder = Recorder(answer=self._answer)
        self._recorder.install()

    def relieve(self) -> None:
        """Nothing is to be done: the process was another one."""

    def _answer(self, _: Event) -> int:
        self.writes += 1
        self._recorder.events.clear()
        full = self.writes == self._full_at or (self._stays_full and self.writes > self._full_at > 0)
        return FULL if full else OK


class SmallDisk:
    """A real one, filled but for some bytes."""

    writes = 0

    def __init__(self, folder: Path, free_bytes: int) -> None:
        self.name = f"but for {free_bytes} bytes"
        self._ballast = folder / "ballast"
        self._free_bytes = free_bytes

    def begin(self) -> None:
        """Fill it."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * _PAGE):
                pass
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - self._free_bytes))

    def relieve(self) -> None:
        """Make room."""
        self._ballast.unlink()


def act(one: Trial, disk: CountedDisk | SmallDisk, told: Path) -> None:
    """Act on such a disk, and tell how many writes there were and what error came."""
    disk.begin()
    error = ""
    try:
        one.scene.act(one.place)
    except PersistError as problem:
        error = str(problem)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the rig has found it
        error = f"{type(problem).__name__}, none of ours: {problem}"
    told.write_text(json.dumps({"writes": disk.writes, "error": error}))


def judge(one: Trial, error: str) -> list[str]:
    """Return what is wrong about the error, and about what is there while the disk is still full."""
    wrong = []
    found = content_of(one.scene.path(one.place))
    if error:
        # It may be a folder whose disk is full: that of the backups, of scratch space, or of a table to be rebuilt.
        snapshots = list(map(str, one.snapshots()))
        named = [str(one.place), *snapshots]
        wrong += [f"the error does not name {name}: {error}" for name in named if name not in error]
        if snapshots and not any(migration.name in error for migration in load(one.scene.folder)):
            wrong.append(f"the error names no migration: {error}")
        if not any(word in error for word in ("full", "space", "room")) or "none of ours" in error:
            wrong.append(f"the error is unclear: {error}")
    elif found != one.allowed[-1]:
        wrong.append("no error, and another result")
    if found not in one.allowed:
        wrong.append(_TORN)
    return wrong


class Rig:
    """The disks that were full, and what that brought to light."""

    def __init__(self, root: Path) -> None:
        self.runs = self.refused = 0
        self.wrong: list[str] = []
        self._root = root

    def run(self, scene: Scene, every: int) -> None:
        """Let the disk be full at each write of a scene."""
        contents = contents_between(scene, self._root / f"{scene.name}-between")
        for stays_full in (False, True):
            writes, _ = self._try(scene, contents, self._root, CountedDisk(0, stays_full=stays_full))
            for full_at in range(1, writes + 1, every):
                self._try(scene, contents, self._root, CountedDisk(full_at, stays_full=stays_full))

    def run_on(self, small: Path, scene: Scene, every: int) -> None:
        """Leave more and more room to a scene, until it is enough."""
        contents = contents_between(scene, self._root / f"{scene.name}-between")
        free_bytes, error = _PAGE, "not tried"
        while error:
            _, error = self._try(scene, contents, small, SmallDisk(small, free_bytes))
            free_bytes += every * _PAGE

    def _try(
        self, scene: Scene, contents: list[Content], place: Path, disk: CountedDisk | SmallDisk
    ) -> tuple[int, str]:
        """Act on a disk, and return how many writes there were and what error came."""
        told = self._root / "told"
        with trial(scene, place / "run", contents) as one:
            bytes_before = scene.path(one.place).read_bytes() if scene.dry_run else b""
            told.unlink(missing_ok=True)
            if was_killed(forked(lambda: act(one, disk, told))):
                raise RuntimeError("a process did not come to its end")
            disk.relieve()
            said = json.loads(told.read_text())
            wrong = judge(one, said["error"])
            if bytes_before and scene.path(one.place).read_bytes() != bytes_before:
                wrong.append("the original of the dry run is not the same bytes")
            wrong += one.finish()
        self.runs += 1
        self.refused += bool(said["error"])
        self.wrong += [f"{scene.name}, full {disk.name}: {problem}" for problem in wrong]
        return int(said["writes"]), str(said["error"])


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true")
    parser.add_argument("--small", type=Path, metavar="FOLDER")
    parser.add_argument("--scenes", nargs="+", choices=SETS, default=SETS)
    arguments = parser.parse_args()
    start = perf_counter()
    with workplace() as root:
        scenes = make_scenes(root, arguments.scenes)
        scenes.append(replace(scenes[0], name="dry run", dry_run=True))
        rig = Rig(root)
        if arguments.unprotected:
            without_transaction()
        for scene in scenes:
            if arguments.small is None:
                rig.run(scene, arguments.every)
            else:
                rig.run_on(arguments.small, scene, arguments.every)
    report = {"runs": rig.runs, "refused": rig.refused, "wrong": len(rig.wrong)}
    report["torn"] = sum(problem.endswith(_TORN) for problem in rig.wrong)
    report |= {"first_wrong": rig.wrong[:_SHOWN], "seconds": round(perf_counter() - start, 1)}
    print(json.dumps(report, indent=2))
    return int(bool(rig.wrong))


if __name__ == "__main__":
    sys.exit(main())
