"""Keeps the service's databases open, migrated and tidy, in a thread of its own.

What cannot be opened is a problem to show and to try again, not an end: a full disk or a lock passes. Leaves out: what
is to be done for the records in them (``housekeeping``).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from aragora_persist.errors import PersistError
from aragora_persist.redaction import redact
from aragora_persist.service import housekeeping
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aragora_persist.settings import Settings
    from aragora_persist.storage.sqlite.engine import Engine

_RETRY_SECONDS = 5.0
_MAINTENANCE_SECONDS = 60.0
_HOUSEKEEPING_EVERY = 60  # runs of maintenance: an hour; the first one, soon after the start, among them
_log = logging.getLogger(__name__)


class Keeper:
    """The thread and what it knows; ``on_end`` is called when it ends, in good order or not."""

    def __init__(self, settings: Settings, databases: Sequence[str], on_end: Callable[[], None]) -> None:
        self._settings = settings
        self._on_end = on_end
        self._problems = dict.fromkeys(databases, "is being opened")
        self._engines: dict[str, Engine] = {}
        self._runs = {"done": 0, "failed": 0}
        self._rounds = 0
        self._stopping = threading.Event()
        self._failed = False
        # A daemon: a long migration must not hold up the end of the process. Each is one transaction, so killing it
        # leaves nothing half done.
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to open the databases."""
        self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """Close the databases cleanly; say whether that was done within ``wait_s``."""
        self._stopping.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    @property
    def failed(self) -> bool:
        """Whether the thread ended by an error that nobody foresaw."""
        return self._failed

    def problems(self) -> dict[str, str]:
        """Return the databases that are not open, each with the reason."""
        return dict(self._problems)

    def maintenance_runs(self) -> dict[str, int]:
        """Return how many runs of maintenance there were, by result."""
        return dict(self._runs)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for name in tuple(self._problems):
                    self._open(name)
                if self._stopping.wait(_RETRY_SECONDS if self._problems else _MAINTENANCE_SECONDS):
                    break
                self._maintain()
        except BaseException:
            self._failed = True
            _log.exception("the service's keeper failed")
            raise
        finally:
            try:
                for engine in self._engines.values():
                    engine.close()
            finally:
                self._on_end()

    def _open(self, name: str) -> None:
        if self._stopping.is_set():
            return
        try:
            self._engines[name] = open_engine(None, name, migrate=True, settings=self._settings)
        except PersistError as error:
            problem = redact(f"{error.problem} ({error.hint})" if error.hint else error.problem)
            if problem != self._problems[name]:  # once, not at every attempt
                _log.error("%s", redact(str(error)))
            self._problems[name] = problem
        else:
            del self._problems[name]
            _log.info("%s is open and migrated", name)

    def _maintain(self) -> None:
        for name, engine in self._engines.items():
            if self._rounds % _HOUSEKEEPING_EVERY == 0:
                for task, work in housekeeping.tasks(engine, self._settings).items():
                    self._attempt(f"{name}, {task}", work)
            self._attempt(name, engine.tidy)
        self._rounds += 1

    def _attempt(self, what: str, work: Callable[[], object]) -> None:
        if self._stopping.is_set():
            return
        try:
            work()
        except PersistError as error:
            self._runs["failed"] += 1
            _log.warning("maintenance of %s: %s", what, redact(str(error)))
        else:
            self._runs["done"] += 1
