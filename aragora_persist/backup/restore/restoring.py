"""Restoring one database: a backup, a moment, or a copy made by hand, in the place of the live one or in a new file.

Nothing is lost by it: the replaced database is kept beside the restored one, with every transaction up to the restore.
A killed restore leaves the old database or the new one, never a mixture; run it again. Leaves out: what can be restored
and whether it is sound (``origins``, ``handmade``), and several databases that belong together (``restoring_sets``).
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import SIDE_FILES, beside, clean_partials, locked, make_directory, partial
from aragora_persist.backup.restore.candidates import Candidate, made_candidate
from aragora_persist.backup.restore.exchange import connect, own_like, takes_pages_of, write_into
from aragora_persist.backup.restore.intent import Intent, complete, declare, withdraw, withdraw_pending
from aragora_persist.backup.restore.origins import opened_origin
from aragora_persist.backup.restore.room import free_bytes, refuse_without_room, room_to_write_into
from aragora_persist.backup.verify import read_content
from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError, ConflictError, DamagedError, PersistError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_being_restored, resolve, restore_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

_OPERATION = "restore"


class Way(Enum):
    """How a restore was done."""

    INTO = "into the open database"
    """As one transaction of the live file: idle connections of others go on and see the restored rows."""
    IN_PLACE = "in place of the files"
    """The old files were missing or could not be opened, and were moved aside."""
    NEW_FILE = "to a new file"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What was done."""

    database: str
    source: str
    """What was restored: the backup's id, the path of the file, or ``litestream``."""
    entry: BackupEntry | None
    """The backup's entry; None for a file made by hand, and for a moment between two backups."""
    moment: datetime | None
    """As of when the restored rows are; None for a file made by hand."""
    target: Path
    way: Way
    replaced: Path | None
    """The database that was there before, as a file of its own; None if none was."""
    equal: bool
    """The target, read afterwards, held exactly the restored rows; False when another process has written since."""
    migrated: tuple[str, ...]
    """The migrations that were applied to it."""
    notes: tuple[str, ...]
    """What the operator should know of it."""


def restore(
    database: str,
    settings: Settings,
    *,
    backup_id: str | None = None,
    at: datetime | None = None,
    file: Path | None = None,
    to: Path | None = None,
    migrate: bool = False,
) -> RestoreResult:
    """Restore the last backup of ``database``, or the one with ``backup_id``, or a moment, or a file made by hand.

    ``at`` is the newest backup that is not younger; where Litestream ships transactions, the moment itself. What is
    restored is compared with its catalog entry, or examined, and with ``migrate`` brought to this release's schema,
    before anything is touched. With ``to`` it becomes that new file; otherwise it becomes the live database.

    Raises:
        NotFoundError: there is no such backup or file.
        DamagedError: it is not what was written, or not sound; the hint names the way out.
        MigrationError: it is no database of this name, or migrating it failed.
        SchemaOutdatedError: its schema is older than the live database's, and ``migrate`` is False.
        SchemaTooNewError: its schema is too new for this release.
        ConflictError: ``to`` exists, or ``file`` is the live database.
        BusyError: another process holds a transaction, a lock or the folder for longer than ``DB_TIMEOUT``.
        StorageError: the target cannot be written, or there is no room for it.

    """
    live = resolve(find_database(database).path(settings.nomic_dir))
    target = live if to is None else resolve(to)
    with ExitStack() as stack:
        if to is not None:
            refuse_taken(target)
        origin = stack.enter_context(opened_origin(database, settings, backup_id=backup_id, at=at, file=file))
        candidate = stack.enter_context(
            made_candidate(origin, database, live=live if to is None else None, migrate=migrate)
        )
        with writing_to(target.parent):
            if to is None:
                way, replaced, equal = _to_live(candidate, target, settings.db_timeout_s)
            else:
                _to_new_file(candidate, target)
                way, replaced, equal = Way.NEW_FILE, None, True
    return RestoreResult(
        database=database,
        source=origin.name,
        entry=origin.entry,
        moment=origin.moment,
        target=target,
        way=way,
        replaced=replaced,
        equal=equal,
        migrated=candidate.migrated,
        notes=candidate.notes,
    )


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make the folder, and say what is wrong with it in words of this package."""
    try:
        make_directory(folder)
        yield
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        hint = "this user must be able to write there, and the disk must have room"
        raise StorageError(_OPERATION, folder, problem, hint=hint) from error


def refuse_taken(target: Path) -> None:
    """Raise if a new file cannot have this name.

    Raises:
        ConflictError: something is there, or in the place of what SQLite keeps beside it.

    """
    taken = (target, *(beside(target, ending) for ending in SIDE_FILES), restore_note(target))
    if found := next((path for path in taken if path.exists()), None):
        raise ConflictError(_OPERATION, found, "exists and is not overwritten", hint="name another file")


def _to_new_file(candidate: Candidate, target: Path) -> None:
    refuse_without_room(target.parent, candidate.known.size_bytes)
    with partial(target) as copy:
        candidate.write_to(copy.path)
        copy.publish(target, operation=_OPERATION)


def _to_live(candidate: Candidate, target: Path, timeout_s: float) -> tuple[Way, Path | None, bool]:
    with locked(target.parent, timeout_s=timeout_s, operation=_OPERATION):
        settle(target, timeout_s)
        replaced = replaced_name(target)
        if takes_pages_of(candidate.path, target, timeout_s=timeout_s) and has_room(candidate, target):
            try:
                kept = write_into(candidate.path, target, replaced, timeout_s=timeout_s)
            except DamagedError:  # it cannot be read, not even to copy it: it is moved aside as it is
                pass
            else:
                return Way.INTO, kept, is_equal(candidate, target, timeout_s)
        return Way.IN_PLACE, _in_place(candidate, target, replaced, timeout_s), True


def settle(target: Path, timeout_s: float) -> None:
    """Clear away what killed restores left; the caller holds the lock of the target's folder.

    One that was under way is completed; one that no longer can be is superseded by the caller's.
    """
    clean_partials(target.parent)
    withdraw_pending(target.parent)
    if is_being_restored(target):
        try:
            complete(target, timeout_s=timeout_s)
        except DamagedError:
            withdraw(target)
    staged_name(target).unlink(missing_ok=True)  # of a run that was killed before it wrote its note


def staged_name(target: Path) -> Path:
    """Return the name under which what takes the target's place waits beside it."""
    return beside(target, ".restored")


def replaced_name(target: Path) -> Path:
    """Return the name under which the database that is replaced now is kept."""
    return target.with_name(f"{target.stem}.replaced_{times.utc_now():%Y%m%d_%H%M%S_%f}{target.suffix}")


def has_room(candidate: Candidate, target: Path) -> bool:
    """Say whether the restore can be written into the open database; to exchange the files takes less."""
    return free_bytes(target.parent) >= room_to_write_into(candidate.known.size_bytes, target)


def is_equal(candidate: Candidate, target: Path, timeout_s: float) -> bool:
    """Read the live database, and say whether it holds what was restored; the caller holds the lock of its folder.

    Its pages are those that were restored, which is soon seen in a copy of it; where somebody has written since, or
    there is no room for a copy, its rows are compared.
    """
    report("reading it back")
    with suppress(OSError, PersistError), partial(target) as copy:
        copy_into(target, copy.path, timeout_s=timeout_s)
        if candidate.has_the_pages_of(copy.path):
            return True
    try:
        with closing(connect(target, timeout_s)) as live:
            return read_content(live, target) == candidate.known.content
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, target) from error


def _in_place(candidate: Candidate, target: Path, replaced: Path, timeout_s: float) -> Path | None:
    """Put a copy in the place of the files; return where those are now."""
    refuse_without_room(target.parent, candidate.known.size_bytes)
    staged = staged_name(target)
    with partial(staged) as copy:
        candidate.write_to(copy.path)
        own_like(copy.path, target)
        copy.publish(staged, operation=_OPERATION)
    declare(target, Intent(staged.name, replaced.name))
    try:
        return complete(target, timeout_s=timeout_s)
    except BusyError:
        withdraw(target)
        staged.unlink()
        raise
