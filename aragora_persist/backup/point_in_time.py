"""Any moment that Litestream has shipped, restored to a file.

Leaves out: shipping (``litestream.sidecar``), and what becomes of the restored file (``restore``).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import beside, scratch_folder
from aragora_persist.backup.litestream.configuration import configuration, replica_place
from aragora_persist.backup.litestream.program import call, find_program, progress_of
from aragora_persist.backup.litestream.replica import Replica
from aragora_persist.databases import find_database
from aragora_persist.errors import NotFoundError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.settings import Settings

_OPERATION = "restore"


def restore_moment(database: str, at: datetime, target: Path, settings: Settings) -> datetime:
    """Write ``database`` as it was at ``at`` to the new file ``target``, and return the moment that it is of.

    That is when Litestream last looked at the database before ``at``, which it does every second: none after ``at`` is
    in the file, and all that were committed before that look began. A database that nobody wrote to since is of an
    earlier moment than was asked for. The file is one file in rollback mode; whether it is sound, the caller finds out.

    Raises:
        NotFoundError: nothing so early was shipped, or nothing at all.
        UnsupportedError: Litestream is not on this machine.
        InvalidValueError: it is not said where Litestream ships to, or it could never work.
        UnreachableError, AccessDeniedError: the server does not answer, or not to these keys.
        StorageError: Litestream failed.

    """
    path = find_database(database).path(settings.nomic_dir)
    place = replica_place(settings)
    program = find_program(_OPERATION)
    replica = Replica(database, settings)
    found = replica.newest_before(at)
    if found is None:
        begins = replica.begins()
        since = f"only from {times.to_text(begins)} on" if begins else "nothing yet"
        raise NotFoundError(_OPERATION, f"{place}/{database}", f"Litestream has shipped {since}")
    with scratch_folder("aragora-litestream-") as scratch:
        told = scratch / "litestream.yml"
        told.write_text(configuration({database: path}, settings), encoding="utf-8")
        transaction = f"{found.last:016x}"
        command = [program, "restore", "-no-expand-env", "-config", str(told), "-txid", transaction, "-o", str(target)]
        call(_OPERATION, [*command, str(path)], settings, progress=progress_of(beside(target, ".tmp")))
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, target) from error
    return replica.moment_of(found)
