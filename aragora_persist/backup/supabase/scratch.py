"""A PostgreSQL server of one's own, in scratch space, for as long as a block runs.

It listens on a socket in a folder that only this user can enter, and on no network. It is gone after the block, and
after a kill of this process too: a guard waits on a pipe for this process' end, then stops the server and removes the
folder. What it holds needs to survive nothing, so it waits for no disk.
Leaves out: what is restored into it (``restoring``).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from aragora_persist.backup.files import scratch_folder
from aragora_persist.backup.supabase.programs import bare_environment, reported, running
from aragora_persist.errors import PersistError, StorageError, UnsupportedError
from aragora_persist.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from aragora_persist.backup.supabase.programs import Programs

OWNER = "aragora_scratch"
"""Its superuser: no role of a project."""

_PREFIX = "aragora-pg-"
_OPERATION = "start scratch server"
_LOG = "log"
_PORT = 5432
_LONGEST_PLACE = 107 - len(f"/aragora-pg-xxxxxxxx/.s.PGSQL.{_PORT}")
"""Of a socket's whole path a system takes 107 bytes; some take fewer, and then the server says so."""
_CONFIGURATION = """
listen_addresses = ''
unix_socket_permissions = 0700
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 64MB
min_wal_size = 2MB
autovacuum = off
jit = off
shared_buffers = 32MB
maintenance_work_mem = 32MB
max_connections = 10
# A container's shared memory is small.
dynamic_shared_memory_type = mmap
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
lc_messages = 'C'
# What it logs beyond this would hold rows.
log_min_messages = fatal
log_min_error_statement = panic
"""
_GUARD = 'cat >/dev/null; "$1" --pgdata="$2/data" --mode=immediate --silent stop; rm -rf "$2"'


@contextmanager
def scratch_server(programs: Programs) -> Iterator[Secret]:
    """Start an empty server and give the address of its one database, for its superuser.

    Raises:
        UnsupportedError: no server can be started by this user.
        StorageError: scratch space (TMPDIR) is too small, or no place for a server.

    """
    refuse_place()
    with scratch_folder(_PREFIX) as folder, _guarded(folder, programs):
        _start(folder, programs)
        # Whatever the user's own variables say of other servers.
        place = f"host={quote(str(folder), safe='')}&hostaddr=&port={_PORT}&options="
        yield Secret(f"postgresql:///postgres?{place}&user={OWNER}")


def refuse_place() -> None:
    """Refuse what no server can be started by or in, before anything was done for it.

    Raises:
        UnsupportedError: this user is root, as whom no server starts.
        StorageError: the path of scratch space (TMPDIR) is too long for a socket.

    """
    if os.geteuid() == 0:
        problem = "cannot be started by root"
        raise UnsupportedError(_OPERATION, "PostgreSQL", problem, hint="run this as another user, as its image does")
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) > _LONGEST_PLACE:
        problem = "has too long a path for a socket"
        raise StorageError(_OPERATION, place, problem, hint="set TMPDIR to a folder with a shorter one")


@contextmanager
def _guarded(folder: Path, programs: Programs) -> Iterator[None]:
    """End the server at the end of the block or of this process, whichever comes first."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guard", programs.path("pg_ctl"), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for this process alone
    )
    try:
        yield
    finally:
        assert guard.stdin is not None, "asked for above"  # noqa: S101 - for the type checker
        guard.stdin.close()
        guard.wait()


def _start(folder: Path, programs: Programs) -> None:
    data, environment = folder / "data", bare_environment()
    kind = ("--encoding=UTF8", "--locale=C", f"--username={OWNER}", "--auth=trust", "--wal-segsize=1")
    make = [programs.path("initdb"), f"--pgdata={data}", *kind, "--no-sync", "--no-instructions"]
    _run(make, environment, folder)
    with (data / "postgresql.conf").open("a") as file:
        file.write(_CONFIGURATION + "unix_socket_directories = '{}'\n".format(str(folder).replace("'", "''")))
    start = [programs.path("pg_ctl"), f"--pgdata={data}", f"--log={folder / _LOG}", "--silent", "--wait", "start"]
    _run(start, environment, folder)


def _run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    try:
        with running(arguments, environment, operation=_OPERATION, target=folder):
            pass
    except PersistError as error:
        if why := reported((folder / _LOG).read_bytes()) if (folder / _LOG).exists() else "":
            error.problem += f": {why}"
        raise
