"""Which backup a restore takes: the named one, the newest, or the newest of before a moment; from here or off-site.

Leaves out: fetching and opening it (``unpacking``), and several databases together (``sets``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.names import SUPABASE
from aragora_persist.databases import find_database
from aragora_persist.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings


def choose_backup(
    database: str, settings: Settings, *, backup_id: str | None = None, at: datetime | None = None
) -> BackupEntry:
    """Return the backup that a restore would take; where nothing here suits, one that is off-site.

    An older one is never taken in the place of one that turns out to be damaged (``opened_backup``).

    Raises:
        NotFoundError: there is no such backup.
        InvalidValueError: there is no such database, or the moment has no time zone.

    """
    if database != SUPABASE:
        find_database(database)
    limit = None if at is None else times.to_text(at, field="at")
    chosen = _choose(Catalog(settings.backup_dir).read().backups, database, backup_id, limit)
    if chosen is None and settings.offsite_url:
        from aragora_persist.backup.offsite import remote_entries  # noqa: PLC0415 - only where something is off-site

        remote = sorted(remote_entries(settings), key=lambda entry: entry.created_at)
        chosen = _choose(remote, database, backup_id, limit)
    if chosen is None:
        wanted = backup_id or (f"at or before {limit}" if limit else "of it")
        raise NotFoundError("restore", database, f"there is no backup {wanted}", hint="aragora-persist backups")
    return chosen


def _choose(
    entries: Iterable[BackupEntry], database: str, backup_id: str | None, limit: str | None
) -> BackupEntry | None:
    candidates = [entry for entry in entries if entry.database == database and backup_id in {None, entry.id}]
    if limit is not None:
        # Compared as text, in the one form.
        candidates = [entry for entry in candidates if times.to_text(entry.created_at) <= limit]
        candidates.sort(key=lambda entry: entry.created_at)
    return candidates[-1] if candidates else None
