#!/usr/bin/env python3
"""Keeps a release: its library and its contract suite, to be run on the newest schema from then on.

    scripts/keep_release.py [--to tests/compatibility]

Writes ``aragora_persist-<version>.tar.gz`` of what is committed or staged, so that the release's own commit can hold
it. Equal content makes equal bytes: names are sorted, times and owners are none. An archive that is there is never
replaced: a release stays what it was.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The package, its contract suite, and what the fixtures of the suite import.
CONTENT = ("aragora_persist", "tests/contract", ":(glob)tests/*.py", "infra/*.py", "pyproject.toml")
_VERSION = re.compile(r'^VERSION = "(\d+\.\d+\.\d+)"$', re.MULTILINE)


def git(*arguments: str) -> bytes:
    """Return what git says about this repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def read_tree() -> dict[str, tuple[bytes, int]]:
    """Return content and mode of each file that belongs to a kept release, in the order of their names."""
    tree = git("write-tree").decode().strip()
    packed = git("archive", "--format=tar", tree, "--", *CONTENT)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = {member.name: member for member in archive if member.isfile()}
        return {name: (archive.extractfile(files[name]).read(), files[name].mode & 0o755) for name in sorted(files)}


def pack(files: dict[str, tuple[bytes, int]]) -> bytes:
    """Return a compressed archive of these files."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def main() -> int:
    """Write the archive and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "tests" / "compatibility", metavar="FOLDER")
    folder = parser.parse_args().to
    files = read_tree()
    (version,) = _VERSION.findall(files["aragora_persist/version.py"][0].decode())
    target = folder / f"aragora_persist-{version}.tar.gz"
    try:
        with target.open("xb") as file:
            file.write(pack(files))
    except FileExistsError:
        print(f"{target} is kept already, and stays as it is", file=sys.stderr)
        return 1
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
