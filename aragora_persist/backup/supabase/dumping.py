"""A dump of a Supabase database and what its tables held, both of one snapshot, while others write.

Leaves out: whether the dump can be restored (``restoring``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.supabase.content import LOCK_WAIT_MS, SCHEMAS, extensions, read_content, snapshot
from aragora_persist.backup.supabase.programs import KEPT_ALIVE, environment_of, find_programs, running
from aragora_persist.cloud.schema.connecting import connected, database_of
from aragora_persist.errors import UnsupportedError
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.supabase.programs import Programs
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Secret

_OPERATION = "dump supabase"
_TRANSACTION_POOLER = ":6543/"


class Dumped(NamedTuple):
    """What was dumped, and by which programs."""

    content: Content
    programs: Programs


def dump_into(path: Path, db_url: Secret) -> Dumped:
    """Dump the schemas of ``SCHEMAS`` into the file ``path`` and return what their tables held.

    Raises:
        UnsupportedError: the programs are missing or older than the server, or it is reached by a transaction pooler.
        AccessDeniedError: the password is wrong, or the role may not read a table.
        NotFoundError: there is no such database, or no table in it.
        BusyError: a table stayed locked.
        UnreachableError: the server does not answer, or went away.
        StorageError: the file cannot be written, or the program was killed.

    """
    place = refuse_transaction_pooler(db_url, _OPERATION)
    with connected(db_url) as (connection, _):
        programs = find_programs(connection.info.server_version // 10_000)
        try:
            needed = extensions(connection)
            with (
                snapshot(connection) as name,
                running(
                    _arguments(path, name, needed, programs), environment_of(db_url), operation=_OPERATION, target=place
                ),
            ):
                content = read_content(connection)
        except DRIVER_ERRORS as error:
            if connection.broken:
                raise  # whoever connected tells
            raise translate(error, _OPERATION, place) from None
    return Dumped(content, programs)


def refuse_transaction_pooler(db_url: Secret, operation: str) -> str:
    """Return ``host:port/database``, unless it is a pooler that gives each transaction another connection.

    Raises:
        UnsupportedError: it is, by the port that Supabase has for it.
        InvalidValueError: it is no URL of a database.

    """
    place = database_of(db_url)
    if _TRANSACTION_POOLER in place:
        problem = "is the transaction pooler, which gives each transaction another connection"
        hint = "use the URL of the session pooler (port 5432), or of the database itself"
        raise UnsupportedError(operation, place, problem, hint=hint)
    return place


def _arguments(path: Path, snapshot_name: str, needed: list[str], programs: Programs) -> list[str]:
    return [
        programs.path("pg_dump"),
        "--format=custom",
        "--compress=0",  # the backup as a whole is compressed, if so
        *(f"--schema={name}" for name in SCHEMAS),
        *(f'--extension="{name}"' for name in needed),
        f"--snapshot={snapshot_name}",
        f"--lock-wait-timeout={LOCK_WAIT_MS}",
        "--no-password",
        f"--file={path}",
        f"--dbname={KEPT_ALIVE}",
    ]
