"""The pages of a damaged database file: those in its write-ahead log come before those in the file.

Nothing of either need be whole. Where the file's header is not, the size of its pages is found by trying all. Leaves
out: what the pages hold (``format``, ``trees``), and a copy that nobody writes to meanwhile.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import beside
from aragora_persist.backup.recover.format import (
    FIRST_HEADER,
    INTERIOR,
    LEAF,
    UnreadableError,
    children,
    is_wiped,
    leaf_cells,
    values,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.recover.format import Cell, Value

_MAGIC = b"SQLite format 3\0"
_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_USUAL_SIZE = 4096
_SAMPLE = 512
_ENCODINGS = {1: "UTF-8", 2: "UTF-16le", 3: "UTF-16be"}
"""As SQLite spells them, which Python understands too."""
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LOG_BYTE_ORDER = {0x377F0682: "<", 0x377F0683: ">"}
_LOG_VERSION = 3007000
_WIPED = "rows end in a page of zeros, which was perhaps wiped: they are as they were found"
_WIPED_BYTES = 16
"""So many zeros behind another byte are not there by chance, just where a page begins."""


class Pages:
    """The pages of the file ``path``, numbered from 1; ``notes`` say what is wrong with the file as a whole."""

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._log = -1
        try:
            self._read_header()
            self._frames: dict[int, int] = {}
            self.count = -(-os.fstat(self._file).st_size // self.page_size)
            if beside(path, "-wal").exists():
                self._log = os.open(beside(path, "-wal"), os.O_RDONLY | os.O_CLOEXEC)
                self._read_log()
            self._read_first()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        if self._log >= 0:
            os.close(self._log)

    def read(self, number: int) -> bytes:
        """Return a page; what lies behind the end of the file reads as zeros, which are no page of anything."""
        return self._there(number).ljust(self.page_size, b"\0")

    def length(self, number: int) -> int:
        """Return how many bytes of a page are there: the last one of a file that was cut off may be a part."""
        return len(self._there(number))

    def _there(self, number: int) -> bytes:
        if number in self._frames:
            return os.pread(self._log, self.page_size, self._frames[number])
        return os.pread(self._file, self.page_size, (number - 1) * self.page_size) if 0 < number <= self.count else b""

    def record(self, page: bytes, cell: Cell) -> bytes:
        """Return the whole record of a row, with what of it lies on other pages.

        Raises:
            UnreadableError: the chain of those pages is broken, or text on the last of them was wiped.

        """
        local = page[cell.start : cell.start + cell.local]
        if not cell.overflow:
            return local
        parts, number, left, data = [local], cell.overflow, cell.size - cell.local, b""
        while left > 0:
            if not 1 < number <= self.count:
                raise UnreadableError
            data = self._there(number)
            number = int.from_bytes(data[:4], "big")
            parts.append(data[4 : min(4 + left, self.usable)])
            if len(parts[-1]) < min(left, self.usable - 4):
                raise UnreadableError
            left -= len(parts[-1])
        record = b"".join(parts)
        if number or (not any(data) and is_wiped(record, len(record) - len(parts[-1]))):
            raise UnreadableError
        if not any(data) and len(parts[-1]) >= _WIPED_BYTES and parts[-2][-1] and _WIPED not in self.notes:
            self.notes.append(_WIPED)
        return record

    def _read_header(self) -> None:
        header = os.pread(self._file, FIRST_HEADER, 0)
        size = int.from_bytes(header[16:18], "big")
        size = _SIZES[-1] if size == 1 else size
        self._header_is_whole = header[:16] == _MAGIC and size in _SIZES and header[21:24] == bytes((64, 32, 32))
        self.page_size = size if self._header_is_whole else self._likely_size()
        self.usable = self.page_size

    def _likely_size(self) -> int:
        """Return the page size at which most of the file reads as pages of tables."""
        self.notes.append("its header is destroyed: the size of its pages was found by trying")
        length = os.fstat(self._file).st_size
        found = {size: self._matches(size, length) for size in _SIZES}
        return max(_SIZES, key=lambda size: (found[size], size == _USUAL_SIZE))

    def _matches(self, size: int, length: int) -> int:
        """Return how many bytes of a sample of pages of this size are pages of tables."""
        count = length // size
        found = 0
        for number in range(2, count + 1, max(1, count // _SAMPLE)):
            found += is_of_table(os.pread(self._file, size, (number - 1) * size), size)
        return found * size * max(1, count // _SAMPLE)

    def _likely_encoding(self) -> str:
        """Return the encoding in which a sample of the texts has the most letters of ASCII."""
        found = dict.fromkeys(_ENCODINGS.values(), 0)
        for number in range(2, self.count + 1, max(1, self.count // _SAMPLE)):
            page = self.read(number)
            with suppress(UnreadableError):
                records = [self.record(page, cell) for cell in leaf_cells(page, self.usable, 0)]
                for encoding in found:
                    texts = (value for record in records for value in values(record, encoding))
                    found[encoding] += sum(map(_letters, texts))
        return max(found, key=lambda encoding: found[encoding])

    def _read_first(self) -> None:
        """Take what the file's header says, which may be in its log."""
        header = self.read(1)[:FIRST_HEADER]
        self.header_is_whole = header[:16] == _MAGIC and header[21:24] == bytes((64, 32, 32))
        self.header = header
        self.user_version, self.application_id = 0, 0
        self.full_count = self.count
        encoding = _ENCODINGS.get(int.from_bytes(header[56:60], "big")) if self.header_is_whole else None
        self.encoding = encoding or self._likely_encoding()
        if not self.header_is_whole:
            return
        self.user_version, self.application_id = (
            int.from_bytes(header[at : at + 4], "big", signed=True) for at in (60, 68)
        )
        self.usable = self.page_size - header[20]
        expected = int.from_bytes(header[28:32], "big")
        if header[24:28] == header[92:96] and expected > self.count:
            self.full_count = expected
            self.notes.append(f"it ends early: {self.count:,} of {expected:,} pages are there")

    def _read_log(self) -> None:
        """Find the newest committed state of each page in the log, as SQLite would: up to the first damaged frame."""
        header = os.pread(self._log, _LOG_HEADER, 0)
        if len(header) < _LOG_HEADER:
            return
        magic, version, size, _, *salts, first, second = struct.unpack(">8I", header)
        order = _LOG_BYTE_ORDER.get(magic)
        if order is None or version != _LOG_VERSION or size not in _SIZES:
            self.notes.append("its write-ahead log cannot be read: what was committed last may be missing")
            return
        if not self._header_is_whole and size != self.page_size:
            self.page_size = self.usable = size
            self.count = -(-os.fstat(self._file).st_size // size)
        sums = checksum(order, header[:24], (0, 0))
        position, uncommitted = _LOG_HEADER, dict[int, int]()
        if sums != (first, second) or size != self.page_size:
            self.notes.append("its write-ahead log cannot be read: what was committed last may be missing")
            return
        while len(frame := os.pread(self._log, _FRAME_HEADER + size, position)) == _FRAME_HEADER + size:
            number, committed, *frame_salts, one, other = struct.unpack_from(">6I", frame)
            sums = checksum(order, frame[_FRAME_HEADER:], checksum(order, frame[:8], sums))
            if frame_salts != salts or sums != (one, other):
                if self._is_committed_from(position, _FRAME_HEADER + size, salts):
                    self.notes.append("its write-ahead log is damaged: what was committed last may be missing")
                return
            uncommitted[number] = position + _FRAME_HEADER
            position += len(frame)
            if committed:
                self._frames |= uncommitted
                self.count = max(committed, 1)
                uncommitted.clear()

    def _is_committed_from(self, position: int, step: int, salts: list[int]) -> bool:
        """Say whether the log goes on with committed frames of its own round, so not where SQLite ended it."""
        while len(header := os.pread(self._log, _FRAME_HEADER, position)) == _FRAME_HEADER:
            _, committed, *found = struct.unpack(">4I", header[:16])
            if committed and found == salts:
                return True
            position += step
        return False


def _letters(value: Value) -> int:
    return sum(map(str.isascii, value)) if isinstance(value, str) and "\0" not in value else 0


def is_of_table(page: bytes, usable: int, at: int = 0) -> bool:
    """Say whether this is a page of a table, its every byte accounted for."""
    try:
        if page[at] == LEAF:
            return bool(leaf_cells(page, usable, at))
        return page[at] == INTERIOR and bool(children(page, usable, at))
    except (IndexError, UnreadableError):
        return False


def checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Return the two running sums of the log's format, continued over ``data``."""
    one, other = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even in words:
        one = one + even + other & 0xFFFFFFFF
        other = other + next(words) + one & 0xFFFFFFFF
    return one, other
