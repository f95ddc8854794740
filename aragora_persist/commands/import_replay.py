"""``import replay``: a debate's trace file as a replay, and what follows from it on its way to Supabase."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.commands.console import print_json, read_settings
from aragora_persist.importers.replay import import_replay
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Import, and say what was new."""
    settings = read_settings(arguments)
    with ReplayStore(settings=settings) as store, Outbox(settings=settings) as outbox:
        result = import_replay(arguments.file, store, outbox, accept_bad_checksum=arguments.accept_bad_checksum)
    if arguments.json:
        print_json(asdict(result))
        return 0
    known = "new" if result.is_new else "stored already"
    print(f"Replay {result.trace_id}: {count_text(result.events, 'event')}, {known}; new in the outbox:")
    print(f"  {count_text(result.debates, 'debate')}")
    print(f"  {count_text(result.stream_events, 'stream event')}")
    print(f"  {count_text(result.agent_metrics, 'row of agent metrics', 'rows of agent metrics')}")
    return 0
