"""SQLite's file format, as far as it takes to find rows: pages of tables, their cells, records. Pure.

After https://www.sqlite.org/fileformat2.html. Everything read may be anything: what is not exactly as SQLite writes it
raises ``UnreadableError``. Leaves out: what is in an index, and tables WITHOUT ROWID, which are stored as one.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAF, INTERIOR = 0x0D, 0x05
"""The first byte of a page of a table: of one with rows, and of one that leads to others."""
INDEX_LEAF, INDEX_INTERIOR = 0x0A, 0x02
FIRST_HEADER = 100
"""Where the content of page 1 begins, after the header of the file."""
LEAST_ROWID, LAST_ROWID = -(2**63), 2**63 - 1

_ONE_BYTE = 0x80
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_LEAST_CELL = 4
_FIRST_LENGTH = 12
_INVALID = 1 << 40
_LENGTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, _INVALID, _INVALID, *(length >> 1 for length in range(116)))
"""By serial type: how many bytes its value takes; the two that SQLite does not use take more than there are."""
_REAL, _ZERO, _ONE = 7, 8, 9
_DAMAGE = (IndexError, struct.error)


class BadText(bytes):
    """Text that is not in the database's encoding."""

    __slots__ = ()


Value: TypeAlias = "int | float | str | bytes | None"


class UnreadableError(ValueError):
    """Bytes are not what SQLite writes in their place. For this package alone: a part of a file is lost."""


class Cell(NamedTuple):
    """One row in a leaf: where its record is, of which ``local`` bytes lie at ``start`` and the rest elsewhere."""

    rowid: int
    size: int
    start: int
    local: int
    overflow: int
    """The page where the record goes on; 0 for none."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer of 1 to 9 bytes at ``at``, and where what follows begins."""
    value = 0
    for position in range(at, at + 8):
        byte = data[position]
        value = value << 7 | byte & 0x7F
        if byte < _ONE_BYTE:
            return value, position + 1
    value = value << 8 | data[at + 8]
    return (value - 2**64 if value > LAST_ROWID else value), at + 9


def leaf_cells(page: bytes, usable: int, at: int) -> list[Cell]:
    """Return the rows of a leaf whose every byte is accounted for; ``at`` is where the page's own header begins.

    Raises:
        UnreadableError: it is not such a page.

    """
    try:
        starts = _starts(page, at, LEAF, _LEAF_HEADER)
        cells = [_leaf_cell(page, start, usable) for start in starts]
        sizes = [_size_on_page(cell, start) for cell, start in zip(cells, starts, strict=True)]
        _check_layout(page, usable, at, at + _LEAF_HEADER + 2 * len(starts), list(zip(starts, sizes, strict=True)))
    except _DAMAGE as error:
        raise UnreadableError from error
    if any(one.rowid >= other.rowid for one, other in pairwise(cells)):
        raise UnreadableError
    return cells


def surviving_cells(page: bytes, usable: int, at: int) -> list[Cell]:
    """Return those rows of a damaged leaf that still can be ones: no two of them share a byte, their ids ascend."""
    found: list[Cell] = []
    taken: list[tuple[int, int]] = []
    count = int.from_bytes(page[at + 3 : at + 5], "big")
    for place in range(at + _LEAF_HEADER, min(at + _LEAF_HEADER + 2 * count, usable - 1), 2):
        start = int.from_bytes(page[place : place + 2], "big")
        try:
            cell = _leaf_cell(page, start, usable)
        except (*_DAMAGE, UnreadableError):
            continue
        end = start + _size_on_page(cell, start)
        free = start > place and all(end <= first or start >= last for first, last in taken)
        if free and (not found or cell.rowid > found[-1].rowid):
            found.append(cell)
            taken.append((start, end))
    return found


def children(page: bytes, usable: int, at: int) -> list[tuple[int, int]]:
    """Return the pages below an interior page, each with the last rowid that may be there.

    Raises:
        UnreadableError: it is not an interior page whose every byte is accounted for.

    """
    try:
        starts = _starts(page, at, INTERIOR, _INTERIOR_HEADER)
        found, spans = [], []
        for start in starts:
            rowid, end = varint(page, start + 4)
            found.append((int.from_bytes(page[start : start + 4], "big"), rowid))
            spans.append((start, end - start))
        _check_layout(page, usable, at, at + _INTERIOR_HEADER + 2 * len(starts), spans)
    except _DAMAGE as error:
        raise UnreadableError from error
    if not found or any(one[1] >= other[1] for one, other in pairwise(found)):
        raise UnreadableError
    return [*found, (int.from_bytes(page[at + 8 : at + 12], "big"), LAST_ROWID)]


def index_page(page: bytes, usable: int) -> tuple[list[Cell], list[int]]:
    """Return the entries of a page of an index, whose rowid is the last value of their record, and the pages below.

    Raises:
        UnreadableError: it is not such a page whose every byte is accounted for.

    """
    inner = page[0] == INDEX_INTERIOR
    header, ahead = (_INTERIOR_HEADER, 4) if inner else (_LEAF_HEADER, 0)
    most = (usable - 12) * 64 // 255 - 23
    cells, spans = [], []
    try:
        starts = _starts(page, 0, INDEX_INTERIOR if inner else INDEX_LEAF, header)
        for start in starts:
            size, at = varint(page, start + ahead)
            cells.append(_cell(page, 0, size, at, most, usable))
            spans.append((start, _size_on_page(cells[-1], start)))
        _check_layout(page, usable, 0, header + 2 * len(starts), spans)
    except _DAMAGE as error:
        raise UnreadableError from error
    below = [int.from_bytes(page[start : start + 4], "big") for start in starts] if inner else []
    return cells, [*below, int.from_bytes(page[8:12], "big")] if inner else []


def values(record: bytes, encoding: str) -> list[Value]:
    """Return a record's values; text that is none is ``BadText``.

    Raises:
        UnreadableError: it is not a record of exactly this size.

    """
    try:
        types, at = _serial_types(record)
        found: list[Value] = []
        for kind in types:
            if kind >= _FIRST_LENGTH:
                raw = record[at : at + ((kind - _FIRST_LENGTH) >> 1)]
                at += len(raw)
                found.append(_text(raw, encoding) if kind & 1 else raw)
            elif kind == 0:
                found.append(None)
            elif kind < _REAL:
                found.append(int.from_bytes(record[at : at + _LENGTHS[kind]], "big", signed=True))
                at += _LENGTHS[kind]
            else:
                found.append(_real(record, at) if kind == _REAL else kind - _ZERO)
                at += _LENGTHS[kind]
    except _DAMAGE as error:
        raise UnreadableError from error
    return found


def is_wiped(record: bytes, start: int) -> bool:
    """Say whether a record's zeros from ``start`` on were not written by SQLite: text is there, or a whole number."""
    try:
        types, at = _serial_types(record)
    except _DAMAGE as error:
        raise UnreadableError from error
    for kind in types:
        begin, at = at, at + (_LENGTHS[kind] if kind < _FIRST_LENGTH else (kind - _FIRST_LENGTH) >> 1)
        is_text = kind >= _FIRST_LENGTH and kind & 1 == 1
        is_number = 0 < kind < _REAL and begin >= start  # a 0 takes no bytes
        if at > max(begin, start) and (is_text or is_number):
            return True
    return False


def freelist_trunk(page: bytes, usable: int, count: int) -> tuple[int, tuple[int, ...]]:
    """Return the next trunk of the list of free pages, and the pages that this one names.

    Raises:
        UnreadableError: it is not a trunk, in a file of ``count`` pages.

    """
    following, length = struct.unpack_from(">II", page)
    if length > usable // 4 - 2 or following > count:
        raise UnreadableError
    named = struct.unpack_from(f">{length}I", page, 8)
    if len(set(named)) != length or any(not 1 < number <= count for number in named):
        raise UnreadableError
    return following, named


def _starts(page: bytes, at: int, kind: int, header: int) -> tuple[int, ...]:
    if page[at] != kind:
        raise UnreadableError
    return struct.unpack_from(f">{int.from_bytes(page[at + 3 : at + 5], 'big')}H", page, at + header)


def _leaf_cell(page: bytes, start: int, usable: int) -> Cell:
    size, at = varint(page, start)
    rowid, at = varint(page, at)
    return _cell(page, rowid, size, at, usable - 35, usable)


def _cell(page: bytes, rowid: int, size: int, at: int, most: int, usable: int) -> Cell:
    """Return the cell whose record begins ``at``, of which the page has ``most`` bytes or fewer."""
    local, overflow = size, 0
    if not 0 < size <= most:
        local = _local_size(size, usable, most)
        overflow = int.from_bytes(page[at + local : at + local + 4], "big")
    if at + local + (4 if overflow else 0) > usable or (local < size) != (overflow > 1):
        raise UnreadableError
    return Cell(rowid, size, at, local, overflow)


def _local_size(size: int, usable: int, most: int) -> int:
    """Return how much of a record of more than ``most`` bytes is in its page all the same."""
    if not 0 < size < 2**31:
        raise UnreadableError
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    return local if local <= most else least


def _size_on_page(cell: Cell, start: int) -> int:
    return max(_LEAST_CELL, cell.start + cell.local + (4 if cell.overflow else 0) - start)


def _check_layout(page: bytes, usable: int, at: int, begin: int, spans: Sequence[tuple[int, int]]) -> None:
    """Check that cells, free blocks and fragments fill the page's content, and no two of them share a byte."""
    content = int.from_bytes(page[at + 5 : at + 7], "big") or 65536
    taken, free = list(spans), int.from_bytes(page[at + 1 : at + 3], "big")
    while free:
        following, size = struct.unpack_from(">HH", page, free)
        if following and following < free + 4:
            raise UnreadableError
        taken.append((free, size))
        free = following
    taken.sort()
    end = content
    for start, size in taken:
        if start < end:
            raise UnreadableError
        end = start + size
    if not begin <= content <= usable or end > usable:
        raise UnreadableError
    if sum(size for _, size in taken) + page[at + 7] != usable - content:
        raise UnreadableError


def _serial_types(record: bytes) -> tuple[Sequence[int], int]:
    """Return the serial type of each value, and where the first value begins."""
    begin, at = varint(record, 0)
    types: Sequence[int] = record[at:begin]
    if begin > len(record) or not types:
        raise UnreadableError
    if max(types) < _ONE_BYTE:
        length = sum([_LENGTHS[kind] for kind in types])
    else:
        wide = []
        while at < begin:
            kind = record[at]
            if kind < _ONE_BYTE:  # most are: a call for each would take longer than all the rest
                at += 1
            else:
                kind, at = varint(record, at)
            wide.append(kind)
        if at != begin or min(wide) < 0:
            raise UnreadableError
        length = sum([_LENGTHS[kind] if kind < _FIRST_LENGTH else (kind - _FIRST_LENGTH) >> 1 for kind in wide])
        types = wide
    if begin + length != len(record):
        raise UnreadableError
    return types, begin


def _text(raw: bytes, encoding: str) -> str | BadText:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return BadText(raw)


def _real(record: bytes, at: int) -> float:
    number: float = struct.unpack_from(">d", record, at)[0]
    if math.isnan(number):
        raise UnreadableError  # SQLite stores NULL in its place
    return number
