"""``restore``: a backup in the place of a database, or in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.restore import restore
from aragora_persist.commands.console import print_json, read_settings

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Restore, and say where to and what was there before."""
    result = restore(
        arguments.database,
        read_settings(arguments),
        backup_id=arguments.backup,
        at=arguments.at,
        to=Path(arguments.to) if arguments.to else None,
    )
    if arguments.json:
        print_json(
            {
                "database": arguments.database,
                "backup": result.source,
                "created_at": result.moment and times.to_text(result.moment),
                "target": str(result.target),
                "way": result.way.name.lower(),
                "replaced": str(result.replaced) if result.replaced else None,
                "equal": result.equal,
            }
        )
        return 0
    print(f"Restored {result.source} {result.way.value}: {result.target}")
    if result.replaced:
        print(f"What was there before is kept: {result.replaced}")
    if not result.equal:
        print("Another process has written to it since the restore.")
    return 0
