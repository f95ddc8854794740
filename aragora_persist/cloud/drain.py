"""Empties the outbox once, as ``sync --once`` does: until nothing waits, or nothing gets on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.cloud.delivery import count_dead_letters
from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.sync import OPERATION, Sender, connect, require_configured
from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Settings

_LOOK_S = 0.2
PATIENCE_S = 10.0
"""For how long another sender may get nothing done before waiting for it makes no sense."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of the records; ``sent`` counts those of this process alone."""

    sent: int
    refused: int
    waiting: int
    problem: str
    """What keeps the rest from being delivered, or ''."""

    @property
    def complete(self) -> bool:
        """Whether everything is in Supabase."""
        return not self.waiting and not self.refused


def drain(settings: Settings, progress: Callable[[int, int], None]) -> Drained:
    """Send what waits, or watch another process send it; ``progress`` is told how many are done, of how many.

    Raises:
        InvalidValueError: Supabase is not configured.
        BusyError: another process sends, and gets nothing done.

    """
    require_configured(settings)
    path = find_database("outbox").path(settings.nomic_dir)
    with (
        Outbox(settings=settings) as outbox,
        Lease(path) as lease,
        Sender(outbox, lambda: connect(settings)) as sender,
    ):
        refused_before, total = count_dead_letters(outbox), outbox.count()
        if _may_send(outbox, lease, progress):
            while sender.round():
                progress(sender.sent, total)
        refused = max(sender.refused, count_dead_letters(outbox) - refused_before)
        return Drained(sender.sent, refused, outbox.count(), sender.problem)


def _may_send(outbox: Outbox, lease: Lease, progress: Callable[[int, int], None]) -> bool:
    """Return True when the lease is ours, False when another process has emptied the outbox."""
    total = least = outbox.count()
    deadline = time.monotonic() + PATIENCE_S
    while not lease.take():
        waiting = outbox.count()
        if not waiting:
            return False
        progress(total - waiting, total)
        if waiting < least:
            least, deadline = waiting, time.monotonic() + PATIENCE_S
        elif time.monotonic() > deadline:
            problem = f"another process sends from it, with {count_text(waiting, 'record')} waiting all the same"
            hint = "aragora-persist sync --status tells why; what waits is not lost"
            raise BusyError(OPERATION, "the outbox", problem, hint=hint)
        time.sleep(_LOOK_S)
    return True
