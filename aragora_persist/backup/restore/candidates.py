"""What is about to become a database: of a schema that fits, migrated if that was asked for, with its content known.

All of it happens on copies, before anything is touched. Leaves out: where it comes from (``origins``), and where it
goes (``restore``).
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.backup.files import scratch_folder
from aragora_persist.backup.verify import Content, Verification, file_sha256, verify
from aragora_persist.errors import (
    DamagedError,
    PersistError,
    SchemaOutdatedError,
    SchemaTooNewError,
)
from aragora_persist.migrations import ledger
from aragora_persist.migrations.folder import latest_version
from aragora_persist.migrations.progress import report
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.version import VERSION
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.backup.restore.origins import Origin
    from aragora_persist.migrations.plan import Applied

_OPERATION = "restore"
_HEADER_BYTES = 100
_COUNTED = ((18, 20), (24, 28), (40, 44), (92, 100))
"""Where the header of a database says its mode, and counts its changes (the file format, section 1.3)."""
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A sound database file that nobody writes to, and what is known of it."""

    path: Path
    known: Verification
    header: bytes
    migrated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def application_id(self) -> int:
        """The number that says whose the file is; 0 for nobody's."""
        return int.from_bytes(self.header[68:72], "big", signed=True)

    def write_to(self, path: Path) -> None:
        """Copy it to ``path``, and compare every byte: what was examined may have changed since.

        Raises:
            DamagedError: the copy is not the same.

        """
        report("copying it")
        shutil.copyfile(self.path, path)
        report("comparing the copy")
        if file_sha256(path) != self.known.sha256:  # the same bytes have the same rows
            raise DamagedError(_OPERATION, self.path, "changed while it was copied", hint="repeat")

    def has_the_pages_of(self, path: Path) -> bool:
        """Say whether another database file, to which nobody writes, is the same but for what its header counts."""
        if path.stat().st_size != self.known.size_bytes:
            return False
        with path.open("rb") as file:
            header = bytearray(file.read(_HEADER_BYTES))
            for first, last in _COUNTED:
                header[first:last] = self.header[first:last]
            digest = hashlib.sha256(header)
            while data := file.read(_AT_ONCE):
                digest.update(data)
        return digest.hexdigest() == self.known.sha256


def _header_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


@contextmanager
def made_candidate(origin: Origin, database: str, *, live: Path | None, migrate: bool) -> Iterator[Candidate]:
    """Give what is to be restored over the database ``live``; None: to a new file.

    Raises:
        SchemaOutdatedError: its schema is older than that of ``live``, and ``migrate`` is False.
        SchemaTooNewError: its schema is too new for this release.
        MigrationError: a migration was refused or failed.
        DamagedError: it is not sound.

    """
    applied = _ledger(origin.path)
    if not ledger.readable_by(applied, VERSION):
        problem = f"has schema {len(applied)}, which needs release {applied[-1].min_reader} (this is {VERSION})"
        raise SchemaTooNewError(_OPERATION, origin.name, problem, hint="upgrade aragora-persist, then repeat")
    if migrate and len(applied) < latest_version(database):
        with _migrated(origin, database) as candidate:
            yield candidate
        return
    if live is not None:
        _refuse_going_back(origin, len(applied), live)
    known = origin.known or verify(origin.path)
    notes = (*origin.notes, *_notes(known.content, database))
    yield Candidate(path=origin.path, known=known, header=_header_of(origin.path), notes=notes)


def _notes(content: Content, database: str) -> Iterator[str]:
    if content.foreign_key_violations:
        yield f"{count_text(content.foreign_key_violations, 'row')} of it refer to nothing"
    version, latest = content.schema_version, latest_version(database)
    if version is not None and version < latest:
        yield f"its schema is version {version} of {latest}: aragora-persist migrate --db {database}"


def _refuse_going_back(origin: Origin, version: int, live: Path) -> None:
    """Raise if services that run on the live database's schema would find an older one under them."""
    try:
        newer = version < len(_ledger(live)) if version and live.exists() else False
    except PersistError:  # it cannot be read: nobody works with it
        return
    if newer:
        problem = f"has schema {version}, older than that of {live}"
        hint = f"add --migrate; or write it elsewhere with --to, and look at it there (release {VERSION})"
        raise SchemaOutdatedError(_OPERATION, origin.name, problem, hint=hint)


def _ledger(path: Path) -> tuple[Applied, ...]:
    """Return the migrations that a file has had; none for one that is not ours."""
    from aragora_persist.migrations.adoption import is_foreign  # noqa: PLC0415 - brings importlib

    try:
        with open_readonly(path) as connection:
            return () if is_foreign(connection) else ledger.read(connection)
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, path) from error


@contextmanager
def _migrated(origin: Origin, database: str) -> Iterator[Candidate]:
    """Give a private copy that has had every migration of this release."""
    from aragora_persist.migrations.apply import apply_pending  # noqa: PLC0415 - only a migration needs it
    from aragora_persist.migrations.rehearsal import blaming  # noqa: PLC0415 - as above
    from aragora_persist.migrations.standing import Expected  # noqa: PLC0415 - as above

    expected = Expected(Path(origin.name), database, None)
    with scratch_folder("aragora-migrated-") as scratch:
        copy = scratch / f"{database}.db"
        shutil.copyfile(origin.path, copy)
        with blaming(scratch):
            try:
                with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                    for pragma in ("journal_mode = WAL", "synchronous = OFF", "foreign_keys = ON"):
                        connection.execute(f"PRAGMA {pragma}")
                    expected.pending(connection)
                    done = apply_pending(connection, expected.migrations, origin.name, lambda: None, report)
                    connection.execute("PRAGMA journal_mode = DELETE")
            except DRIVER_ERRORS as error:
                raise translate(error, _OPERATION, origin.name) from error
        known, names = verify(copy), tuple(migration.name for migration in done)
        notes = (*origin.notes, *_notes(known.content, database))
        yield Candidate(path=copy, known=known, header=_header_of(copy), migrated=names, notes=notes)
