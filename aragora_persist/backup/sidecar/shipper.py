"""Shipping in its own turn: what is not off-site yet goes there, beside the sidecar's other work and never in its way.

Leaves out: how (``offsite``), and its retries of one request: here is what comes after they were in vain.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.offsite import oldest_unshipped_age_s
from aragora_persist.errors import PersistError
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from aragora_persist.backup.sidecar.jobs import Jobs
    from aragora_persist.settings import Settings

_LOGGER = logging.getLogger("aragora_persist.backup")
_SHORTEST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 900.0


class Shipper:
    """A thread that ships when there is something to ship; where nothing is to be shipped, it is none."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self.failures = 0
        self._settings = settings
        self._jobs = jobs
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper") if settings.offsite_url else None

    def start(self) -> None:
        """Begin with what an earlier sidecar could not ship any more."""
        if self._thread:
            self._thread.start()

    def wake(self) -> None:
        """Say that there is something new."""
        self._awake.set()

    def stop(self) -> None:
        """Let nothing more begin, and wait for what runs."""
        self._stopping.set()
        self._awake.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._stopping.is_set():
            # Cleared before the look: what comes after it wakes the wait below.
            self._awake.clear()
            if self._ship():
                pause_s = _SHORTEST_PAUSE_S
                self._awake.wait(_LONGEST_PAUSE_S)
                continue
            self.failures += 1
            _LOGGER.error("not everything is off-site; again in %g s", pause_s)
            self._stopping.wait(pause_s)  # in full: a new backup is no reason to ask a dead store again at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _ship(self) -> bool:
        try:
            state = Catalog(self._settings.backup_dir).read()
            if oldest_unshipped_age_s(state, self._settings, times.utc_now()) is None:
                return True
            answer = self._jobs.run("backups", "--ship")
        except (OSError, PersistError) as error:  # the catalog cannot be read, or no process be made: both may pass
            _LOGGER.error("%s", redact(str(error)))  # noqa: TRY400 - the error says all
            return False
        for line in answer.lines if answer else ():
            _LOGGER.info("%s", line)
        return answer is None or answer.code == 0
