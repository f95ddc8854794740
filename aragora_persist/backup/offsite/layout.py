"""What the objects of a backup off-site are called, and when they are a whole backup. Pure.

The stored file of backup ``users_20260131_120000`` lies in parts: ``users/users_20260131_120000.db/000000000000`` and
so on, each named by the number of its first byte. Its line of the catalog, ``users/users_20260131_120000.json``, is
made last: what has no line is no backup, so an upload that was cut off is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.backup.names import read_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aragora_persist.backup.offsite.objects import StoredObject
    from aragora_persist.backup.records import BackupEntry

LINE_ENDING = ".json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGITS = 12
"""As many as hold the size of any file, so that parts stand in their order in every listing."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there: the object and where in the file it begins."""

    name: str
    offset: int
    size_bytes: int


def line_name(entry: BackupEntry) -> str:
    """Return the name of the object that holds a backup's line."""
    return f"{entry.database}/{entry.id}{LINE_ENDING}"


def is_of(entry: BackupEntry, name: str) -> bool:
    """Say whether this is the entry whose line has this name, and one that can be believed.

    Whoever can write off-site can write a line: its names and its digest become names of files here.
    """
    read = read_id(str(entry.id))
    return (
        line_name(entry) == name
        and read is not None
        and read.database == entry.database
        and _SHA256.fullmatch(str(entry.sha256)) is not None
        and type(entry.size_bytes) is int
    )


def parts_folder(entry: BackupEntry) -> str:
    """Return the folder of a backup's parts."""
    return f"{entry.database}/{entry.file}"


def part_name(entry: BackupEntry, offset: int) -> str:
    """Return the name of the part that begins at ``offset``."""
    return f"{parts_folder(entry)}/{offset:0{_DIGITS}}"


def parts(entry: BackupEntry, known: Mapping[str, StoredObject]) -> tuple[Part, ...] | None:
    """Return the parts of the file in their order, or None when a listing lacks one of them.

    They may be of any sizes: each begins where the one before it ends.
    """
    found = tuple(_parts(entry, known))
    return found if sum(part.size_bytes for part in found) == entry.size_bytes else None


def _parts(entry: BackupEntry, known: Mapping[str, StoredObject]) -> Iterator[Part]:
    offset = 0
    # Not beyond its end: another machine, with a longer file of this name, may have tried to go on behind it.
    while (
        offset < entry.size_bytes
        and (there := known.get(part_name(entry, offset))) is not None
        and there.size_bytes > 0
    ):
        yield Part(there.name, offset, there.size_bytes)
        offset += there.size_bytes
