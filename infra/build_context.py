"""What an image is built from: exactly the files that the builder is sent, and one digest over them.

The `.dockerignore` decides; it is read here with the same rules as the engine's own clients use. Leaves out: building.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from docker.utils.build import exclude_paths

DOCKERFILE = "docker/persist/Dockerfile"
IGNORE_FILE = ".dockerignore"


def context_files(root: Path) -> list[Path]:
    """Return the files below ``root`` that are part of the build, relative to it and in order."""
    patterns = [
        line.strip()
        for line in (root / IGNORE_FILE).read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    paths = exclude_paths(str(root), patterns, dockerfile=DOCKERFILE)
    # The ignore file goes along to the engine, but into no image.
    return sorted(Path(path) for path in paths - {IGNORE_FILE} if (root / path).is_file())


def context_digest(root: Path) -> str:
    """Return the SHA-256 over names, execute bits and contents of the build's files; times do not count."""
    total = hashlib.sha256()
    for path in context_files(root):
        file = root / path
        content = file.read_bytes()
        total.update(f"{path}\0{os.access(file, os.X_OK)}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()
