"""How values go to the server and come back, so that rows hold what they hold with SQLite: text, numbers, bytes, None.

Numbers travel as text of no type, as texts do: the column or the expression that they meet decides, as SQLite's
affinity does, and one statement stays one prepared statement, whatever the size of its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.adapt import Buffer, Dumper, Loader

if TYPE_CHECKING:
    from psycopg import Connection

_WHOLE = 2**63


class _WholeDumper(Dumper):
    """An int, or a bool as 0 or 1."""

    oid = 0

    def dump(self, obj: int) -> Buffer:
        """Return its digits.

        Raises:
            OverflowError: SQLite could not hold it.

        """
        if not -_WHOLE <= obj < _WHOLE:
            raise OverflowError("a whole number of more than 64 bits")
        return b"%d" % obj


class _FloatDumper(Dumper):
    """A float."""

    oid = 0

    def dump(self, obj: float) -> Buffer:
        """Return its shortest text that reads as the same number."""
        return repr(obj).encode()


class _NumericLoader(Loader):
    """What sums and averages of whole numbers are."""

    def load(self, data: Buffer) -> int | float:
        """Return an int where it is whole, as SQLite does."""
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


class _BoolLoader(Loader):
    """What a comparison is."""

    def load(self, data: Buffer) -> int:
        """Return 1 or 0."""
        return int(bytes(data) == b"t")


def adapt(connection: Connection[Any]) -> None:
    """Let a connection speak so."""
    adapters = connection.adapters
    for kind in (int, bool):
        adapters.register_dumper(kind, _WholeDumper)
    adapters.register_dumper(float, _FloatDumper)
    adapters.register_loader("numeric", _NumericLoader)
    adapters.register_loader("bool", _BoolLoader)
