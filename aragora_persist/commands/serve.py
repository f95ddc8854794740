"""``serve``: the service in the foreground, or a probe of a running one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Serve until stopped; with ``--probe``, ask once."""
    # The imports are here, since the probe runs every few seconds and needs next to nothing, and since the service's
    # are better done after the fork of `run_under_init`.
    if arguments.probe:
        from aragora_persist.service.probe import probe  # noqa: PLC0415 - see above

        probe(arguments.host, arguments.port)
        print("ready")
        return 0
    from aragora_persist.service.init import run_under_init  # noqa: PLC0415 - see above

    return run_under_init(lambda: _serve(arguments))


def _serve(arguments: Namespace) -> int:
    import logging  # noqa: PLC0415 - see above
    from pathlib import Path  # noqa: PLC0415 - see above

    from aragora_persist.commands.console import read_settings  # noqa: PLC0415 - see above
    from aragora_persist.databases import DATABASES  # noqa: PLC0415 - see above
    from aragora_persist.service.application import serve  # noqa: PLC0415 - see above

    # Of the libraries only what is wrong: the HTTP client would tell of every request.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aragora_persist").setLevel(logging.INFO)
    settings = read_settings(arguments)
    names = arguments.databases or [database.name for database in DATABASES]
    return serve(
        settings,
        tuple(dict.fromkeys(names)),
        backups=Path(arguments.backups) if arguments.backups else settings.backup_dir,
        host=arguments.host,
        port=arguments.port,
        announce=lambda url: print(f"Serving {url}", flush=True),
    )
