"""Drills: the newest backup of each database is restored into scratch space, compared, and read through its stores.

A backup that was never restored is a hope. What came of a drill, and how long the restore took, is a line of the
catalog. Leaves out: when to do it (``sidecar``), and the live databases, which a drill never touches.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.files import make_directory, scratch_folder
from aragora_persist.backup.names import SUPABASE, is_packed
from aragora_persist.backup.records import Drill
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.backup.verify import verify
from aragora_persist.databases import find_database
from aragora_persist.errors import DamagedError, PersistError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.redaction import redact
from aragora_persist.wording import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.backup.verify import Content
    from aragora_persist.databases import StoreName
    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Backend

SCRATCH = "aragora-drill-"
"""How the folders of drills in scratch space begin."""

_OPERATION = "drill"
_TAKE_ANOTHER = "take another one: aragora-persist backup"
_LIVE_TOO = "the live database holds the same rows: look there"
_NOTHING = "none"


def drill(settings: Settings, databases: Iterable[str] | None = None, *, offsite: bool = False) -> Iterator[Drill]:
    """Restore the newest backup of these databases, or of all that have one, and yield what came of each.

    With ``offsite``, from there and with nothing of this machine but the identity. A drill that fails is recorded too,
    with its problem, and does not stop the others.

    Raises:
        StorageError: a drill cannot be recorded.
        PersistError: with ``offsite``, what is there cannot be listed.

    """
    without = way_to_one(settings, offsite=offsite)
    with _source(settings, offsite=offsite) as (source, newest):
        for database in sorted(newest) if databases is None else databases:
            report(database)
            result = _try(database, newest.get(database), source, offsite=offsite, without=without)
            _record(result, settings)
            yield result


def way_to_one(settings: Settings, *, offsite: bool) -> str:
    """Return the way out where there is no backup to drill."""
    if offsite:
        return "aragora-persist backup, then aragora-persist backups --ship"
    if settings.offsite_url:
        return "aragora-persist backup; what is off-site: aragora-persist drill --offsite"
    return "aragora-persist backup"


@contextmanager
def _source(settings: Settings, *, offsite: bool) -> Iterator[tuple[Settings, Mapping[str, BackupEntry]]]:
    """Give settings that know one place of backups alone, and the newest one of each database there."""
    state = Catalog(settings.backup_dir).read()
    if not offsite:
        # The last in the catalog, damaged or not: one that is missing here is not to be made up for from elsewhere.
        yield replace(settings, offsite_url=""), {entry.database: entry for entry in state.backups}
        return
    from aragora_persist.backup.offsite import remote_entries, shipped  # noqa: PLC0415 - only where something is off-site

    # What was shipped must be there: one that got lost since is not to be made up for by an older one.
    ids = shipped(state, settings)
    known = (entry for entry in state.backups if entry.id in ids)
    entries = sorted((*known, *remote_entries(settings)), key=lambda entry: entry.created_at)
    with scratch_folder(SCRATCH) as empty:
        yield replace(settings, backup_dir=empty), {entry.database: entry for entry in entries}


def _try(database: str, entry: BackupEntry | None, settings: Settings, *, offsite: bool, without: str) -> Drill:
    at, started, problem = times.utc_now(), time.monotonic(), ""
    try:
        if entry is None:
            problem = f"there is no backup of it ({without})"
        else:
            _restore(entry, settings)
    except PersistError as error:
        problem = _problem_of(error, entry)
    return Drill(
        backup=entry.id if entry else "",
        database=database,
        at=at,
        ok=not problem,
        seconds=round(time.monotonic() - started, 3),
        source="offsite" if offsite else "local",
        problem=problem,
    )


def _problem_of(error: PersistError, entry: BackupEntry | None) -> str:
    what = "" if entry and error.target == entry.id else f"{error.target}: "
    return redact(f"{what}{error.problem}{f' ({error.hint})' if error.hint else ''}")


def _restore(entry: BackupEntry, settings: Settings) -> None:
    try:
        _refuse_without_room(entry, settings)
        with opened_backup(entry, settings) as plain:
            if entry.database == SUPABASE:
                from aragora_persist.backup import supabase  # noqa: PLC0415 - needs the client programs of a server

                supabase.drill(plain, entry, settings)
                return
            with scratch_folder(SCRATCH) as scratch:
                _prove(plain, entry, scratch, settings)
    except OSError as error:
        problem = f"scratch space cannot be written: {error.strerror or error}"
        raise StorageError(_OPERATION, entry.id, problem, hint="set TMPDIR to a folder with more room") from error


def _refuse_without_room(entry: BackupEntry, settings: Settings) -> None:
    """Raise before anything is fetched, unpacked or copied: live databases may be on the disk that would be full."""
    comes = settings.offsite_url and not (settings.backup_dir / entry.file).exists()
    needed = (entry.size_bytes if comes else 0) + entry.plain_size_bytes * (2 if is_packed(entry.file) else 1)
    scratch = Path(tempfile.gettempdir())
    if (free := shutil.disk_usage(scratch).free) < needed:
        problem = f"scratch space {scratch} has no room for it: {size_text(needed)}, and {size_text(free)} free"
        raise StorageError(_OPERATION, entry.id, problem, hint="set TMPDIR to a folder with more room")


def _prove(plain: Path, entry: BackupEntry, scratch: Path, settings: Settings) -> None:
    """Make a database of the file in ``scratch``, as a restore would, and read it as a service would."""
    from aragora_persist.migrations import runner  # noqa: PLC0415 - a sidecar's schedule needs none of it

    known = find_database(entry.database)
    copy = known.path(scratch)
    shutil.copyfile(plain, copy)
    found = verify(copy).content
    if found != entry.content:
        raise DamagedError(_OPERATION, entry.id, _difference(found, entry.content), hint=_TAKE_ANOTHER)
    private = replace(settings, nomic_dir=scratch, backup_dir=scratch / "backups")
    runner.migrate(copy, known.name, backup=False, settings=private)
    for store in known.stores:
        _read(store, entry, private)


def _difference(found: Content, expected: Content) -> str:
    """Say in which way a restored database is not what its entry says; the first table stands for all."""
    for name in sorted({*found.tables, *expected.tables}):
        one, other = found.tables.get(name), expected.tables.get(name)
        if one is None or other is None:
            return f"the table {name} is {'missing' if one is None else 'not in the catalog'}"
        if one.rows != other.rows:
            return f"the table {name} has {count_text(one.rows, 'row')}, and had {other.rows:,}"
        if one != other:
            return f"rows of the table {name} are not what they were"
    return "its schema version or its references are not what they were"


def _read(store: StoreName, entry: BackupEntry, settings: Settings) -> None:
    """Read rows as a service does. Whatever goes wrong there is what the drill has found out."""
    from aragora_persist.storage.sqlite.engine import open_engine  # noqa: PLC0415 - as above

    what = f"{store.cls}.{store.read}"
    cls = getattr(import_module(f"aragora_persist.{store.module}"), store.cls)
    try:
        with closing(open_engine(None, entry.database, settings=settings)) as database:
            getattr(cls(database, settings=settings), store.read)(**_argument_of(store, database))
    except PersistError as error:
        raise DamagedError(_OPERATION, entry.id, f"{what} fails on it: {error.problem}", hint=_LIVE_TOO) from error
    except Exception as error:  # its text may hold a row's values
        problem = f"{what} fails on it: {type(error).__name__}"
        raise DamagedError(_OPERATION, entry.id, problem, hint=_LIVE_TOO) from error


def _argument_of(store: StoreName, database: Backend) -> dict[str, object]:
    """Return the argument that a store's read takes, from a row where there is one."""
    if not store.read_by:
        return {}
    table, _, column = store.read_by.partition(".")
    with database.read(_OPERATION) as view:
        row = view.one(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1")  # noqa: S608 - the registry's names
    return {column: row[0] if row else _NOTHING}


def _record(result: Drill, settings: Settings) -> None:
    try:
        make_directory(settings.backup_dir)
        with Catalog(settings.backup_dir).writing(timeout_s=settings.db_timeout_s) as writer:
            writer.add_drill(result)
    except OSError as error:
        problem = f"the drill cannot be recorded: {error.strerror or error}"
        raise StorageError(_OPERATION, settings.backup_dir, problem, hint="free some space or grant access") from error
