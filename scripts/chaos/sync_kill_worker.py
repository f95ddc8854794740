"""The worker that ``sync_kill.py`` kills: ``sync_kill_worker.py HOME BATCH PROTECTION``, the last one being left out.

Where Supabase is stands in its environment.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from aragora_persist.cloud import delivery, sync
from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Collection

    from aragora_persist.cloud.outbox import OutboxEntry

PROTECTIONS = ("removal", "keys", "revisions")
"""The last one is the database's, and nothing here."""


def take_out(protection: str) -> None:
    """Take a protection out of this process."""
    next_batch, row = sync.next_batch, sync.to_row

    def remove_first(outbox: Outbox, table: str, *, without: Collection[int] = ()) -> delivery.Batch:
        batch = next_batch(outbox, table, without=without)
        delivery.remove_delivered(outbox, batch.entries)
        return batch

    def with_new_key(entry: OutboxEntry) -> dict[str, object]:
        return row(entry) | ({"id": str(uuid.uuid4())} if entry.table == "stream_events" else {})

    if protection == "removal":
        sync.next_batch = remove_first
    elif protection == "keys":
        sync.to_row = with_new_key


def work(home: str, batch: int) -> None:
    """Send as the service does, with a line on stdout after each round, and go on after a line on stdin or its end.

    So it is never further than the one who kills it thinks, however busy the machine is.
    """
    delivery.BATCH_RECORDS = batch
    settings = Settings.from_env(nomic_dir=home)
    database = Path(home) / "aragora_outbox.db"
    with (
        Lease(database) as lease,
        Outbox(database) as outbox,
        sync.Sender(outbox, lambda: sync.connect(settings)) as sender,
    ):
        while not lease.take():  # the one before was killed: it must be free at once, but for its end
            sleep(0.01)
        while delivery.waiting_tables(outbox):
            if not sender.round():
                sleep(0.05)
            print(sender.sent, flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    take_out(sys.argv[3])
    work(sys.argv[1], int(sys.argv[2]))
