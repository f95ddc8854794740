"""``sync --status``: what waits on this machine for its way to Supabase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.commands.console import print_json, read_settings
from aragora_persist.errors import NotFoundError
from aragora_persist.status import collect_status
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Count what waits and what was refused.

    Raises:
        NotFoundError: there is no outbox that can be read.

    """
    status = collect_status(read_settings(arguments), ["outbox"])
    [database] = status.databases
    if status.outbox is None:
        raise NotFoundError(
            "sync",
            database.path,
            database.problem or "there is no outbox yet",
            hint=database.hint or "aragora-persist migrate",
        )
    if arguments.json:
        print_json({"pending": status.outbox.pending, "dead_letters": status.outbox.dead_letters})
    else:
        print(f"{count_text(status.outbox.pending, 'record')} waiting for Supabase")
        print(count_text(status.outbox.dead_letters, "dead letter"))
    return 0
