"""Whether what was shipped is still there: Litestream asks that when it starts, and never again.

Without what a restore begins with, all that is shipped later is of no use until the next daily copy. Leaves out:
shipping a full copy anew, which is what helps (``sidecar``).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.replica import Replica
from aragora_persist.errors import PersistError

if TYPE_CHECKING:
    from collections.abc import Collection

    from aragora_persist.settings import Settings

_LOGGER = logging.getLogger("aragora_persist.litestream")
_EVERY_S = 300.0


class Audit:
    """Looks now and then, in a thread of its own: a server that does not answer holds up nobody."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next_at_s = time.monotonic() + _EVERY_S
        self._thread: threading.Thread | None = None
        self.lost: frozenset[str] = frozenset()
        """Of which databases nothing is left that a restore could begin with."""

    def look(self, shipped: Collection[str]) -> None:
        """Look at these databases, of each of which something was shipped, where it is time to."""
        if time.monotonic() < self._next_at_s or (self._thread and self._thread.is_alive()):
            return
        self._next_at_s = time.monotonic() + _EVERY_S
        self._thread = threading.Thread(target=self._look_at, args=(tuple(shipped),), name="audit", daemon=True)
        self._thread.start()

    def forget(self, names: Collection[str]) -> None:
        """Take note that a full copy of these was shipped."""
        self.lost = self.lost.difference(names)

    def _look_at(self, names: Collection[str]) -> None:
        for name in names:
            try:
                if not Replica(name, self._settings).has_beginning():
                    _LOGGER.error("%s: what was shipped is not there any more; a full copy of it follows", name)
                    self.lost |= {name}
            except PersistError:  # Litestream meets that, too, and says so
                return
