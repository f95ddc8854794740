"""What the catalog says of each database's newest backup and last drills, and of what is not off-site yet.

For who shows it: the status, the metrics. Leaves out: whether that is good enough (``health``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog, CatalogState
from aragora_persist.backup.inventory import newest_intact
from aragora_persist.errors import PersistError
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry, Drill
    from aragora_persist.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """All of it at one moment, by the names of the databases."""

    newest: Mapping[str, BackupEntry] = field(default_factory=dict)
    """The newest verified backup of each that has one whose file is as large as it was."""
    drills: Mapping[str, Drill] = field(default_factory=dict)
    """The last drill of each."""
    good_drills: Mapping[str, Drill] = field(default_factory=dict)
    """The last one that proved a backup."""
    offsite_lag_s: float | None = None
    """For how long the oldest backup that is to go off-site has been waiting, 0 where none does; None: none goes."""
    offsite_held_back: int = 0
    """How many do not go there, because they are not encrypted and there are recipients."""
    problem: str = ""
    """What is wrong with the catalog, or ''."""


class Reports:
    """Reports of one backup folder, for who takes them again and again: only a catalog that has changed is read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = Catalog(settings.backup_dir)
        self._seen: tuple[int, ...] | None = None
        self._state = CatalogState(backups=(), deleted=())

    def take(self, now: datetime) -> BackupReport:
        """Look at the catalog; what is wrong with it is part of the answer, not an error."""
        try:
            # What is written between this look and the read is read now, and once more.
            seen = _mark(self._catalog.path)
            if seen is None or seen != self._seen:
                self._state = self._catalog.read()
                self._seen = seen
            return _report(self._state, self._settings, now)
        except PersistError as error:
            return BackupReport(problem=error.problem)


def take_report(settings: Settings, now: datetime) -> BackupReport:
    """Look at the catalog once."""
    return Reports(settings).take(now)


def _mark(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written to, or None where there is none to look at."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _report(state: CatalogState, settings: Settings, now: datetime) -> BackupReport:
    damaged = len(state.damaged_lines)
    return BackupReport(
        newest=newest_intact(reversed(state.backups), settings.backup_dir),
        drills={drill.database: drill for drill in state.drills},  # in the order in which they were made
        good_drills={drill.database: drill for drill in state.drills if drill.ok},
        offsite_lag_s=_offsite_lag_s(state, settings, now),
        offsite_held_back=_offsite_held_back(state, settings),
        problem=f"the catalog has {count_text(damaged, 'damaged line')}" if damaged else "",
    )


def _offsite_lag_s(state: CatalogState, settings: Settings, now: datetime) -> float | None:
    if not settings.offsite_url:
        return None
    from aragora_persist.backup.offsite import oldest_unshipped_age_s  # noqa: PLC0415 - only who ships needs it

    return max(0.0, oldest_unshipped_age_s(state, settings, now) or 0.0)


def _offsite_held_back(state: CatalogState, settings: Settings) -> int:
    if not settings.offsite_url:
        return 0
    from aragora_persist.backup.offsite import held_back  # noqa: PLC0415 - as above

    return len(held_back(state, settings))
