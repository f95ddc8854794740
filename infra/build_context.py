"""What the images are built from: for each one its Dockerfile, the files that it copies, and one digest over them.

The context of every build is the whole tree as `.dockerignore` lets it through, read here with the same rules as the
engine's own clients use; which of those files are an image's own, its Dockerfile says. So an edit of one image's files
rebuilds that image only, and those that are made of it. Leaves out: building.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from docker.utils.build import exclude_paths

IMAGES = ("persist", "postgres", "postgrest", "gateway", "supabase_backup", "litestream")
"""The images of the tier, each with a folder in `docker/`."""

IGNORE_FILE = ".dockerignore"


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """What one image is built from; paths are relative to the context and in order."""

    dockerfile: str
    files: tuple[Path, ...]
    digest: str
    made_of: dict[str, str]
    """The images of the tier that it starts from, by the build argument that names each of them."""


def image_build(root: Path, image: str) -> ImageBuild:
    """Return what ``image``, one of ``IMAGES``, is built from in the tree at ``root``.

    The digest is a SHA-256 over names, execute bits and contents; times do not count.
    """
    dockerfile = f"docker/{image}/Dockerfile"
    made_of = _bases(root / dockerfile)
    own = {root / dockerfile, *(match for source in _copied(root / dockerfile) for match in root.glob(source))}
    theirs = {path for base in made_of.values() for path in image_build(root, base).files}
    files = tuple(
        path for path in sent_files(root) if path in theirs or not own.isdisjoint({root / path, *(root / path).parents})
    )
    return ImageBuild(dockerfile, files, _digest(root, files), made_of)


def sent_files(root: Path) -> list[Path]:
    """Return the files below ``root`` that every build is sent, relative to it and in order."""
    patterns = [
        line.strip()
        for line in (root / IGNORE_FILE).read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    paths = exclude_paths(str(root), patterns)
    # The ignore file goes along to the engine, but into no image.
    return sorted(Path(path) for path in paths - {IGNORE_FILE} if (root / path).is_file())


def _copied(dockerfile: Path) -> list[str]:
    """Return the sources of a Dockerfile's `COPY`s from the context; each of these stands on a line of its own."""
    copies = (line.split() for line in dockerfile.read_text().splitlines() if line.startswith("COPY "))
    return [source for words in copies if not words[1].startswith("--from=") for source in words[1:-1]]


def _bases(dockerfile: Path) -> dict[str, str]:
    """Return the images of the tier that a Dockerfile starts from: its `ARG <IMAGE>_IMAGE`."""
    lines = (line.split() for line in dockerfile.read_text().splitlines() if line.startswith("ARG "))
    arguments = (words[1].partition("=")[0] for words in lines)
    named = {argument: argument.removesuffix("_IMAGE").lower() for argument in arguments}
    return {argument: image for argument, image in named.items() if image in IMAGES}


def _digest(root: Path, files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for path in files:
        file = root / path
        content = file.read_bytes()
        total.update(f"{path}\0{os.access(file, os.X_OK)}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()
