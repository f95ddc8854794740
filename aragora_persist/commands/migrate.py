"""``migrate``: the documented migrations runner under the name that belongs to the other verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations import command

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Call the runner with the same arguments."""
    options = ["--dry-run" if arguments.dry_run else "--migrate"]
    if arguments.nomic_dir is not None:
        options.append(f"--nomic-dir={arguments.nomic_dir}")
    if arguments.database is not None:
        options.append(f"--db={arguments.database}")
    options += [f"--{name}" for name in ("no-backup", "json", "verbose") if getattr(arguments, name.replace("-", "_"))]
    return command.main(options)
