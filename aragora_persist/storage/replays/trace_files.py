"""Reads a trace file piece by piece: a field of the header or an event at a time, however long the file is.

Any JSON of the format is read, not only our own exports: spaces, order and line ends are free. Leaves out: what is
valid in a field or an event (``trace``), and writing (``trace_text``).
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any, BinaryIO

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.replays.trace_fields import READING

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = "events"
_READ_BYTES = 1 << 16
_LARGEST_VALUE = 1 << 24
"""How many characters one event or field may have as JSON: what is no JSON is refused before all of it was read."""
_SPACES = " \t\n\r"
_DECODER = json.JSONDecoder()


def read_trace(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yield each field of the header with its value, and for each event the pair of ``EVENTS`` and its object.

    Raises:
        InvalidValueError: the text is no UTF-8, not JSON or no object, or a value in it is too large.

    """
    text = _Text(file)
    text.take("{")
    seen_events = False
    while text.peek() != "}":
        name = text.value()
        if not isinstance(name, str):
            raise text.broken("a name is not a text")
        text.take(":")
        if name == EVENTS and text.peek() == "[":
            if seen_events:
                raise text.broken("it has events twice")
            seen_events = True
            yield from ((EVENTS, event) for event in text.elements())
        elif name == EVENTS:
            raise InvalidValueError(READING, EVENTS, "is not a list")
        else:
            yield name, text.value()
        text.take_separator("}")
    text.take("}")
    if text.peek():
        raise text.broken("something follows its end")
    if not seen_events:
        raise InvalidValueError(READING, EVENTS, "is missing")


class _Text:
    """A JSON text of which only what is being read is held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._buffer = ""
        self._place = 0
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is no space, '' at the end."""
        while True:
            while self._place < len(self._buffer):
                if self._buffer[self._place] not in _SPACES:
                    return self._buffer[self._place]
                self._place += 1
            if self._ended:
                return ""
            self._read_more(_READ_BYTES)

    def take(self, character: str) -> None:
        """Go past a character that must be the next one."""
        found = self.peek()
        if found != character:
            raise self.broken(f"{character!r} is expected, and {found!r} is there" if found else "it ends too soon")
        self._place += 1

    def take_separator(self, end: str) -> None:
        """Go past a comma, behind which something must follow, or stay before the end."""
        if self.peek() != end:
            self.take(",")
            if self.peek() == end:
                raise self.broken("a comma stands before the end")

    def elements(self) -> Iterator[Any]:
        """Yield the values of a list."""
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            self.take_separator("]")
        self.take("]")

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the next value, whatever it is."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._place)
            except RecursionError as error:
                raise self.broken("it is nested too deeply") from error
            except ValueError as error:
                if self._ended:
                    raise self.broken(str(error)) from error
            else:
                # A number that ends with the buffer may go on in the file.
                if end < len(self._buffer) or self._ended:
                    self._place = end
                    return value
            if len(self._buffer) - self._place > _LARGEST_VALUE:
                raise self.broken(f"a value has more than {_LARGEST_VALUE:,} characters, or does not end")
            # As much again as there is, so that a long value is not tried in vain too often.
            self._read_more(max(_READ_BYTES, len(self._buffer) - self._place))

    def broken(self, problem: str) -> InvalidValueError:
        """Return the error for a text that is not what it should be."""
        return InvalidValueError(READING, "the file", f"is not JSON of a trace: {problem}")

    def _read_more(self, size: int) -> None:
        piece = self._file.read(size)
        while len(piece) < size and (more := self._file.read(size - len(piece))):  # a raw file may give less
            piece += more
        try:
            text = self._decode(piece, not piece)
        except UnicodeDecodeError as error:
            raise InvalidValueError(READING, "the file", f"is not UTF-8: {error.reason}") from error
        self._buffer = self._buffer[self._place :] + text
        self._place = 0
        self._ended = not piece
