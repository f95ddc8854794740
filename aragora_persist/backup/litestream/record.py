"""What the sidecar tells of Litestream: a small file in the backup folder, for who has no key to what was shipped.

It is written anew about every second, so that one that is old says that nobody ships. Leaves out: whether what was
shipped is whole, which a restore shows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import partial
from aragora_persist.exposition import Family
from aragora_persist.wording import span_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

FILE_NAME = "litestream.json"
_STALE_S = 20.0
LATE_S = 60.0
"""For how long something may wait to be shipped before a person should know."""
_NEVER = "Litestream is not running, or has not begun yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRecord:
    """What is known of one database."""

    newest_at: datetime | None = None
    """When the newest transaction that is shipped was taken over."""
    behind_since: datetime | None = None
    """Since when there is something that is not shipped; None while all is."""
    problem: str = ""
    """What keeps Litestream from it, in its words, or ''."""
    file: str = ""
    """Which file it ships: another one under the same path needs a full copy."""

    def behind_s(self, now: datetime) -> float:
        """For how long something has been waiting to be shipped, in seconds."""
        return max(0.0, (now - self.behind_since).total_seconds()) if self.behind_since else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of all databases that the sidecar ships, by their names."""

    written_at: datetime
    databases: dict[str, DatabaseRecord]

    @property
    def newest_at(self) -> datetime | None:
        """When the newest shipped transaction of any database was taken over."""
        return max((one.newest_at for one in self.databases.values() if one.newest_at), default=None)

    def to_json(self, now: datetime) -> dict[str, object]:
        """Return the record as plain JSON values; times in the one text form, ages in seconds."""
        return {
            "running": not self.is_stale(now),
            "databases": {
                name: {
                    "newest_shipped_at": one.newest_at and times.to_text(one.newest_at),
                    "newest_shipped_age_s": one.newest_at and round((now - one.newest_at).total_seconds(), 3),
                    "behind_s": round(one.behind_s(now), 3),
                    "problem": one.problem or None,
                }
                for name, one in self.databases.items()
                if one.file
            },
        }

    def is_stale(self, now: datetime) -> bool:
        """Say whether whoever wrote it has ended, or hangs."""
        return abs((now - self.written_at).total_seconds()) > _STALE_S


def write_record(directory: Path, record: Record) -> None:
    """Write the record; it is whole or the one before it, but not flushed to the disk: in a second it is an old one."""
    document = {"written_at": record.written_at, "databases": {k: asdict(v) for k, v in record.databases.items()}}
    with partial(directory / FILE_NAME) as file:
        file.path.write_text(json.dumps(document, default=_to_text), encoding="utf-8")
        file.path.replace(directory / FILE_NAME)


def read_record(directory: Path) -> Record | None:
    """Return the record; None where there is none, or what is there is none."""
    try:
        document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        return Record(
            written_at=times.from_text(document["written_at"]),
            databases={name: _database(fields) for name, fields in document["databases"].items()},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def late(record: Record | None, wanted: Collection[str], max_lag_s: float, now: datetime) -> Iterator[str]:
    """Say which databases have had something to ship for longer than ``max_lag_s``; nothing where all is well."""
    if record is None or record.is_stale(now):
        ago = (
            f" (its last sign of life is {span_text((now - record.written_at).total_seconds())} old)" if record else ""
        )
        yield f"{_NEVER}{ago}"
        return
    for name in wanted:
        one = record.databases.get(name)
        if one is None:
            yield f"{name}: is not among what Litestream ships here"
        elif one.behind_s(now) > max_lag_s:
            problem = f": {one.problem}" if one.problem else ""
            yield f"{name}: something has not been shipped for {span_text(one.behind_s(now))}{problem}"


def _database(fields: dict[str, str | None]) -> DatabaseRecord:
    newest_at, behind_since = (text and times.from_text(text) for text in (fields["newest_at"], fields["behind_since"]))
    return DatabaseRecord(
        newest_at=newest_at or None,
        behind_since=behind_since or None,
        problem=fields["problem"] or "",
        file=fields["file"] or "",
    )


def _to_text(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} has no form in JSON")
    return times.to_text(value)


def families(record: Record, now: datetime) -> Iterator[Family]:
    """Yield what is known of it as metrics."""
    help_ = "1 while Litestream runs beside the databases."
    yield Family("litestream_running", "gauge", help_, [({}, not record.is_stale(now))])
    shipped = [({"database": name}, one.newest_at) for name, one in record.databases.items()]
    help_ = "When the newest transaction that is shipped was taken over, in Unix time."
    samples = [(labels, moment.timestamp()) for labels, moment in shipped if moment]
    yield Family("litestream_newest_shipped_timestamp_seconds", "gauge", help_, samples)
    help_ = "For how long the oldest transaction that is not shipped has been waiting; 0 when none is."
    waiting = [({"database": name}, one.behind_s(now)) for name, one in record.databases.items() if one.file]
    yield Family("litestream_behind_seconds", "gauge", help_, waiting)
