"""One disturbance of a scene: acted out in a process of its own, begun again afterwards, and judged.

Leaves out: how it is disturbed (the rigs), and what it is (``migration_scenes``).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migration_scenes import Scene, content_of, first_of, version_of

from aragora_persist.migrations.folder import load
from aragora_persist.migrations.turn import clear_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migration_scenes import Content


@dataclass(frozen=True, slots=True)
class Trial:
    """A copy of a scene, with scratch space of its own, so that what is left there is seen."""

    scene: Scene
    place: Path
    scratch: Path
    allowed: list[Content]
    """What the database may hold: the states between two migrations, the first and the last included."""

    def finish(self) -> list[str]:
        """Begin the work again after a disturbance, and return what is wrong then."""
        scene, path = self.scene, self.scene.path(self.place)
        try:
            if scene.undo_to is None or version_of(path) > scene.undo_to:
                scene.act(self.place)
            else:  # there is nothing to undo: the next run, whatever it does, takes the lock file away
                clear_turn(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what a rig looks for
            return [f"the rerun failed: {type(error).__name__}: {error}"]
        wrong = [] if content_of(path) == self.allowed[-1] else ["the result is not that of an undisturbed run"]
        for file in self._files():
            if file in self.snapshots():
                if content_of(file) not in self.allowed:
                    wrong.append(f"{file.name} is of no state between two migrations")
            elif file.name == f"{path.name}-migrating" and scene.undo_to is not None:
                pass  # killed behind its last commit, a rollback is not begun again; who migrates next clears it away
            elif file != path:
                wrong.append(f"{file.name} was left behind")
        return wrong

    def snapshots(self) -> list[Path]:
        """Return the snapshots that were taken."""
        return list((self.place / "backups").glob("*_before_*.db"))

    def _files(self) -> list[Path]:
        """Return what lies around: every file, and every folder but the one of the backups."""
        found = [*self.place.rglob("*"), *self.scratch.rglob("*")]
        return sorted(path for path in found if path != self.place / "backups")


@contextmanager
def trial(scene: Scene, place: Path, allowed: list[Content]) -> Iterator[Trial]:
    """Set a scene up in the new folder ``place``, which goes with the block."""
    scratch = place.with_name(f"{place.name}-scratch")
    scene.set_up(place)
    scratch.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(scratch)
    try:
        yield Trial(scene, place, scratch, allowed)
    finally:
        tempfile.tempdir = before
        shutil.rmtree(place)
        shutil.rmtree(scratch)


def was_killed(pid: int) -> bool:
    """Wait for the end of a process, and say whether a signal ended it."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(f"a process ended by signal {os.WTERMSIG(status)}")
    return os.WIFSIGNALED(status)


def contents_between(scene: Scene, place: Path) -> list[Content]:
    """Return the content before, after each single migration, and so at the end; ``place`` and its like are used up."""
    scene.set_up(place)
    path = scene.path(place)
    begin = version_of(path)
    contents = [content_of(path)]
    if scene.dry_run:
        scene.act(place)
    elif begin == 0:  # a new database is made whole or not at all
        scene.act(place)
        contents.append(content_of(path))
    elif scene.undo_to is None:
        for version in range(begin + 1, len(load(scene.folder)) + 1):
            folder = first_of(scene.folder, version, place.with_name(f"{place.name}-{version}"))
            replace(scene, folder=folder).act(place)
            contents.append(content_of(path))
    else:
        for version in range(begin - 1, scene.undo_to - 1, -1):
            replace(scene, undo_to=version).act(place)
            contents.append(content_of(path))
    return contents
