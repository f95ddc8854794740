"""What of a database is shipped and what is not, from what Litestream answers and the files that it keeps beside it.

What it has taken over lies in its own folder beside the database until it is shipped and some hours longer, one file a
look. Leaves out: asking Litestream (``questions``), and what it has shipped in the end (``replica``).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.record import DatabaseRecord
from aragora_persist.backup.litestream.replica import HEADER_BYTES, moment_in
from aragora_persist.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.litestream.questions import Answer

_STALLED_S = 30.0
_ENDING = ".ltx"


class Shipping:
    """Follows one database, look by look."""

    def __init__(self, database: Path, before: DatabaseRecord) -> None:
        """Begin with what was known before; ``database`` is its resolved path."""
        self._path = database
        self._taken_over = database.with_name(f".{database.name}-litestream") / "ltx" / "0"
        self._newest_at = before.newest_at
        self._newest = ""
        self._last_shipped_at: datetime | None = None
        self._shipped_until: datetime | None = None
        self._failing_since: datetime | None = None

    def look(self, answer: Answer | None, now: datetime) -> DatabaseRecord:
        """Return what is known now; ``answer`` is None where Litestream gave none."""
        if not self._path.exists():
            return DatabaseRecord(newest_at=self._newest_at)
        problem = _problem(answer, now)
        # Until its first look it is behind by what was written before.
        failing = bool(problem) or answer is None or answer.shipped_at is None
        self._failing_since = (self._failing_since or now) if failing else None
        if answer is not None:
            self._take_in(answer)
        waiting = [moment for moment in (self._failing_since, self._oldest_unshipped()) if moment]
        return DatabaseRecord(newest_at=self._newest_at, behind_since=min(waiting, default=None), problem=problem)

    def ended(self, now: datetime) -> DatabaseRecord:
        """Return what is known when Litestream has ended and says that it has shipped everything."""
        self._shipped_until, self._failing_since = now, None
        self._oldest_unshipped()
        return DatabaseRecord(newest_at=self._newest_at)

    def _take_in(self, answer: Answer) -> None:
        # It ships one round after the other, each all that is there when it begins. So a round that has ended shipped
        # what was there when the one before it ended, and perhaps nothing of what has come since.
        if answer.shipped_at != self._last_shipped_at:
            self._shipped_until, self._last_shipped_at = self._last_shipped_at, answer.shipped_at

    def _oldest_unshipped(self) -> datetime | None:
        """Move on to the newest file that is shipped, and return the time of the next one."""
        for name in self._files_after(self._newest):
            try:
                written_at = datetime.fromtimestamp((self._taken_over / name).stat().st_mtime, UTC)
                if self._shipped_until is None or written_at > self._shipped_until:
                    return written_at
                with (self._taken_over / name).open("rb") as file:
                    self._newest_at = moment_in(file.read(HEADER_BYTES), name)
            except (OSError, DamagedError):  # its time was over, or it begins anew
                continue
            self._newest = name
        return None

    def _files_after(self, name: str) -> list[str]:
        try:
            return sorted(other for other in os.listdir(self._taken_over) if other > name and other.endswith(_ENDING))  # noqa: PTH208 - thousands of names, every second
        except FileNotFoundError:
            return []


def _problem(answer: Answer | None, now: datetime) -> str:
    if answer is None:
        return "Litestream does not answer"
    if answer.problem:
        return answer.problem
    if answer.looked_at is not None and (now - answer.looked_at).total_seconds() > _STALLED_S:
        return "Litestream has stopped looking at it"
    return ""
