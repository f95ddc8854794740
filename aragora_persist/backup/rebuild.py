"""A catalog that was lost or damaged, made anew from the files.

Where an entry is left, in the old catalog or off-site, its file must have that digest. Any other file with the name of
a backup is read as one: decrypted, unpacked and verified. What cannot be proven is named, stays where it is, and is not
listed. The old catalog is kept aside. Leaves out: files with other names, which never were backups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.archive import Stored, unpack
from aragora_persist.backup.catalog import FILE_NAME, Catalog
from aragora_persist.backup.encryption import readers
from aragora_persist.backup.files import partial, scratch_folder
from aragora_persist.backup.inventory import FileState, file_state, files_in
from aragora_persist.backup.lines import parse
from aragora_persist.backup.names import (
    DATABASE_FILE,
    DUMP_FILE,
    SUPABASE,
    Name,
    id_of,
    is_encrypted,
    is_packed,
    read_id,
)
from aragora_persist.backup.records import BackupEntry
from aragora_persist.backup.verify import file_sha256, verify
from aragora_persist.databases import DATABASES
from aragora_persist.errors import DamagedError, NotFoundError, PersistError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.catalog import CatalogState
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Settings

METHOD = "rebuilt"
"""How the catalog says that nothing but the file itself vouched for a backup."""
_OPERATION = "rebuild backup catalog"
_KNOWN = {SUPABASE, *(database.name for database in DATABASES)}


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not listed, and why."""

    file: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What came of it."""

    kept: tuple[BackupEntry, ...]
    """Those that were listed, and whose files are what their entries say."""
    found: tuple[BackupEntry, ...]
    """Those that are listed anew."""
    refused: tuple[Refused, ...]
    offsite_problem: str
    """Why off-site could not be asked for entries; '' if it was, or if there is none."""
    replaced: Path | None
    """Where the old catalog is; None if there was none, or if it was right and is still in its place."""


def rebuild(settings: Settings) -> Rebuilt:
    """Make the catalog anew; until it is whole, the old one is in its place. No backup is taken or removed meanwhile.

    Raises:
        NotFoundError: there is no backup folder.
        BusyError: another process held the catalog for ``DB_TIMEOUT``.
        StorageError: a file cannot be read or the catalog cannot be written; it is as it was.

    """
    directory = settings.backup_dir
    try:
        with Catalog(directory).writing(timeout_s=settings.db_timeout_s) as writer:
            return _rebuild(settings, writer.read())
    except FileNotFoundError as error:
        hint = "ARAGORA_BACKUP_DIR says where backups are; what is off-site is restored without a catalog here"
        raise NotFoundError(_OPERATION, error.filename or directory, "does not exist", hint=hint) from None
    except OSError as error:
        problem = error.strerror or str(error)
        hint = "free some space there and in TMPDIR, or grant access"
        raise StorageError(_OPERATION, directory, problem, hint=hint) from error


def _rebuild(settings: Settings, state: CatalogState) -> Rebuilt:
    remote, offsite_problem = _off_site(settings)
    witnesses = {entry.file: entry for entry in (*remote, *state.backups)}
    proven: dict[str, BackupEntry] = {}
    refused = []
    gone = {entry.file: entry for entry in state.deleted}
    for path in sorted(files_in(settings.backup_dir)):
        witness, name = witnesses.get(path.name), _name_of(path)
        if path.name in gone or name is None:
            continue  # it was to be removed, and will be; or it never was a backup
        report(path.name)
        try:
            entry = _compare(path, witness) if witness else _read(path, name, settings)
        except StorageError:
            raise  # what cannot be read now may be sound: it must not go out of the catalog
        except PersistError as error:
            refused.append(Refused(path.name, error.problem))
            continue
        if entry.id in proven or entry.id in {one.id for one in state.deleted}:
            refused.append(Refused(path.name, f"there is or was another backup with the name {entry.id}"))
            continue
        proven[entry.id] = entry
    kept = tuple(entry for entry in state.backups if proven.get(entry.id) == entry)
    found = sorted((entry for entry in proven.values() if entry not in kept), key=_made)
    return Rebuilt(
        kept=kept,
        found=tuple(found),
        refused=tuple(refused),
        offsite_problem=offsite_problem,
        replaced=_exchange(settings.backup_dir, state.damaged_lines, kept, found),
    )


def _off_site(settings: Settings) -> tuple[tuple[BackupEntry, ...], str]:
    """Return the entries that are off-site, or why they cannot be had: that must not stop what can be done here."""
    if not settings.offsite_url:
        return (), ""
    from aragora_persist.backup.offsite import remote_entries  # noqa: PLC0415 - only where something is off-site

    try:
        return tuple(remote_entries(settings)), ""
    except PersistError as error:
        return (), error.problem


def _name_of(path: Path) -> Name | None:
    name = read_id(id_of(path.name))
    return name if name and name.database in _KNOWN else None


def _compare(path: Path, witness: BackupEntry) -> BackupEntry:
    """Return the entry that is left of a file, which must be what that says."""
    if file_state(path.parent, witness, check=True) is not FileState.INTACT:
        raise DamagedError(_OPERATION, path, "is not what was written")
    return witness


def _read(path: Path, name: Name, settings: Settings) -> BackupEntry:
    """Return the entry of a file that nothing else is left of."""
    stored = Stored(path.stat().st_size, file_sha256(path))
    with scratch_folder("aragora-rebuild-") as scratch:
        plain, inside = path, stored
        if is_packed(path.name):
            plain = scratch / f"plain{DUMP_FILE if name.database == SUPABASE else DATABASE_FILE}"
            inside = unpack(path, plain, identity_file=settings.backup_identity_file)
        content = _content(plain)
    return BackupEntry(
        id=id_of(path.name),
        database=name.database,
        file=path.name,
        created_at=name.moment,
        duration_s=0.0,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        plain_size_bytes=inside.size_bytes,
        plain_sha256=inside.sha256,
        content=content,
        method=METHOD,
        package_version=VERSION,
        recipients=readers(path, settings.backup_identity_file) if is_encrypted(path.name) else (),
    )


def _content(plain: Path) -> Content:
    if plain.name.endswith(DUMP_FILE):
        from aragora_persist.backup.supabase import read_dump  # noqa: PLC0415 - needs the client programs of a server

        return read_dump(plain)
    content = verify(plain).content
    if not content.tables:
        raise DamagedError(_OPERATION, plain, "holds no table")
    return content


def _exchange(
    directory: Path, damaged: Collection[int], kept: Iterable[BackupEntry], found: Iterable[BackupEntry]
) -> Path | None:
    """Put the new catalog in the place of the old one, and return where that is now."""
    path = directory / FILE_NAME
    old = path.read_bytes() if path.exists() else b""
    sound = (line for number, line in enumerate(old.split(b"\n"), start=1) if number not in damaged)
    new = _written(sound, {entry.id: entry for entry in kept}, found)
    if new == old:
        return None
    aside = directory / f"catalog.replaced_{times.utc_now():%Y%m%d_%H%M%S_%f}.jsonl"
    if old:
        with partial(aside) as copy:
            copy.path.write_bytes(old)
            copy.publish(aside, operation=_OPERATION)
    with partial(path) as file:
        file.path.write_bytes(new)
        file.replace(path)
    return aside if old else None


def _written(old: Iterable[bytes], kept: Mapping[str, BackupEntry], found: Iterable[BackupEntry]) -> bytes:
    """Return the lines of the new catalog: what was sound and is still true, and what was found, each at its time.

    The order is that in which backups were made: the old lines keep theirs, whatever clocks said.
    """
    records = [(record, line + b"\n") for line in old if (record := parse(line))]
    listed = kept.keys() | {record["id"] for record, _ in records if record["kind"] == "deleted"}
    lines: list[tuple[bytes, BackupEntry | None]] = []
    for record, line in records:
        if record["kind"] == "backup" and record["id"] in listed:
            lines.append((line, kept.get(record["id"])))
        elif record["kind"] not in {"backup", "shipped"} or record.get("backup") in listed:
            lines.append((line, None))
    for entry in found:
        later = (place for place, (_, other) in enumerate(lines) if other and _made(other) > _made(entry))
        lines.insert(next(later, len(lines)), (entry.to_line(), entry))
    return b"".join(line for line, _ in lines)


def _made(entry: BackupEntry) -> tuple[datetime, int]:
    """Return the second of a backup, and which one in this second it is."""
    name = read_id(entry.id)
    return entry.created_at.replace(microsecond=0), name.number if name else 1
