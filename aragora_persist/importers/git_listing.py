"""What git's listing of a history says: commits, their changes, their paths as text.

Pure: it reads pieces of bytes. The listing is one of ``git log -z --raw --numstat`` in ``FORMAT``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER = b"commit"
FORMAT = "--format=commit%x00%H%x00%at%x00%ct%x00%s%x00%b"
_CHANGE_TYPES = {b"A": "added", b"D": "deleted", b"M": "modified", b"T": "type_changed"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
_INVALID_BYTE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that a commit changed; the counts are None for a binary file."""

    path: str
    change_type: str
    insertions: int | None
    deletions: int | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; a merge has no changes."""

    sha: str
    authored_at: datetime
    committed_at: datetime
    subject: str
    body: str
    changes: tuple[FileChange, ...]


def split(chunks: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """Yield what stands before each separator; a rest without one is left out, as git ends every entry."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from whole


def parse(tokens: Iterator[bytes]) -> Iterator[Commit]:
    """Yield the commits of a NUL-separated listing: a header's fields, then raw entries, then counts.

    Unambiguous, since paths come only where one is due: after a raw entry, and inside an entry of counts.
    """
    header: list[bytes] = []
    types: dict[bytes, str] = {}
    changes: list[FileChange] = []
    for token in tokens:
        entry = token.removeprefix(b"\n")
        if token == _HEADER:
            if header:
                yield _commit(header, changes)
            header = [next(tokens) for _ in range(FORMAT.count("%x00"))]
            types, changes = {}, []
        elif entry.startswith(b":"):
            types[next(tokens)] = _CHANGE_TYPES.get(entry[-1:], "modified")
        else:
            insertions, deletions, path = entry.split(b"\t", 2)
            changes.append(FileChange(path_text(path), types[path], _count(insertions), _count(deletions)))
    if header:
        yield _commit(header, changes)


def _commit(header: Sequence[bytes], changes: Sequence[FileChange]) -> Commit:
    sha, authored, committed, subject, body = (field.decode("utf-8", "replace") for field in header)
    return Commit(sha, _moment(authored), _moment(committed), subject, body.strip(), tuple(changes))


def _count(text: bytes) -> int | None:
    return None if text == b"-" else int(text)


def _moment(seconds: str) -> datetime:
    """Return a time of git, which knows malformed ones (empty: the epoch, as git shows it) and years beyond 9999."""
    try:
        return min(_EPOCH + timedelta(seconds=int(seconds or 0)), _LAST)
    except OverflowError:
        return _LAST


def path_text(path: bytes) -> str:
    r"""Return a path as text: as it is, or quoted as git quotes it where it is not UTF-8.

    Quoted are paths with bytes that are no UTF-8 (``"caf\351"``) and those that begin with a quote, so that no two
    paths share one text.
    """
    text = path.decode("utf-8", "surrogateescape")
    if not text.startswith('"') and not _INVALID_BYTE.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _INVALID_BYTE.sub(lambda byte: f"\\{ord(byte.group()) - 0xDC00:03o}", escaped) + '"'
