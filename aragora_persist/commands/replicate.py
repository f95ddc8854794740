"""``replicate``: ships every transaction through Litestream until stopped, or says whether that is being done."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from aragora_persist.commands.console import print_problems, read_settings

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Ship; with ``--max-lag``, only look at the sidecar that does."""
    if arguments.max_lag is not None:
        return _probe(arguments)
    from aragora_persist.service.init import run_under_init  # noqa: PLC0415 - the probe, every few seconds, needs none

    return run_under_init(lambda: _for_ever(arguments))


def _probe(arguments: Namespace) -> int:
    from aragora_persist import times  # noqa: PLC0415 - only the probe needs it
    from aragora_persist.backup.litestream.record import late, read_record  # noqa: PLC0415 - as above

    record = read_record(read_settings(arguments).backup_dir)
    wanted = arguments.databases or (record.databases if record else ())
    problems = [*late(record, wanted, arguments.max_lag, times.utc_now())]
    print_problems(problems)
    return 1 if problems else 0


def _for_ever(arguments: Namespace) -> int:
    import logging  # noqa: PLC0415 - as above

    from aragora_persist.backup.litestream import sidecar  # noqa: PLC0415 - as above
    from aragora_persist.databases import DATABASES  # noqa: PLC0415 - as above
    from aragora_persist.service.stops import Stop  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = read_settings(arguments)
    databases = tuple(dict.fromkeys(arguments.databases or (database.name for database in DATABASES)))
    stop, stopping = Stop(), threading.Event()
    outcome: list[bool | BaseException] = []

    def work() -> None:
        try:
            outcome.append(sidecar.run(settings, stopping, databases))
        except BaseException as error:  # noqa: BLE001 - raised again where it is printed
            outcome.append(error)
        finally:
            stop.ask()

    worker = threading.Thread(target=work, name="litestream")
    worker.start()
    stop.wait()
    stopping.set()
    worker.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return 0 if outcome[0] else 1
