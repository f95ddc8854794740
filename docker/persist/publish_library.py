#!/usr/bin/python3
"""Publish the image's library into a volume, as a release that running services can keep using.

``publish-library SOURCE TARGET`` copies SOURCE to ``TARGET/releases/<digest of its files>`` and points
``TARGET/current`` at it. A release appears under its name only when every byte of it is on disk, is never changed
afterwards and never removed: a service that started from one keeps importing from it. Killed at any instruction, a
second run completes the work. Leaves out: removing old releases, which only someone who knows that nobody runs from
them may do.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path

UNFINISHED = ".unfinished-"


def digest_of(library: Path) -> str:
    """Return the SHA-256 over the names and contents of the library's files; compiled files only repeat those."""
    total = hashlib.sha256()
    for path in sorted(path for path in library.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        name = str(path.relative_to(library)).encode()
        content = path.read_bytes()
        total.update(b"%d %s %d\n" % (len(name), name, len(content)))
        total.update(content)
    return total.hexdigest()


def sync(path: Path) -> None:
    """Have a file or a folder's entries on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(source: Path, target: Path) -> Path:
    """Copy, sync, rename; return the release's folder."""
    releases = target / "releases"
    releases.mkdir(exist_ok=True)
    for leftover in releases.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)
    release = releases / digest_of(source)
    if not release.exists():
        unfinished = releases / f"{UNFINISHED}{release.name}"
        shutil.copytree(source, unfinished)
        for path in (*unfinished.rglob("*"), unfinished):
            sync(path)
        unfinished.rename(release)
        sync(releases)
    return release


def point(link: Path, release: Path) -> None:
    """Let ``link`` name ``release``, at once and for good."""
    unfinished = link.with_name(f"{UNFINISHED}{link.name}")
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()
    unfinished.symlink_to(release.relative_to(link.parent))
    unfinished.replace(link)
    sync(link.parent)


def main() -> None:
    """Publish, and print the release's folder."""
    source, target = map(Path, sys.argv[1:])
    try:
        release = publish(source, target)
        point(target / "current", release)
    except OSError as error:
        sys.exit(f"publish-library: {error}")
    print(release)  # noqa: T201 - the caller reads it


if __name__ == "__main__":
    main()
