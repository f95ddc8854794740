"""The snapshot that is taken of a database before its schema changes, and what becomes of it.

It is taken under a name that belongs to the file. When the run has committed something, it gets the time into its name
and is kept; when the run changed nothing, it stays where the next run's snapshot replaces it. So a service that starts
again and again into a migration that fails does not fill the disk with copies of a database that nobody changed.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError, MigrationError, PersistError, StorageError
from aragora_persist.migrations import ledger
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import sync_folder
from aragora_persist.storage.sqlite.readonly import open_unchanging
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aragora_persist.migrations.plan import Applied

_OPERATION = "snapshot"
_ENDING = "before_migration.db"


class SnapshotBefore:
    """Takes it, when it is called, of what is committed in the file ``path``; to be used in ``kept``."""

    def __init__(self, path: Path, database: str, folder: Path, timeout_s: float) -> None:
        self._source = path
        self._database = database
        self._folder = folder
        self._timeout_s = timeout_s
        self._version: int | None = None
        self.path: Path | None = None
        """Where it lies; None as long as none was taken."""

    def __call__(self) -> None:
        """Take the snapshot, verified and on the disk; the caller holds the write lock.

        Raises:
            StorageError: there is no room for it, or no right to write it.
            DamagedError: the database is not sound, or its copy is not.

        """
        # Only where there is something to migrate: opening a database that is up to date needs none of this.
        from aragora_persist.backup.files import clean_partials, make_directory, partial  # noqa: PLC0415 - see above
        from aragora_persist.storage.sqlite.copying import copy_into  # noqa: PLC0415 - as above

        mark = sha256(os.fsencode(self._source)).hexdigest()[:12]  # others may share the folder
        target = self._folder / f"{self._database}_{mark}_{_ENDING}"
        try:
            make_directory(self._folder)
            clean_partials(self._folder)  # a killed run leaves the copy that it was making
            with partial(target) as copy:
                copy_into(self._source, copy.path, timeout_s=self._timeout_s)
                version = _examined(copy.path, self._source)
                found = _ledger(target) if target.exists() else None
                if found is not None and len(found) != version:
                    self._keep(target)  # of a run that was killed, and had changed something
                copy.replace(target)
        except OSError as error:
            hint = "free some space there, name another folder in ARAGORA_BACKUP_DIR, or take none (--no-backup)"
            raise StorageError(_OPERATION, target, f"cannot be written: {error.strerror}", hint=hint) from error
        self.path, self._version = target, version

    def settle(self, version: int | None) -> None:
        """Give the snapshot a name for good if the database has another ``version`` by now; None is not known."""
        if self.path is not None and version not in {None, self._version}:
            with suppress(OSError):  # then it stays where it is, and the next run finds that it must be kept
                self.path = self._keep(self.path)

    def _keep(self, path: Path) -> Path:
        kept = path.with_name(f"{self._database}_{utc_now():%Y%m%d_%H%M%S_%f}_{_ENDING}")
        path.rename(kept)
        sync_folder(path.parent)
        return kept


@contextmanager
def kept(snapshot: SnapshotBefore, connection: sqlite3.Connection) -> Iterator[None]:
    """Decide at the end of the block what becomes of the snapshot. An error of whatever kind says what is left."""
    before = _standing(connection)
    try:
        yield
    except BaseException as error:
        version = _standing(connection)
        if version != before and version is not None:
            _add_hint(error, f"the database stands at version {version}, and the next run goes on from there")
        snapshot.settle(version)
        if snapshot.path is not None:
            _add_hint(error, f"a snapshot from before is {snapshot.path}")
        raise
    snapshot.settle(_standing(connection))


def find_snapshot(folder: Path, database: str, applied: Sequence[Applied]) -> Path | None:
    """Return the newest snapshot of the very database that had just these migrations applied, or None."""
    for path in sorted(folder.glob(f"{database}_*{_ENDING}"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        # The times when they were applied are in it: another file's, which may lie in the same folder, has others.
        if _ledger(path) == tuple(applied):
            return path
    return None


def _examined(copy: Path, source: Path) -> int:
    """Return the version of the copy, when it was found to be sound."""
    try:
        with closing(open_unchanging(copy)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
            if problems != ["ok"]:
                raise DamagedError(_OPERATION, source, "; ".join(problems), hint="restore a backup, then migrate that")
            return len(ledger.read(connection))
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, source) from error


def _add_hint(error: BaseException, text: str) -> None:
    if isinstance(error, PersistError):
        error.hint = f"{error.hint}; {text}" if error.hint else text
    else:
        error.add_note(text)


def _standing(connection: sqlite3.Connection) -> int | None:
    """Return the version of the database; None where it cannot be told, as on a connection that a body has closed."""
    with suppress(*DRIVER_ERRORS, MigrationError):
        return len(ledger.read(connection))
    return None


def _ledger(path: Path) -> tuple[Applied, ...] | None:
    """Return the ledger of a snapshot; None where it is none."""
    with suppress(*DRIVER_ERRORS, MigrationError), closing(open_unchanging(path)) as connection:
        return ledger.read(connection)
    return None
