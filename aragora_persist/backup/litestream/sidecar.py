"""Keeps Litestream running beside the databases, until it is told to stop; and tells others of it (``record``).

Litestream goes on with a file that was replaced under it, and would mix the pages of both: then it is killed, and
begins anew with a full copy. What a restore may have taken from it (its two tables) a new start makes again. Leaves
out: signals and arguments (the command line's).
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import clean_partials, make_directory, scratch_folder, try_lock
from aragora_persist.backup.litestream.audit import Audit
from aragora_persist.backup.litestream.configuration import configuration, replica_place
from aragora_persist.backup.litestream.program import child_environment, find_program
from aragora_persist.backup.litestream.questions import ask
from aragora_persist.backup.litestream.record import DatabaseRecord, Record, read_record, write_record
from aragora_persist.backup.litestream.shipping import Shipping
from aragora_persist.backup.offsite.location import Folder
from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError, InvalidValueError, NotFoundError, StorageError
from aragora_persist.storage.sqlite.files import resolve

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from aragora_persist.settings import Settings

_LOGGER = logging.getLogger("aragora_persist.litestream")
_OPERATION = "replicate"
_LOCK = ".litestream-lock"
_SOCKET = "socket"
_LONGEST_SOCKET_PATH = 103
"""In bytes, on the system that allows the least (unix(7))."""
_LOOK_S = 0.5
_FAILING_S = 15.0
_OWN_FILES = "ltx file"
"""What stands in Litestream's words when a file of its own beside the database is lost or damaged."""
_LONGEST_PAUSE_S = 30.0
_STOP_S = 30.0


def run(settings: Settings, stop: threading.Event, databases: Sequence[str]) -> bool:
    """Ship these databases until ``stop`` is set; then ship the rest, and say whether all of it was shipped.

    A database that is not there yet is shipped when it is.

    Raises:
        InvalidValueError: it is not said where to ship to, or it could never work.
        NotFoundError: the folder to ship to does not exist.
        UnsupportedError: Litestream is not on this machine.
        BusyError: another one ships them.
        StorageError: the backup folder cannot be written.

    """
    place, program = replica_place(settings), find_program(_OPERATION)
    if isinstance(place, Folder) and not (place.path.is_dir() or place.path.is_relative_to(settings.backup_dir)):
        # Litestream would make it: on this machine's own disk, where another one is not mounted.
        raise NotFoundError(_OPERATION, place, "there is no such folder", hint="mount it, or make it")
    paths = {name: resolve(find_database(name).path(settings.nomic_dir)) for name in databases}
    _LOGGER.info("shipping every transaction of %s to %s", ", ".join(databases), place)
    try:
        make_directory(settings.backup_dir)
        make_directory(settings.nomic_dir)
        clean_partials(settings.backup_dir)
        with _locked(settings) as lock, scratch_folder("aragora-litestream-") as scratch:
            if len(os.fsencode(scratch / _SOCKET)) > _LONGEST_SOCKET_PATH:
                raise InvalidValueError(_OPERATION, "TMPDIR", "is too long a path", hint="set it to a shorter one")
            return _Sidecar(program, settings, paths, scratch, lock).run(stop)
    except OSError as error:
        raise StorageError(_OPERATION, error.filename or settings.backup_dir, error.strerror or str(error)) from error


@contextmanager
def _locked(settings: Settings) -> Iterator[int]:
    """Hold the lock of whoever ships these databases: two at once would overwrite what the other ships."""
    path = settings.nomic_dir / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + settings.db_timeout_s
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise BusyError(_OPERATION, path, "another Litestream ships these databases", hint="end it first")
            time.sleep(_LOOK_S)
        yield lock
    finally:
        os.close(lock)


class _Sidecar:
    """One Litestream after another, and what is known of each database."""

    def __init__(self, program: str, settings: Settings, paths: Mapping[str, Path], scratch: Path, lock: int) -> None:
        self._program = program
        self._lock = lock
        self._settings = settings
        self._paths = paths
        self._socket = scratch / _SOCKET
        self._told = scratch / "litestream.yml"
        self._scratch = scratch
        self._tells = True
        self._audit = Audit(settings)
        before = read_record(settings.backup_dir)
        known = before.databases if before else {}
        self._records = {name: known.get(name, DatabaseRecord()) for name in paths}
        self._shipping = {name: Shipping(path, self._records[name]) for name, path in paths.items()}

    def run(self, stop: threading.Event) -> bool:
        self._told.write_text(configuration(self._paths, self._settings, socket=self._socket), encoding="utf-8")
        pause_s = _LOOK_S
        while not stop.is_set():
            started = time.monotonic()
            if self._copy_anew(stop):
                for name, record in self._records.items():
                    self._note(name, record)
                with self._started(self._told) as child:
                    try:
                        whole = self._watch(child, stop)
                    finally:
                        child.kill()
                if whole is not None:
                    return whole
            pause_s = _LOOK_S if time.monotonic() - started > _LONGEST_PAUSE_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            stop.wait(pause_s)
        return not any(record.behind_since for record in self._records.values())

    def _started(self, told: Path, *options: str) -> subprocess.Popen[bytes]:
        command = [self._program, "replicate", "-no-expand-env", "-config", str(told), *options]
        # With the lock, which so ends with it: one that outlives this process is not joined by another.
        return subprocess.Popen(command, env=child_environment(self._settings), pass_fds=[self._lock])

    def _watch(self, child: subprocess.Popen[bytes], stop: threading.Event) -> bool | None:
        """Look at a running Litestream until it has ended; None when another one is to be started."""
        while child.poll() is None:
            if stop.wait(_LOOK_S):
                self._look()
                return self._stop(child)
            if replaced := self._replaced():
                _LOGGER.warning("%s: another file is in its place; a full copy of it follows", ", ".join(replaced))
                return None  # killed: what it would ship now is a mixture of both
            self._look()
            self._audit.look([name for name, record in self._records.items() if record.newest_at])
            if self._lost():
                self._stop(child)
                return None
            if failing := self._failing():
                problems = "; ".join(f"{name}: {problem}" for name, problem in failing.items())
                _LOGGER.error("Litestream is started anew: %s", problems)
                self._stop(child)
                for name in [name for name, problem in failing.items() if _OWN_FILES in problem]:
                    self._reset(name)
                return None
        _LOGGER.error("Litestream has ended with exit code %d, and is started anew", child.returncode)
        return None

    def _stop(self, child: subprocess.Popen[bytes]) -> bool:
        """Let it ship the rest, and say whether it did."""
        child.terminate()
        try:
            whole = child.wait(_STOP_S) == 0
        except subprocess.TimeoutExpired:
            whole = False
        if whole and not any(record.problem for record in self._records.values()):
            for name, shipping in self._shipping.items():
                self._note(name, shipping.ended(times.utc_now()))
            self._tell()
            return True
        _LOGGER.error("Litestream has not shipped the rest; it does when it runs again")
        return False

    def _failing(self) -> dict[str, str]:
        """Return what has kept Litestream from a database for some time: a new start may help."""
        now = times.utc_now()
        return {n: one.problem for n, one in self._records.items() if one.problem and one.behind_s(now) > _FAILING_S}

    def _reset(self, name: str) -> None:
        """Have Litestream forget what it keeps beside a database; it takes up what it has shipped, or begins anew."""
        command = [self._program, "reset", str(self._paths[name])]
        with suppress(subprocess.TimeoutExpired):  # a disk that hangs: it is killed, and done again
            subprocess.run(command, check=False, env=child_environment(self._settings), timeout=_STOP_S)

    def _look(self) -> None:
        answers, now = ask(self._socket), times.utc_now()
        for name, shipping in self._shipping.items():
            self._note(name, shipping.look(answers.get(str(self._paths[name])), now))
        self._tell()

    def _note(self, name: str, record: DatabaseRecord) -> None:
        # The file stays the one that was seen first, until all of another one is shipped.
        known = self._records[name].file or file_identity(self._paths[name])
        self._records[name] = replace(record, file=known)

    def _replaced(self) -> list[str]:
        """Return the databases whose file is another one than was shipped before."""
        states = ((name, self._records[name].file, file_identity(path)) for name, path in self._paths.items())
        return [name for name, known, now in states if known and now and known != now]

    def _lost(self) -> list[str]:
        """Return the databases of which nothing is left where they are shipped to."""
        return [name for name in self._audit.lost if file_identity(self._paths[name])]

    def _copy_anew(self, stop: threading.Event) -> bool:
        """Ship a full copy of each database that was replaced or lost; False where that failed, or was stopped."""
        needed = sorted({*self._replaced(), *self._lost()})
        if not needed:
            return True
        told = self._scratch / "full-copy.yml"
        told.write_text(configuration({name: self._paths[name] for name in needed}, self._settings), encoding="utf-8")
        begun = {name: self._records[name] for name in needed}
        since, files = times.utc_now(), {name: file_identity(self._paths[name]) for name in needed}
        with self._started(told, "-once", "-force-snapshot") as child:
            while child.poll() is None and not stop.is_set():
                self._records |= {
                    name: replace(before, behind_since=since, problem="a full copy of it is being shipped")
                    for name, before in begun.items()
                }
                self._tell()
                stop.wait(_LOOK_S)
            child.kill()
        if child.returncode != 0:
            _LOGGER.error("no full copy of %s was shipped; it is tried again", ", ".join(needed))
            return False
        self._records |= {name: replace(before, file=files[name]) for name, before in begun.items()}
        self._audit.forget(needed)
        return True

    def _tell(self) -> None:
        """Write the record; where that fails, who reads it sees that it is old, and shipping goes on."""
        try:
            write_record(self._settings.backup_dir, Record(written_at=times.utc_now(), databases=self._records))
        except OSError as error:
            if self._tells:
                _LOGGER.error("%s: cannot be written: %s", self._settings.backup_dir, error.strerror)  # noqa: TRY400 - no traceback helps
            self._tells = False
        else:
            self._tells = True


def file_identity(path: Path) -> str:
    """Return what tells a file from another one that takes its place; '' where there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ""
    return f"{state.st_dev}:{state.st_ino}"
