"""A verified copy becomes a backup: packed, flushed, named, recorded. The same for every kind of backup.

The copy is made in the backup folder where it is stored as it is; where it is packed, in scratch space, so that what is
stored encrypted is nowhere beside it in plain form. Leaves out: making and verifying the copy (``take``).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup import archive
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.encryption import fingerprints
from aragora_persist.backup.files import Partial, clean_partials, flush, make_directory, partial, scratch_folder
from aragora_persist.backup.names import DATABASE_FILE, base_of, id_of
from aragora_persist.backup.records import BackupEntry
from aragora_persist.errors import StorageError
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.catalog import CatalogState
    from aragora_persist.backup.verify import Verification
    from aragora_persist.settings import Settings

OPERATION = "backup"


@contextmanager
def making(database: str, settings: Settings, *, run: str, kind: str = DATABASE_FILE) -> Iterator[Making]:
    """Make ready for a backup; in the block, write the copy to ``path``, verify it and call ``keep``.

    What killed runs left in the backup folder is removed first, and what the block leaves behind at its end.

    Raises:
        InvalidValueError: a recipient is no public key; nothing was made.
        UnsupportedError: a library that the settings ask for is not installed; nothing was made.
        StorageError: a file cannot be written.

    """
    archive.check(compression=settings.backup_compression, recipients=settings.backup_recipients)
    started = Started(created_at=times.utc_now(), at_s=time.monotonic(), run=run)
    directory = settings.backup_dir
    packed = archive.ending(compression=settings.backup_compression, recipients=settings.backup_recipients)
    try:
        make_directory(directory)
        clean_partials(directory)
        if packed:
            with scratch_folder("aragora-backup-") as scratch:
                path = scratch / f"{database}{kind}"
                path.touch(mode=0o600)
                yield Making(path, None, database, kind + packed, started, settings)
        else:
            with partial(directory / f"{database}{kind}") as copy:
                yield Making(copy.path, copy, database, kind, started, settings)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        hint = "free some space there or in TMPDIR, or grant access"
        raise StorageError(OPERATION, directory, problem, hint=hint) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """When a backup began, by the calendar and by a clock that nobody sets, and in which run."""

    created_at: datetime
    at_s: float
    run: str


@dataclass(frozen=True, slots=True)
class Making:
    """A backup in the making. ``path`` is where its plain copy goes, an empty file so far."""

    path: Path
    _copy: Partial | None
    _database: str
    _ending: str
    _started: Started
    _settings: Settings

    def keep(self, verification: Verification, *, method: str) -> BackupEntry:
        """Make a backup of the verified copy: it is on the disk and in the catalog when this returns."""
        if self._copy:
            stored = archive.Stored(verification.size_bytes, verification.sha256)
            return self._record(self._copy, stored, verification, method)
        settings = self._settings
        with partial(settings.backup_dir / f"{self._database}{self._ending}") as packed:
            with packed.path.open("wb", buffering=0) as file:
                stored = archive.pack(
                    self.path,
                    file,
                    compression=settings.backup_compression,
                    recipients=settings.backup_recipients,
                )
            return self._record(packed, stored, verification, method)

    def _record(self, file: Partial, stored: archive.Stored, verification: Verification, method: str) -> BackupEntry:
        directory, started = self._settings.backup_dir, self._started
        flush(file.descriptor)  # here, so that nobody waits for the disk while the catalog is held
        duration_s = round(time.monotonic() - started.at_s, 6)
        with Catalog(directory).writing(timeout_s=self._settings.db_timeout_s) as writer:
            id_ = _free_id(self._database, started.created_at, directory, writer.read())
            entry = BackupEntry(
                id=id_,
                database=self._database,
                file=id_ + self._ending,
                created_at=started.created_at,
                duration_s=duration_s,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                plain_size_bytes=verification.size_bytes,
                plain_sha256=verification.sha256,
                content=verification.content,
                method=method,
                package_version=VERSION,
                run=started.run,
                recipients=fingerprints(self._settings.backup_recipients),
            )
            file.publish(directory / entry.file, operation=OPERATION)
            try:
                writer.add_backup(entry)
            except OSError:
                (directory / entry.file).unlink()
                raise
        return entry


def _free_id(database: str, created_at: datetime, directory: Path, state: CatalogState) -> str:
    """Return a name that no backup has or had, and no file with it and whatever ending."""
    base = base_of(database, created_at)
    taken = state.known_ids | {id_of(path.name) for path in directory.glob(f"{base}*")}
    names = (base if number == 1 else f"{base}_{number}" for number in count(1))
    return next(name for name in names if name not in taken)
