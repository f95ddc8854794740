"""``import git``: the commits of a repository as cycles, on their way to Supabase."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.commands.console import Progress, print_json, read_settings
from aragora_persist.importers.git import import_git
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Import, and say what was new."""
    with Outbox(settings=read_settings(arguments)) as outbox, Progress("commits") as progress:
        result = import_git(arguments.repository, outbox, ref=arguments.ref, progress=progress)
    if arguments.json:
        print_json(asdict(result))
        return 0
    print(f"{count_text(result.commits, 'commit')} in loop {result.loop_id}; new in the outbox:")
    print(f"  {count_text(result.cycles, 'cycle')}")
    print(f"  {count_text(result.evolutions, 'evolution')}")
    print(f"  {count_text(result.file_changes, 'file change')}")
    print(f"  {count_text(result.rollbacks, 'rollback')}")
    return 0
