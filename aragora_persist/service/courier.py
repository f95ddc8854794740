"""Carries what waits in the outbox to Supabase, in a thread of its own, for as long as the service runs.

Nothing here makes the service unready: an outage of Supabase is shown, with the outbox, and passes. Leaves out: opening
and migrating the outbox, which the keeper does.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.sync import Sender, connect
from aragora_persist.databases import find_database
from aragora_persist.errors import PersistError
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Settings

DATABASE = "outbox"
_LOOK_SECONDS = 0.25
"""How often an empty outbox is looked at: what another process enqueues is on its way within that time."""
_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Courier:
    """The thread; ``is_open`` says whether the outbox is open and migrated."""

    def __init__(self, settings: Settings, is_open: Callable[[], bool]) -> None:
        self._settings = settings
        self._is_open = is_open
        self._stopping = threading.Event()
        self._told = ""
        # A daemon: a request that gets no answer must not hold up the end of the process. What it carries stays in the
        # outbox and is sent again, as the same rows.
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin as soon as the outbox is open."""
        self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """End after the request under way; say whether that was within ``wait_s``."""
        self._stopping.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            if not self._is_open():
                continue
            try:
                self._carry()
            except Exception as error:  # noqa: BLE001 - whatever it is, the databases must stay served
                if self._stopping.is_set():
                    return  # the databases were closed under it
                if (problem := redact(f"{type(error).__name__}: {error}")) != self._told:  # once, not at every attempt
                    _log.error("records wait: %s", problem, exc_info=not isinstance(error, PersistError))
                    self._told = problem
                self._stopping.wait(_RETRY_SECONDS)

    def _carry(self) -> None:
        path = find_database(DATABASE).path(self._settings.nomic_dir)
        with (
            Outbox(settings=self._settings) as outbox,
            Lease(path) as lease,
            Sender(outbox, lambda: connect(self._settings), stopping=self._stopping.is_set) as sender,
        ):
            waits = False
            while not self._stopping.is_set():
                if lease.take():
                    waits = False
                    moved = sender.round()
                    self._told = ""
                    if moved:
                        continue
                elif not waits:
                    waits = True
                    _log.info("another process sends from this outbox; waiting for its end")
                self._stopping.wait(_LOOK_SECONDS)
