"""Ports of the loopback for what is published there some time after they were chosen."""

from __future__ import annotations

import contextlib
import secrets
import socket

# Below those that systems hand out by themselves (Linux from 32768, macOS from 49152): one of theirs that is free now
# may be a connection's, or that of another test's container, by the time it is needed.
_CHOICE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody has, and that nobody gets who does not ask for them by number."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = secrets.choice(_CHOICE)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # somebody has it
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
