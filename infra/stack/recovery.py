"""What a command that was killed leaves in Pulumi's state: a lock, and operations without an end.

Leaves out: what it leaves on the engine, which ``engine.remove_leftovers`` finds by labels.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.errors import BusyError
from infra.naming import PROJECT

if TYPE_CHECKING:
    from infra.stack.files import StackFiles

_PROCESSES = Path("/proc")


def clear_dead_locks(files: StackFiles) -> int:
    """Remove the stack's locks whose process is dead on this host, and return how many there were.

    Raises:
        BusyError: one is held, by a living process or on another host.

    """
    cleared = 0
    for path in (files.backend / ".pulumi" / "locks" / "organization" / PROJECT / files.name).glob("*.json"):
        lock = json.loads(path.read_text())
        if lock["hostname"] != socket.gethostname() or _is_alive(lock["pid"]):
            raise BusyError(
                "lock",
                f"stack {files.name}",
                f"Pulumi works on it: process {lock['pid']} on {lock['hostname']} since {lock['timestamp']}",
                hint="wait for it; if that host is gone, pulumi cancel",
            )
        path.unlink()
        cleared += 1
    return cleared


def _is_alive(pid: int) -> bool:
    """Say whether a Pulumi of this number runs; a number may have gone to another program since."""
    if _PROCESSES.is_dir():
        try:
            _, name, state = re.split(r" \((.*)\) (\S)", (_PROCESSES / str(pid) / "stat").read_text())[:3]
        except FileNotFoundError:
            return False
        return "pulumi" in name and state not in "ZX"  # a zombie holds nothing
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
