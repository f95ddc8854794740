"""The database file inside a backup, proved equal to its entry, for whoever restores or reads it.

Leaves out: which backup to take (``restore.choosing``), and whether the rows are those of the entry (``verify``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aragora_persist.backup import archive
from aragora_persist.backup.encryption import readable_by
from aragora_persist.backup.files import scratch_folder
from aragora_persist.backup.inventory import FileState, file_state, newest_sound
from aragora_persist.backup.names import is_encrypted, is_packed
from aragora_persist.errors import DamagedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings


@contextmanager
def opened_backup(entry: BackupEntry, settings: Settings) -> Iterator[Path]:
    """Give the plain file of a backup for the length of a block, to be read only; its every byte was compared.

    One that is stored plain is read where it is; others are unpacked in scratch space. Where the file is not here, or
    is damaged, it is fetched from off-site.

    Raises:
        DamagedError: the file is missing or is not what was written; the hint names the newest backup that is.
        AccessDeniedError: none of the identities can read it.
        InvalidValueError: it is encrypted, and there is no usable identity file.
        StorageError: it cannot be read, or scratch space is too small for it.

    """
    if is_encrypted(entry.file):
        readable_by(settings.backup_identity_file)  # now: not after hours of fetching
    stored = settings.backup_dir / entry.file
    state = file_state(settings.backup_dir, entry, check=True)
    if state is FileState.INTACT and not is_packed(entry.file):
        yield stored
        return
    with scratch_folder("aragora-unpacked-") as scratch:
        if state is not FileState.INTACT:
            stored = _fetched(entry, settings, state, scratch)
        yield _unpacked(entry, settings, stored, scratch)


def _fetched(entry: BackupEntry, settings: Settings, state: FileState, scratch: Path) -> Path:
    if not settings.offsite_url:
        sound = newest_sound(entry.database, settings, but=entry)
        hint = f"the newest sound one: --backup {sound.id}" if sound else "there is no other sound backup of it here"
        raise DamagedError("open backup", settings.backup_dir / entry.file, f"is {state.value}", hint=hint)
    from aragora_persist.backup.offsite import fetch  # noqa: PLC0415 - only where something is off-site

    target = scratch / entry.file
    # Not in this scratch folder, which goes: a restore that is killed or cut off goes on with what has arrived.
    fetch(entry, target, settings, grow_in=scratch.parent)
    return target


def _unpacked(entry: BackupEntry, settings: Settings, stored: Path, scratch: Path) -> Path:
    if not is_packed(entry.file):
        return stored
    target = scratch / "plain"
    try:
        plain = archive.unpack(stored, target, identity_file=settings.backup_identity_file)
    except OSError as error:
        problem = f"cannot be unpacked: {error.strerror or error}"
        hint = f"it takes {entry.plain_size_bytes} bytes; set TMPDIR to a folder with more room"
        raise StorageError("open backup", scratch, problem, hint=hint) from error
    if plain != archive.Stored(entry.plain_size_bytes, entry.plain_sha256):
        raise DamagedError("open backup", stored, "does not hold what its entry says", hint="take another backup")
    return target
