"""PostgreSQL's own programs: which of them are here, and running them without telling anybody a password.

A program gets its address by the environment, which other users cannot read, and never by an argument. Of what one says
that reads rows only the first error is told: more would quote them. Leaves out: what they are run for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import BusyError, StorageError, UnreachableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aragora_persist.errors import PersistError
    from aragora_persist.settings import Secret

PACKAGED = Path("/usr/lib/postgresql")
"""Where Debian keeps the versions side by side."""

_FIRST_ERROR = re.compile(
    r"^(?:pg_dump|pg_restore|initdb|pg_ctl)[^\n]*?(?:error|fatal): (.*)$|^.*(?:ERROR|FATAL|PANIC): +(.*)$", re.MULTILINE
)
_GONE = ("server closed the connection", "connection to server", "terminating connection", "could not receive data")
_LOCKED = "due to statement timeout"  # the one that pg_dump sets while it waits for a table
_FULL = "No space left on device"
KEPT_ALIVE = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3"
_WITHOUT_ROWS = {"initdb", "pg_ctl"}
_LONGEST_WORDS = 500
_END_S = 10.0


class Programs(NamedTuple):
    """The programs of one version, in one folder."""

    folder: Path
    version: str
    """Such as ``17.12``."""

    @property
    def major(self) -> int:
        """The number that decides what a program can read."""
        return int(self.version.partition(".")[0])

    def path(self, name: str) -> str:
        """Return the program of this name."""
        return str(self.folder / name)


def find_programs(server_major: int, *, newest: bool = False, packaged: Path = PACKAGED) -> Programs:
    """Return the programs of the server's version, else of the next newer one; with ``newest``, of the last one.

    Raises:
        UnsupportedError: there are none, or only older ones, which cannot read such a server.

    """
    folders = sorted(packaged.glob("*/bin"))
    if on_path := shutil.which("pg_dump"):
        folders.insert(0, Path(on_path).parent)
    found = [programs for folder in dict.fromkeys(folders) if (programs := _programs_in(folder))]
    able = [programs for programs in found if programs.major >= server_major]
    if not able:
        have = f"only of version {found[-1].version} here" if found else "not here"
        raise UnsupportedError(
            "back up supabase",
            "pg_dump and the server to try its dumps out",
            f"are {have}, and the server is of version {server_major}",
            hint=f"apt install postgresql-{server_major}, or run it in the image that has them, docker/supabase_backup",
        )
    return (max if newest else min)(able, key=lambda one: one.major)


def _programs_in(folder: Path) -> Programs | None:
    if not all((folder / name).is_file() for name in ("pg_dump", "pg_restore", "initdb", "pg_ctl")):
        return None
    said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\) ([0-9]+[.0-9a-z]*)", said)
    return Programs(folder, version[1]) if version else None


def bare_environment() -> dict[str, str]:
    """Return the environment of a program that nobody's settings of a connection may reach."""
    return {name: text for name, text in _environment().items() if not name.startswith("PG")}


def environment_of(address: Secret) -> dict[str, str]:
    """Return the environment of a program that connects there; what the address leaves open, the user's own may say."""
    return {**_environment(), **options_of(address), "PGAPPNAME": "aragora-persist"}


def _environment() -> dict[str, str]:
    return {**os.environ.copy(), "LC_ALL": "C"}


def options_of(address: Secret) -> dict[str, str]:
    """Return what an address says, as the variables that programs of PostgreSQL read."""
    from psycopg.pq import Conninfo  # noqa: PLC0415 - an extra; whoever has an address has it

    options = Conninfo.parse(address.reveal().encode())
    return {each.envvar.decode(): each.val.decode() for each in options if each.envvar and each.val is not None}


@contextmanager
def running(
    arguments: Sequence[str], environment: Mapping[str, str], *, operation: str, target: object
) -> Iterator[None]:
    """Run a program beside the block; at its end wait for the program, and stop it when the block fails.

    Raises:
        PersistError: the program failed (see ``failure``).

    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        try:
            yield
            process.wait()
        finally:
            _stop(process)
        if process.returncode:
            said.seek(0)
            raise failure(arguments[0], process.returncode, said.read(), operation=operation, target=target)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def failure(program: str, code: int, said: bytes, *, operation: str, target: object) -> PersistError:
    """Return what a program that failed died of, by its exit code and what it said on stderr."""
    name = Path(program).name
    if code < 0:
        return StorageError(operation, target, f"{name} was ended by signal {-code}", hint="repeat; is memory short?")
    if _FULL.encode() in said:
        hint = "free some space, or set TMPDIR to a folder with more of it"
        return StorageError(operation, target, f"{name}: {_FULL}", hint=hint)
    told = reported(said) or (_all_of(said) if name in _WITHOUT_ROWS else "")
    problem = f"{name}: {told or f'failed with code {code}'}"
    if _LOCKED.encode() in said:
        return BusyError(operation, target, problem, hint="another session holds a table: repeat when it has ended")
    if any(sign.encode() in said for sign in _GONE):
        return UnreachableError(operation, target, problem, hint="is the server running? Nothing was kept; repeat")
    return StorageError(operation, target, problem)


def reported(said: bytes) -> str:
    """Return the first error that a program told, without the details, which quote rows."""
    found = _FIRST_ERROR.search(said.decode(errors="replace"))
    return (found[1] or found[2]) if found else ""


def _all_of(said: bytes) -> str:
    lines = (line.strip() for line in said.decode(errors="replace").splitlines())
    return "; ".join(line for line in lines if line)[:_LONGEST_WORDS]
