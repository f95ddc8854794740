"""``backup --every``: the sidecar as a process, until it is told to stop."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from aragora_persist.backup.sidecar.loop import Sidecar
from aragora_persist.commands.console import read_settings
from aragora_persist.service.stops import Stop

if TYPE_CHECKING:
    from argparse import Namespace

_FINISH_S = 10.0
"""How long what runs may go on after a stop before it is given up; who stops a container waits 30 s for its end."""


def run(arguments: Namespace) -> int:
    """Run the sidecar; 0 after a stop, 1 when it failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sidecar = Sidecar(read_settings(arguments), every_s=arguments.every or None, databases=arguments.databases)
    stop = Stop()
    failed = True

    def work() -> None:
        nonlocal failed
        try:
            sidecar.run()
            failed = False
        finally:
            stop.ask()

    worker = threading.Thread(target=work, name="sidecar")
    worker.start()
    stop.wait()
    sidecar.stop()
    worker.join(_FINISH_S)
    if worker.is_alive():
        sidecar.abandon()
        worker.join()
    return 1 if failed else 0
