"""What is off-site: which backups, and whether each is whole.

Leaves out: what of it is also here (``inventory``).
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.offsite.layout import LINE_ENDING, is_of, parts, parts_folder
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.backup.records import BackupEntry
from aragora_persist.errors import NotFoundError
from aragora_persist.migrations.progress import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aragora_persist.backup.offsite.objects import StoredObject
    from aragora_persist.settings import Settings

_AT_ONCE = 8
_LONGEST_LINE = 1 << 20
"""No line of ours is near it: what is larger is not read into memory."""
_READ_BYTES = 8 << 20


class RemoteState(Enum):
    """What an object that should be a backup's line stands for."""

    WHOLE = "whole"
    INCOMPLETE = "incomplete"
    """Parts are missing."""
    DAMAGED = "damaged"
    """The line, or with a check the file, is not what was shipped."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One line off-site; ``entry`` is None where the line cannot be believed."""

    name: str
    state: RemoteState
    entry: BackupEntry | None


def remote_entries(settings: Settings) -> tuple[BackupEntry, ...]:
    """Return the backups that are whole off-site, in the order in which they were made.

    Raises:
        UnreachableError, AccessDeniedError: the server does not tell.
        NotFoundError: there is no such bucket or folder.
        InvalidValueError: a setting is missing or could never work.
        UnsupportedError: the library is not installed.

    """
    return tuple(one.entry for one in look(settings) if one.entry is not None and one.state is RemoteState.WHOLE)


def look(settings: Settings) -> tuple[Remote, ...]:
    """Return everything off-site that is, or should be, a backup's line: those that cannot be believed come first.

    Raises:
        As ``remote_entries``.

    """
    objects = Objects(settings)
    known = objects.listing()
    lines = [one for name, one in sorted(known.items()) if name.count("/") == 1 and name.endswith(LINE_ENDING)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda line: _look(line, objects, known), lines)
        return tuple(sorted((one for one in found if one is not None), key=_order))


def check(settings: Settings, wanted: Iterable[Remote]) -> Iterator[Remote]:
    """Yield each of ``wanted`` again, after reading all of its file off-site and comparing that with its line.

    Raises:
        As ``remote_entries``.

    """
    objects = Objects(settings)
    for one in wanted:
        report(one.name)
        unread = one.entry if one.state is RemoteState.WHOLE else None
        yield Remote(one.name, _state_of(unread, objects), unread) if unread else one


def _look(line: StoredObject, objects: Objects, known: Mapping[str, StoredObject]) -> Remote | None:
    """Return what a line stands for; None where it has expired since it was listed."""
    try:
        data = objects.read(line.name, 0, line.size_bytes) if 0 < line.size_bytes <= _LONGEST_LINE else b""
    except NotFoundError:
        return None
    entry = BackupEntry.from_line(data)
    if entry is None or not is_of(entry, line.name):
        return Remote(line.name, RemoteState.DAMAGED, None)
    return Remote(line.name, RemoteState.WHOLE if parts(entry, known) else RemoteState.INCOMPLETE, entry)


def _state_of(entry: BackupEntry, objects: Objects) -> RemoteState:
    """Read the file of a backup and say what it is now."""
    digest = hashlib.sha256()
    found = parts(entry, objects.listing(parts_folder(entry)))
    if found is None:
        return RemoteState.INCOMPLETE
    try:
        for part in found:
            for start in range(0, part.size_bytes, _READ_BYTES):
                digest.update(objects.read(part.name, start, min(start + _READ_BYTES, part.size_bytes)))
    except NotFoundError:
        return RemoteState.INCOMPLETE
    return RemoteState.WHOLE if digest.hexdigest() == entry.sha256 else RemoteState.DAMAGED


def _order(one: Remote) -> tuple[bool, str, str]:
    return one.entry is not None, times.to_text(one.entry.created_at) if one.entry else "", one.name
