"""What Litestream has shipped of a database: which transactions, and of when; by listing it and reading headers.

Its files are named by the transactions in them; the first bytes of each say when the last of these was taken over, by
the clock of the machine that Litestream runs on. Leaves out: what is in them, which only Litestream puts together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.configuration import seen_as_offsite
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.errors import DamagedError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aragora_persist.settings import Settings

HEADER_BYTES = 100
_MAGIC = b"LTX1"
_NAME = re.compile(r"(?:ltx/)?(?P<level>[0-9a-f]{4}|[0-9])/(?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16})\.ltx")
_FROM_THE_BEGINNING = 1
"""The first transaction of every full copy, and of what has not been parted from its beginning yet."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """One shipped file: its name, and the first and the last of its transactions.

    What was shipped at once is of level 0; files of a higher level hold what several of the one below add up to.
    """

    name: str
    level: int
    first: int
    last: int


class Replica:
    """What was shipped of one database, listed once."""

    def __init__(self, database: str, settings: Settings) -> None:
        """List it.

        Raises:
            UnreachableError, AccessDeniedError: as the off-site client's; a bucket or folder that is missing holds
                nothing.

        """
        self._objects = Objects(seen_as_offsite(settings))
        try:
            names: Iterable[str] = self._objects.listing(database)
        except NotFoundError:
            names = ()
        # Of files that end alike, the one of the lowest level was there first, and says when.
        self.files = sorted(_parsed(names, database), key=lambda file: (file.last, -file.level))

    def newest_before(self, moment: datetime) -> Shipped | None:
        """Return the file with the newest transaction that was taken over by ``moment``; None where there is none.

        Reads as few headers as the time order allows: all of a level are in it.
        """
        best: Shipped | None = None
        for level in sorted({file.level for file in self.files}, reverse=True):
            later = [file for file in self.files if file.level == level and (best is None or file.last > best.last)]
            best = self._last_by(moment, later) or best
        return best and next(file for file in reversed(self.files) if file.last == best.last)

    def begins(self) -> datetime | None:
        """Return the first moment that can be restored; None where there is none."""
        return next((self.moment_of(file) for file in self._full()), None)

    def has_beginning(self) -> bool:
        """Say whether there is anything that a restore could begin with."""
        return any(self._full())

    def _full(self) -> Iterator[Shipped]:
        return (file for file in self.files if file.first == _FROM_THE_BEGINNING)

    def moment_of(self, file: Shipped) -> datetime:
        """Return when the newest transaction of a file was taken over."""
        return moment_in(self._objects.read(file.name, 0, HEADER_BYTES), file.name)

    def _last_by(self, moment: datetime, files: Sequence[Shipped]) -> Shipped | None:
        low, high = 0, len(files)
        while low < high:
            middle = (low + high) // 2
            if self.moment_of(files[middle]) <= moment:
                low = middle + 1
            else:
                high = middle
        return files[low - 1] if low else None


def moment_in(header: bytes, name: str) -> datetime:
    """Return the time in the header of a shipped file.

    Raises:
        DamagedError: it is none.

    """
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise DamagedError("litestream", name, "is not what Litestream writes", hint="restore a backup instead")
    milliseconds = int.from_bytes(header[32:40], "big")
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _parsed(names: Iterable[str], database: str) -> Iterable[Shipped]:
    for name in names:
        if match := _NAME.fullmatch(name.removeprefix(f"{database}/")):
            yield Shipped(name, *(int(match[part], 16) for part in ("level", "first", "last")))
