#!/usr/bin/env python3
"""Takes the power away at many moments of recorded migrations and rollbacks, and opens what a disk could then hold.

    scripts/chaos/migration_power_loss.py [--images 1000] [--unprotected] [--scenes NAME …]

What a disk could hold is decided as in ``power_loss.py``. Exits 1 when an image is of no state between two migrations,
or was made after the call had returned and is not of the last one. ``--unprotected`` lets the disk ignore every sync:
that run must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from migration_scenes import SETS, content_of, make_scenes, workplace
from migration_trials import contents_between
from power_loss import image
from power_loss_recorder import Event, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migration_scenes import Content

_AFTERWARDS = 5  # of so many images one is of a moment after the return, when nothing happens any more


def on_disk(path: Path) -> list[Event]:
    """Return what brings a file that is there to a disk, whole."""
    return [Event("write", str(path), 0, path.read_bytes()), Event("sync", str(path))] if path.exists() else []


def examine(files: dict[str, bytearray], path: Path, scratch: Path) -> Content:
    """Open an image of the database ``path`` as the next start would, and return what it holds."""
    for name, content in files.items():
        (scratch / Path(name).name).write_bytes(content)
    try:
        return content_of(scratch / path.name)
    except sqlite3.DatabaseError as error:
        return (f"corrupt: {error}",)
    finally:
        for file in scratch.iterdir():
            file.unlink()


def run(root: Path, images: int, sets: Sequence[str], *, syncs: bool) -> Counter[str]:
    """Record every scene, and count what its images hold."""
    found: Counter[str] = Counter()
    chance = random.Random(1)  # noqa: S311 - repeatable on purpose
    scenes = make_scenes(root, sets)
    contents = [contents_between(scene, root / f"between-{number}") for number, scene in enumerate(scenes)]
    recorder = Recorder()
    recorder.install()
    (scratch := root / "image").mkdir()
    for number, scene in enumerate(scenes):
        place = root / f"recorded-{number}"
        path = scene.path(place)
        scene.set_up(place)
        before = on_disk(path)
        recorder.events.clear()
        scene.act(place)
        events = [e for e in recorder.events if e.path.startswith(str(path)) and (syncs or e.kind != "sync")]
        for index in range(images // len(scenes)):
            returned = index % _AFTERWARDS == 0
            upto = events if returned else events[: chance.randrange(len(events))]
            held = examine(image([*before, *upto], chance), path, scratch)
            found["images"] += 1
            found["between"] += held not in contents[number]
            found["of_the_first_state"] += held == contents[number][0]
            found["after_return"] += returned
            found["lost"] += returned and held != contents[number][-1]
    return found


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--unprotected", action="store_true")
    parser.add_argument("--scenes", nargs="+", choices=SETS, default=SETS)
    arguments = parser.parse_args()
    start = perf_counter()
    with workplace() as root:
        found = run(root, arguments.images, arguments.scenes, syncs=not arguments.unprotected)
    print(json.dumps({**found, "seconds": round(perf_counter() - start, 1)}, indent=2))
    return int(bool(found["between"] or found["lost"]))


if __name__ == "__main__":
    sys.exit(main())
