"""The folder of built and downloaded tools: whole entries under keys, a ``bin`` of those in use, one user at a time.

An entry is made in a temporary folder, synced and renamed, so whatever lies under its name is whole; a bootstrap that
is killed leaves a temporary folder that the next one sweeps away. Entries are never changed, only added: one made from
other pins has another name. ``bin`` holds hard links: a program that looks for its companions beside itself finds them,
though they are from several entries. Which parts there are is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.storage.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAMP = "origin.json"
TEMPORARY = "unfinished-"


class Store:
    """The toolchain folder at ``root``, which is made with the first change; reading makes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin_dir = root / "bin"

    def entry(self, name: str, version: str, key: str) -> Path:
        """Return where the entry of these pins is, or would be."""
        return self.root / "store" / f"{name}-{version}-{key}"

    def origin_of(self, entry: Path) -> str | None:
        """Return where a whole entry came from; None when it is missing or a file of it was lost or truncated."""
        try:
            stamp = json.loads((entry / STAMP).read_text())
            whole = all((entry / name).stat().st_size == size for name, size in stamp["files"].items())
        except (OSError, ValueError, KeyError):
            return None
        return str(stamp["origin"]) if whole else None

    @contextlib.contextmanager
    def publish(self, entry: Path, origin: str, files: tuple[str, ...]) -> Iterator[Path]:
        """Give a temporary folder; when the block ends without an error it becomes ``entry``, whole and on disk.

        ``files`` are the relative paths that the entry exists for: they must be there, and are checked at every look.
        """
        with self.scratch() as scratch:
            yield scratch
            sizes = {name: (scratch / name).stat().st_size for name in files}
            (scratch / STAMP).write_text(json.dumps({"origin": origin, "files": sizes}, indent=1) + "\n")
            os.sync()  # a Go toolchain has 12,000 files: one sync is quicker than as many
            entry.parent.mkdir(parents=True, exist_ok=True)
            with self.scratch() as damaged:
                if entry.exists():  # it lost a file, or nobody would make it again
                    entry.rename(damaged / entry.name)
                scratch.rename(entry)
            sync_folder(entry.parent)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder in the store's file system; it is removed after the block unless it was renamed."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        path.chmod(0o755)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed bootstraps left; only for the holder of the lock."""
        for left in self.root.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)

    def link(self, name: str, target: Path) -> None:
        """Make ``bin/<name>`` the file ``target`` of an entry, in one step: there is no moment without it."""
        self.bin_dir.mkdir(parents=True, exist_ok=True)
        with self.scratch() as scratch:
            (scratch / name).hardlink_to(target)
            (scratch / name).replace(self.bin_dir / name)
        sync_folder(self.bin_dir)

    def unlink(self, name: str) -> None:
        """Remove ``bin/<name>``; nothing happens when it is not there."""
        (self.bin_dir / name).unlink(missing_ok=True)

    def links(self, name: str, target: Path | None = None) -> bool:
        """Tell whether there is a ``bin/<name>``, and whether it is ``target`` where one is given."""
        try:
            link = (self.bin_dir / name).lstat()
            return target is None or os.path.samestat(link, target.lstat())
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the store alone; ``waiting`` is called once when another process has it. A dead holder holds nothing."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            self.sweep()
            yield
