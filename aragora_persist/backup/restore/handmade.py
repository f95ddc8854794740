"""A copy of a database that was made by hand: read without a trace, examined, and told what is wrong with it.

``cp``, ``sqlite3 .backup``, a snapshot from before a migration, a database that a restore replaced, an archive whose
catalog is lost; with or without a ``-wal`` beside it. Leaves out: restoring it (``restore``).
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from aragora_persist.backup.archive import unpack
from aragora_persist.backup.files import beside, scratch_folder
from aragora_persist.backup.names import is_packed
from aragora_persist.backup.verify import verify
from aragora_persist.databases import DATABASES
from aragora_persist.errors import ConflictError, DamagedError, NotFoundError, PersistError, StorageError
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.files import is_there, resolve
from aragora_persist.storage.sqlite.readonly import open_unchanging
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.backup.verify import Verification
    from aragora_persist.settings import Settings

_OPERATION = "restore"
_OTHERS = "take another copy, or a backup: aragora-persist backups"
_WITHOUT_LOG = (
    "it is a copy of a database in WAL mode, without a -wal beside it: if somebody had the database open when it was "
    "copied, its last transactions are not in the copy"
)
_HEADER_BYTES = 100
_SQLITE = b"SQLite format 3\0"
_WAL_MODE = b"\x02\x02"
_FORMS = (
    (b"\x1f\x8b", "is compressed with gzip", "unpack it with gunzip, and restore what comes out"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "give it a name that ends in .zst, or unpack it with zstd -d"),
    (b"age-encryption.org/", "is encrypted with age", "give it a name that ends in .age, or .zst.age if it is both"),
    (b"PGDMP", "is a dump of PostgreSQL", "it belongs to Supabase, not to SQLite"),
    (b"PRAGMA foreign_keys=OFF;", "is SQL text (.dump), not a database", "sqlite3 NEW < it, then restore NEW"),
)
"""How files begin that are taken for databases, what they are, and the way out."""


@contextmanager
def opened_file(file: Path, database: str, settings: Settings) -> Iterator[tuple[Path, Verification, tuple[str, ...]]]:
    """Give a private copy of what ``file`` holds, what was found in it, and what there is to know of it.

    ``file`` must not be one that this process has open in SQLite.

    Raises:
        NotFoundError: there is no such file.
        ConflictError: it is a live database.
        DamagedError: it is no database, empty, cut off, torn or damaged; the hint names the way out.
        MigrationError: it is another database, or not one of this package.
        SchemaTooNewError: this release does not know its schema.
        StorageError: it cannot be read, or scratch space is too small for it.

    """
    place = resolve(file)
    if not is_there(place):
        raise NotFoundError(_OPERATION, file, "is not there", hint="aragora-persist backups lists those of the catalog")
    databases = (resolve(known.path(settings.nomic_dir)) for known in DATABASES)
    if any(known.exists() and place.samefile(known) for known in databases):  # a hard link is one too
        raise ConflictError(_OPERATION, file, "is a live database, not a copy of one", hint="name the copy to restore")
    with scratch_folder("aragora-handmade-") as scratch:
        copy = scratch / f"{database}.db"
        try:
            notes = _taken(place, copy, settings)
            found = _examined(copy, place, database)
        except OSError as error:
            raise StorageError(_OPERATION, place, f"cannot be read: {error.strerror or error}") from error
        except PersistError as error:
            raise _explained(error, place, database) from error.__cause__
        yield copy, found, notes


def _taken(place: Path, copy: Path, settings: Settings) -> tuple[str, ...]:
    """Copy what is committed in the file into one file in rollback mode; return what it lacks."""
    if is_packed(place.name):
        unpack(place, copy, identity_file=settings.backup_identity_file)
        _refuse_form(copy, place)
        return ()
    _refuse_form(place, place)
    notes = _missing_log(place)
    copy_into(place, copy, timeout_s=settings.db_timeout_s)
    return notes


def _missing_log(place: Path) -> tuple[str, ...]:
    with place.open("rb") as file:
        in_wal_mode = file.read(20).endswith(_WAL_MODE)
    return (_WITHOUT_LOG,) if in_wal_mode and not beside(place, "-wal").exists() else ()


def _refuse_form(path: Path, place: Path) -> None:
    """Raise if the file is not even the beginning of a database, or is shorter than it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not size:
        raise DamagedError(_OPERATION, place, "is empty: what made it did not come to its end", hint=_OTHERS)
    for beginning, problem, hint in _FORMS:
        if header.startswith(beginning):
            raise DamagedError(_OPERATION, place, problem, hint=hint)
    if not header.startswith(_SQLITE) or len(header) < _HEADER_BYTES:
        raise DamagedError(_OPERATION, place, "is not a SQLite database", hint=_OTHERS)
    number = int.from_bytes
    page_bytes = number(header[16:18], "big")
    full = number(header[28:32], "big") * (65536 if page_bytes == 1 else page_bytes)
    # The header tells the size only where the same write set both counters (the file format, section 1.3.7). What a log
    # beside it adds is not in the file yet.
    told = header[24:28] == header[92:96] and not beside(place, "-wal").exists()
    if told and size < full:
        problem = f"is cut off: {size_text(size)} of {size_text(full)} are there"
        raise DamagedError(_OPERATION, place, problem, hint=_OTHERS)


def _examined(path: Path, place: Path, database: str) -> Verification:
    """Return what a file holds that is sound, and that the migrations of ``database`` made; ``place`` is its name."""
    from aragora_persist.migrations.standing import Expected, Refused  # noqa: PLC0415 - brings the migrations

    found = verify(path)
    if not found.content.tables:
        problem = "holds no table: what made it did not come to its end, or it was never in use"
        raise DamagedError(_OPERATION, place, problem, hint=_OTHERS)
    with closing(open_unchanging(path)) as connection:
        try:
            Expected(place, database, None).judge(connection)
        except Refused as refused:
            if refused.state != "newer":  # whether this release can work with it is decided for all origins alike
                raise refused.error from None
    return found


def _explained(error: PersistError, place: Path, database: str) -> PersistError:
    """Return the error that names the file as the user did, and the way out that there is."""
    wal = beside(place, "-wal")
    if wal.exists() and _is_sound_alone(place, database):
        problem = f"does not belong to the -wal beside it: with that, it {error.problem}"
        return DamagedError(_OPERATION, place, problem, hint=f"move {wal} away, then repeat")
    problem, hint = error.problem, error.hint
    if isinstance(error, DamagedError) and error.operation != _OPERATION and not is_packed(place.name):
        problem = f"is a torn or damaged copy: {problem}"
        hint = f"{_OTHERS}; or save what is in it: aragora-persist recover {database} --from {place}"
    if "--adopt" in hint:
        hint = f"take it over: aragora-persist migrate --adopt --db {database} --from {place}"
    return type(error)(_OPERATION, place, problem, hint=hint)


def _is_sound_alone(place: Path, database: str) -> bool:
    try:
        _examined(place, place, database)
    except PersistError:
        return False
    return True
