"""A sidecar of Litestream that runs in a thread of the test, and the processes that it has started."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream import sidecar
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.settings import Settings


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


def litestreams() -> list[int]:
    """Return the process ids of the children of this process that are Litestream."""
    pids = (int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split())
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "litestream\n"]
