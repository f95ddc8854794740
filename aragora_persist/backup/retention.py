"""Which backups are kept and which may go. Pure: it reads no clock and touches no file (``prune`` does).

Leaves out: rules by hour, week or number; the one rule so far is an age.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from aragora_persist.backup.catalog import BackupEntry


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one backup, and why."""

    entry: BackupEntry
    keep: bool
    reason: str


def decide(backups: Iterable[BackupEntry], *, intact: Collection[str], now: datetime, keep_days: int) -> list[Decision]:
    """Decide about each backup, given in the order in which they were made; ``intact`` holds the ids of whole files.

    Databases do not see each other. The last intact backup of each is kept whatever the clock says: "last" is its
    place in the catalog, because a clock that was wrong once gives a backup a time that stays wrong. Of two clocks'
    opinions the one that deletes less counts: a backup dated in the future is kept until its time has come and gone.
    """
    backups = tuple(backups)
    last_intact = {entry.database: entry.id for entry in backups if entry.id in intact}
    return [_decide(entry, last_intact.get(entry.database), now, keep_days) for entry in backups]


def _decide(entry: BackupEntry, last_intact: str | None, now: datetime, keep_days: int) -> Decision:
    if entry.id == last_intact:
        return Decision(entry, keep=True, reason="the last verified backup of its database")
    if entry.created_at > now:
        return Decision(entry, keep=True, reason="dated in the future: its age is not known")
    if (now - entry.created_at) / timedelta(days=1) <= keep_days:  # a division: no number of days is too large for it
        return Decision(entry, keep=True, reason=f"not older than {keep_days} days")
    return Decision(entry, keep=False, reason=f"older than {keep_days} days")
