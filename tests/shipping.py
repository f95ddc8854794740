"""A sidecar of Litestream that runs in a thread of the test: what it has shipped, and the processes it has started."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream import sidecar
from aragora_persist.backup.litestream.replica import Replica
from aragora_persist.times import utc_now
from tests.unit.tokens import add
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aragora_persist.settings import Settings
    from aragora_persist.storage.sqlite.engine import Engine


@contextmanager
def shipping(settings: Settings, *databases: str) -> Iterator[list[bool]]:
    """Run a sidecar; afterwards the list holds whether it shipped everything."""
    stop, whole = threading.Event(), list[bool]()
    thread = threading.Thread(target=lambda: whole.append(sidecar.run(settings, stop, databases)))
    thread.start()
    try:
        yield whole
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def ship(engine: Engine, settings: Settings, *jtis: str) -> datetime:
    """Add these tokens, wait until they are shipped, and return a moment after that."""
    add(engine, *jtis)
    written, looks = utc_now(), itertools.count(1)

    def is_shipped() -> bool:
        if has_shipped(settings, written):
            return True
        if next(looks) % 20 == 0:
            # A look that began before may have found them: a later one finds this, which leaves rows as they are.
            with engine.transaction("touch") as tx:
                for text in ("z", "y"):
                    tx.execute("UPDATE token_blacklist SET revoked_at = ? WHERE jti = ?", (text, jtis[-1]))
        return False

    wait_until(is_shipped, "what was written to be shipped")
    return utc_now()


def newest_shipped(database: str, settings: Settings) -> datetime | None:
    """Return when the newest shipped transaction was taken over, as the replica has it; None where there is none."""
    replica = Replica(database, settings)
    return replica.moment_of(replica.files[-1]) if replica.files else None


def has_shipped(settings: Settings, moment: datetime) -> bool:
    """Say whether all that was written to the tokens before a moment is shipped."""
    newest = newest_shipped("tokens", settings)
    return newest is not None and newest >= moment


def litestreams() -> list[int]:
    """Return the process ids of the children of this process that are Litestream."""
    pids = [int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    return [pid for pid in pids if _name(pid) == "litestream\n"]


def _name(pid: int) -> str:
    with suppress(OSError):  # it has ended just now
        return Path(f"/proc/{pid}/comm").read_text()
    return ""
