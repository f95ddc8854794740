"""Salvaging a damaged database without a backup of it: every row that can still be read, into a new file.

SQLite stops at the first damaged page. Here each page is read by itself: what a tree still leads to, then what nothing
leads to any more where it fits into a gap. Rows that their table refuses go to ``lost_and_found``, and the report says
what is missing. The damaged file is only read. Leaves out: putting the result in its place (``restore``), and the
tables that are stored as an index (WITHOUT ROWID) or by an extension, of which this tier has none.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import SIDE_FILES, beside, clean_partials, make_directory, partial
from aragora_persist.backup.recover.pages import Pages
from aragora_persist.backup.recover.report import Report
from aragora_persist.backup.recover.salvage import Salvage
from aragora_persist.backup.recover.schema import Known
from aragora_persist.backup.recover.target import Target
from aragora_persist.backup.verify import verify
from aragora_persist.errors import BusyError, ConflictError, DamagedError, NotFoundError, StorageError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_there

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OPERATION = "recover"
_ATTEMPTS = 3
_NOT_ROLLED_BACK = "its rollback journal cannot be applied: a transaction that was never finished may be half in it"
_JOURNAL = bytes.fromhex("d9d505f920a163d7")
_COPY = "import shutil, sys; [shutil.copyfile(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2])]"


def recover(
    source: Path, target: Path, database: str | None, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Report:
    """Salvage the rows of ``source`` into the new file ``target``, which is sound and on the disk when this returns.

    ``database`` names whose migrations give the schema where the file's own cannot be read; None: there are none. The
    source's folder may be read-only. Needs room beside ``target`` for two copies. ``progress`` is told pages.

    Raises:
        NotFoundError: there is no source.
        ConflictError: ``target`` exists; it is untouched.
        DamagedError: nothing of the source can be read.
        BusyError: others write to it.
        StorageError: a file cannot be read or written.

    """
    if not is_there(source):
        hint = "name the file with --from; or restore a backup: aragora-persist restore DB"
        raise NotFoundError(_OPERATION, source, "does not exist", hint=hint)
    if taken := next((path for ending in ("", *SIDE_FILES) if (path := beside(target, ending)).exists()), None):
        raise ConflictError(_OPERATION, taken, "exists and is not overwritten", hint="name another file with --to")
    try:
        make_directory(target.parent)
        clean_partials(target.parent)
        with partial(target) as copy, partial(target) as made:
            _copy(source, copy.path)
            notes = _roll_back(copy.path)
            report = _salvage(source, copy.path, target, made.path, Known.of(database), progress, notes)
            made.publish(target, operation=_OPERATION)
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, target) from error
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise StorageError(
            _OPERATION, target, problem, hint="free some space, or name another place with --to"
        ) from error
    return report


def _salvage(
    source: Path,
    copy: Path,
    target: Path,
    made: Path,
    known: Known,
    progress: Callable[[int, int], None],
    notes: tuple[str, ...],
) -> Report:
    with ExitStack() as stack:
        pages = stack.enter_context(closing(Pages(copy)))
        new = stack.enter_context(closing(Target(made, page_size=pages.page_size, encoding=pages.encoding)))
        salvage = Salvage(pages, new, known, progress)
        tables = salvage.run()
        new.finish(user_version=pages.user_version, application_id=pages.application_id)
        set_aside = new.set_aside.total()
    if not set_aside and not any(table.rows for table in tables) and not salvage.found_schema:
        raise DamagedError(_OPERATION, source, "holds nothing that can be read", hint="is this the right file?")
    content = verify(made).content
    return Report(
        source=source,
        target=target,
        schema=salvage.schema,
        schema_version=content.schema_version,
        tables=tables,
        set_aside=set_aside,
        lost_and_found=new.lost_and_found,
        deleted=salvage.deleted,
        notes=(*notes, *salvage.notes),
    )


def _copy(source: Path, copy: Path) -> None:
    """Copy the file and its logs to a place of ours, while neither changes.

    In a process of its own: in this one, closing the file would end the locks of who has it open in SQLite.
    """
    for _ in range(_ATTEMPTS):
        before = _stamps(source)
        pairs = [str(path) for ending in before for path in (beside(source, ending), beside(copy, ending))]
        command = [sys.executable, "-I", "-S", "-c", _COPY, *pairs]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise StorageError(
                _OPERATION, source, f"cannot be copied: {reason}", hint="it needs room beside the target"
            )
        if _stamps(source) == before:
            return
    raise BusyError(_OPERATION, source, "changed while it was copied", hint="stop what writes to it, then repeat")


def _roll_back(copy: Path) -> tuple[str, ...]:
    """Have SQLite undo the transaction that a rollback journal says was never finished; return what is to be noted."""
    journal = beside(copy, "-journal")
    if not journal.exists():
        return ()
    with suppress(*DRIVER_ERRORS), closing(sqlite3.connect(copy)) as connection:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    if journal.exists():
        with journal.open("rb") as file:
            if file.read(len(_JOURNAL)) == _JOURNAL:
                return (_NOT_ROLLED_BACK,)
    return ()


def _stamps(source: Path) -> dict[str, tuple[int, int]]:
    """Return which of the file and its logs are there, with what changes when they are written to."""
    found = {}
    for ending in ("", "-wal", "-journal"):
        with suppress(FileNotFoundError):
            state = beside(source, ending).stat()
            found[ending] = (state.st_size, state.st_mtime_ns)
    return found
