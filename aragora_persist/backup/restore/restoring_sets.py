"""Restoring all databases of one run together, so that they are of one time.

Every backup is unpacked, compared, migrated if asked, and lies beside its database before the first one is exchanged: a
failure until then changes nothing. From then on there is no way back but forward: killed, or held up by another
program's transaction, the rest is completed by the next ``restore``, or by whoever opens such a database next
(``intent``). Leaves out: which backups belong together (``sets``).
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.files import locked, partial
from aragora_persist.backup.restore.candidates import Candidate, made_candidate
from aragora_persist.backup.restore.exchange import connect, make_ready, own_like, refuse_holders, takes_pages_of
from aragora_persist.backup.restore.intent import (
    Intent,
    complete,
    declare_together,
    new_mark,
    put_mark,
    withdraw_pending,
)
from aragora_persist.backup.restore.origins import opened_entry
from aragora_persist.backup.restore.restoring import (
    RestoreResult,
    Way,
    is_equal,
    refuse_taken,
    replaced_name,
    settle,
    staged_name,
    writing_to,
)
from aragora_persist.backup.restore.room import refuse_without_room, room_to_write_into
from aragora_persist.backup.restore.sets import BackupSet, choose_set
from aragora_persist.databases import find_database
from aragora_persist.errors import ConflictError, NotFoundError, PersistError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_being_restored, resolve

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.files import Partial
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

_OPERATION = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """What was done: which set it was, and what became of each of its databases."""

    chosen: BackupSet
    results: tuple[RestoreResult, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One database of the set: what is restored, in a private copy that is already where it is needed."""

    entry: BackupEntry
    candidate: Candidate
    copy: Partial
    target: Path


def restore_all(
    settings: Settings,
    *,
    at: datetime | None = None,
    run: str | None = None,
    to: Path | None = None,
    migrate: bool = False,
) -> SetResult:
    """Restore the backups of the newest whole run, of the newest that was over at ``at``, or of the one named.

    With ``to`` they become new files in that folder; otherwise the live databases. A database that has no backup in
    that run stays as it is, and is named.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: the run lacks a database and was not named; a file in ``to`` exists; or the databases lie in
            several folders.
        BusyError: another process holds a transaction, a lock or the folder for longer than ``DB_TIMEOUT``. Where this
            comes after the first exchange, the error says so, and the rest is completed later.
        PersistError: as ``restore.restore``; nothing was changed.

    """
    entries, chosen = _chosen(settings, at, run)
    folder = resolve(settings.nomic_dir if to is None else to)
    targets = {entry.id: resolve(find_database(entry.database).path(folder)) for entry in chosen.entries}
    if to is not None:
        for target in targets.values():
            refuse_taken(target)
    elif others := sorted({str(target.parent) for target in targets.values()} - {str(folder)}):
        hint = "restore them one by one, or with --to into a new folder"
        raise ConflictError(_OPERATION, folder, f"databases lie in other folders: {', '.join(others)}", hint=hint)
    with ExitStack() as stack:
        stack.enter_context(writing_to(folder))
        refuse_without_room(folder, sum(entry.plain_size_bytes for entry in chosen.entries))
        parts = [
            _prepared(stack, entry, targets[entry.id], settings, live=to is None, migrate=migrate)
            for entry in chosen.entries
        ]
        results = _published(parts) if to else _exchanged(parts, folder, settings)
    return SetResult(chosen=chosen, results=results, notes=tuple(_notes(entries, chosen)))


def _chosen(settings: Settings, at: datetime | None, run: str | None) -> tuple[tuple[BackupEntry, ...], BackupSet]:
    """Choose among the backups of the catalog; where it has no such run, among those off-site."""
    entries = Catalog(settings.backup_dir).read().backups
    try:
        return entries, choose_set(entries, at=at, run=run)
    except NotFoundError:
        if not settings.offsite_url:
            raise
    from aragora_persist.backup.offsite import remote_entries  # noqa: PLC0415 - only where something is off-site

    entries = remote_entries(settings)
    return entries, choose_set(entries, at=at, run=run)


def _prepared(
    stack: ExitStack, entry: BackupEntry, target: Path, settings: Settings, *, live: bool, migrate: bool
) -> _Part:
    """Make the private copy of one database beside its target, and read it back."""
    with (
        opened_entry(entry, settings) as origin,
        made_candidate(origin, entry.database, live=target if live else None, migrate=migrate) as candidate,
    ):
        copy = stack.enter_context(partial(staged_name(target) if live else target))
        candidate.write_to(copy.path)
    return _Part(entry=entry, candidate=candidate, copy=copy, target=target)


def _published(parts: list[_Part]) -> tuple[RestoreResult, ...]:
    for part in parts:
        part.copy.publish(part.target, operation=_OPERATION)
    return tuple(_result(part, Way.NEW_FILE, None, equal=True) for part in parts)


def _exchanged(parts: list[_Part], folder: Path, settings: Settings) -> tuple[RestoreResult, ...]:
    timeout_s = settings.db_timeout_s
    with locked(folder, timeout_s=timeout_s, operation=_OPERATION):
        for part in parts:
            settle(part.target, timeout_s)
        ways = {part.target: _way(part, timeout_s) for part in parts}
        _refuse_without_room(parts, ways, folder)
        _declare(parts, ways, folder)
        kept = _complete(parts, timeout_s)
        return tuple(
            _result(
                part,
                ways[part.target],
                kept[part.target],
                equal=ways[part.target] is Way.IN_PLACE or is_equal(part.candidate, part.target, timeout_s),
            )
            for part in parts
        )


def _way(part: _Part, timeout_s: float) -> Way:
    """Say how this database will be exchanged; who would prevent it is found here, while nothing has changed."""
    if not takes_pages_of(part.copy.path, part.target, timeout_s=timeout_s):
        refuse_holders(part.target, timeout_s)
        return Way.IN_PLACE
    try:
        with closing(connect(part.target, timeout_s)) as live:
            make_ready(live, part.target)
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, part.target) from error
    return Way.INTO


def _refuse_without_room(parts: list[_Part], ways: dict[Path, Way], folder: Path) -> None:
    into = (part for part in parts if ways[part.target] is Way.INTO)
    refuse_without_room(folder, sum(room_to_write_into(part.candidate.known.size_bytes, part.target) for part in into))


def _declare(parts: list[_Part], ways: dict[Path, Way], folder: Path) -> None:
    """Give the copies their names and write the notes; at the end of this the set is as good as restored."""
    intents = []
    try:
        for part in parts:
            place = staged_name(part.target)
            mark = new_mark() if ways[part.target] is Way.INTO else 0
            if mark:
                put_mark(part.copy.path, mark)
            own_like(part.copy.path, part.target)
            part.copy.publish(place, operation=_OPERATION)
            own = part.candidate.application_id
            intent = Intent(place.name, replaced_name(part.target).name, mark, application_id=own)
            intents.append((part.target, intent))
        declare_together(folder, intents)
    except BaseException:
        withdraw_pending(folder)
        for part in parts:
            if not is_being_restored(part.target):  # a note that stands counts, and will be completed
                staged_name(part.target).unlink(missing_ok=True)
        raise


def _complete(parts: list[_Part], timeout_s: float) -> dict[Path, Path | None]:
    kept: dict[Path, Path | None] = {}
    for part in parts:
        try:
            kept[part.target] = complete(part.target, timeout_s=timeout_s)
        except BaseException as error:
            done = ", ".join(one.entry.database for one in parts if one.target in kept) or "none"
            left = ", ".join(one.entry.database for one in parts if one.target not in kept)
            told = f"restored so far: {done}; still to come: {left}, when they are opened next, or by the same command"
            if isinstance(error, PersistError):
                error.hint = f"{told}; {error.hint}"
            else:
                error.add_note(told)
            raise
    return kept


def _result(part: _Part, way: Way, replaced: Path | None, *, equal: bool) -> RestoreResult:
    return RestoreResult(
        database=part.entry.database,
        source=part.entry.id,
        entry=part.entry,
        moment=part.entry.created_at,
        target=part.target,
        way=way,
        replaced=replaced,
        equal=equal,
        migrated=part.candidate.migrated,
        notes=part.candidate.notes,
    )


def _notes(entries: tuple[BackupEntry, ...], chosen: BackupSet) -> list[str]:
    """Say which databases the set does not hold, and what is newer than it."""
    notes = [f"{name} has no backup in this run, and was left as it is" for name in chosen.absent]
    last = max(entries.index(entry) for entry in chosen.entries)
    newer = [entry.id for entry in entries[last + 1 :] if entry.run != chosen.run]
    if newer:
        notes.append(f"newer backups were not restored: {', '.join(newer[-5:])}")
    return notes
