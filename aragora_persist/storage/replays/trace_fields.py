"""The fields of one JSON object of the trace format, each of the right kind, or an error that names it.

Pure. Leaves out: which fields there are; ``trace`` says that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aragora_persist import times
from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from datetime import datetime

READING = "read trace"
TEXT = (str,)
NULLABLE_TEXT = (str, type(None))
NUMBER = (int, float, type(None))

_REQUIRED = object()
_LARGEST = 2**53
"""The largest whole number that every database and every reader of JSON keeps exactly."""


class Fields:
    """Reads the fields of one JSON object and says which one is wrong."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise InvalidValueError(READING, where or "the file", f"is {kind_of(document)}, not an object")
        self.document: dict[str, Any] = document
        self._where = where

    def get(self, name: str, kinds: tuple[type, ...], default: object = _REQUIRED, *, largest: float = _LARGEST) -> Any:  # noqa: ANN401 - a JSON value of one of the given kinds
        """Return a field; a missing one is its default, or an error where there is none."""
        value = self.document.get(name, default)
        path = f"{self._where}.{name}" if self._where else name
        if value is _REQUIRED:
            raise InvalidValueError(READING, path, "is missing")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
            raise InvalidValueError(READING, path, f"is {kind_of(value)}, not {wanted}")
        if isinstance(value, int | float) and not abs(value) <= largest:
            raise InvalidValueError(READING, path, f"is not a number of at most {largest}")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not empty."""
        value: str = self.get(name, TEXT)
        if not value:
            raise InvalidValueError(READING, f"{self._where}.{name}" if self._where else name, "is empty")
        return value

    def time(self, name: str) -> datetime:
        """Return a time; one without a zone is UTC."""
        value: str = self.get(name, TEXT)
        try:
            return times.from_text(value)
        except InvalidValueError as error:
            path = f"{self._where}.{name}" if self._where else name
            raise InvalidValueError(READING, path, f"{value!r} is not an ISO 8601 time") from error


_KIND_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def kind_of(value: object) -> str:
    """Return how an error calls the kind of a value."""
    return _KIND_NAMES.get(type(value), type(value).__name__)
