"""Adopting a database: compared with ours, brought to our one form, and put in its place; or refused, with all reasons.

The source is only read, from a private copy. What is made is a new file, with our migrations and our ledger. Leaves
out: what becomes of each table (``comparison``) and each row (``rows``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.files import SIDE_FILES, beside, clean_partials, locked, make_directory, partial
from aragora_persist.backup.restore.intent import finish_interrupted_restore
from aragora_persist.databases import find_database
from aragora_persist.errors import ConflictError, InvalidValueError, NotFoundError, StorageError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.adoption import is_foreign
from aragora_persist.migrations.adoption.build import Built, build
from aragora_persist.migrations.adoption.exchange import exchange
from aragora_persist.migrations.adoption.openers import refuse_openers, refuse_unfinished
from aragora_persist.migrations.adoption.report import Report
from aragora_persist.migrations.progress import no_progress
from aragora_persist.migrations.rehearsal import scratch_copy
from aragora_persist.migrations.standing import Expected
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.files import is_there, refuse_network, resolve
from aragora_persist.storage.sqlite.readonly import open_readonly

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from aragora_persist.migrations.progress import Progress

_OPERATION = "adopt"


def adopt(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    database: str,
    *,
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Make the database at ``path`` of the one at ``source``; the two may be the same file.

    Then the original is kept, as a snapshot among the backups and as the file itself, moved aside; otherwise the
    source stays as it is, and nothing may be at ``path``. ``dry_run`` changes nothing and reports the same. A database
    of this package is left as it is, and refused where it could not be migrated. ``progress`` is told what is done.

    Raises:
        NotAdoptableError: the source differs from what it would have to be; the error lists every difference.
        ConflictError: there is a database at ``path``, and it is not the source.
        NotFoundError: there is no source.
        InvalidValueError: it has no tables.
        MigrationError: it is a database of this package, and an edited one or that of another name.
        SchemaTooNewError: it is one of a newer release.
        DamagedError: it is not sound.
        BusyError: another process has the database at ``path`` open, or wrote to it meanwhile; or a transaction of
            the source is unfinished.
        StorageError: the new file cannot be written.

    """
    settings = settings or Settings.from_env()
    find_database(database)
    place, target = resolve(source), resolve(path)
    if not is_there(place):
        raise NotFoundError(_OPERATION, place, "is not there", hint="name the file that is to be adopted")
    refuse_unfinished(place)
    if dry_run:
        return _rehearse(place, target, database, settings, progress)
    try:
        make_directory(target.parent)
        refuse_network(target)
        finish_interrupted_restore(target, timeout_s=settings.db_timeout_s)
        with locked(target.parent, timeout_s=settings.db_timeout_s, operation=_OPERATION):
            clean_partials(target.parent)
            return _adopt(place, target, database, settings, progress)
    except OSError as error:
        raise StorageError(_OPERATION, target, f"cannot be written: {error.strerror or error}") from error


def _rehearse(place: Path, target: Path, database: str, settings: Settings, progress: Progress) -> Report:
    """Build in scratch space, where it is removed."""
    _refuse_taken(place, target)
    with scratch_copy(place) as copy:
        if not _needs_adoption(copy, place, database):
            return _nothing_to_do(place, target, database, dry_run=True)
        built = build(copy, place, copy.with_name(f"{copy.name}.adopted"), database, settings, progress)
        built.findings.refuse(place)
    return _report(built, place, target, database, dry_run=True)


def _adopt(place: Path, target: Path, database: str, settings: Settings, progress: Progress) -> Report:
    _refuse_taken(place, target)
    with scratch_copy(place) as copy:
        if not _needs_adoption(copy, place, database):
            return _nothing_to_do(place, target, database, dry_run=False)
        if place == target:
            refuse_openers(target)  # once more before the exchange: here it spares the work
        with partial(beside(target, ".adopted")) as new:
            built = build(copy, place, new.path, database, settings, progress)
            built.findings.refuse(place)
            if place == target:
                kept = exchange(copy, target, new, database, settings)
                return _report(built, place, target, database, snapshot=kept.snapshot, replaced=kept.replaced)
            new.publish(target, operation=_OPERATION)
    return _report(built, place, target, database)


def _refuse_taken(place: Path, target: Path) -> None:
    if place == target:
        return
    if found := next((path for ending in ("", *SIDE_FILES) if (path := beside(target, ending)).exists()), None):
        hint = "move it away if nothing of it is needed, or name another folder"
        raise ConflictError(_OPERATION, found, "exists and is not overwritten", hint=hint)


def _needs_adoption(copy: Path, place: Path, database: str) -> bool:
    """Say whether the database is another program's.

    Raises:
        InvalidValueError: it has no tables.
        PersistError: it is ours, and none that this release can migrate: newer, edited, or of another name.

    """
    with open_readonly(copy) as connection:
        if is_foreign(connection):
            return True
        if not ledger.read(connection):
            raise InvalidValueError(_OPERATION, place, "has no tables", hint="name the file that has them")
        Expected(place, database, None).pending(connection)
    return False


def _nothing_to_do(place: Path, target: Path, database: str, *, dry_run: bool) -> Report:
    if place != target:
        problem = "is a database of this package: there is nothing to adopt"
        raise InvalidValueError(_OPERATION, place, problem, hint="copy it with aragora-persist backup and restore")
    return Report(
        database=database,
        source=place,
        path=target,
        origin="a database of this package",
        tables=(),
        converted={},
        notes=(),
        dry_run=dry_run,
        changed=False,
    )


def _report(
    built: Built,
    place: Path,
    target: Path,
    database: str,
    *,
    dry_run: bool = False,
    snapshot: Path | None = None,
    replaced: Path | None = None,
) -> Report:
    return Report(
        database=database,
        source=place,
        path=target,
        origin=built.origin,
        tables=built.tables,
        converted=built.findings.converted,
        notes=built.findings.notes,
        dry_run=dry_run,
        changed=not dry_run,
        snapshot=snapshot,
        replaced=replaced,
    )
