"""The outbox: records that wait, durably, for their way to Supabase.

Enqueueing is safe to repeat. A record of an immutable kind that waits already is left as it is; one of a mutable kind
replaces an older revision that waits, under a new id. Leaves out: what the sender does with them (``delivery``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aragora_persist import json_text, times
from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from aragora_persist.cloud.models import Record
    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Reader, Row, Transaction

COLUMNS = "id, table_name, record_key, revision, payload, enqueued_at"
"""What ``to_entry`` reads."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One waiting record; ``revision`` is 0 for an immutable kind."""

    id: int
    table: str
    key: str
    revision: int
    payload: dict[str, object]
    enqueued_at: datetime


@dataclass(frozen=True, slots=True)
class Prepared:
    """Records with their payloads as text: what ``prepare`` has made and ``enqueue`` takes."""

    pairs: tuple[tuple[Record, str], ...]


def prepare(records: Iterable[Record]) -> Prepared:
    """Turn the payloads into text, so that a transaction that enqueues many of them need not hold the writer meanwhile.

    Raises:
        InvalidValueError: a payload holds what Supabase cannot store.

    """
    return Prepared(tuple((record, _payload(record)) for record in records))


class Outbox(Store):
    """The local half of the way to Supabase, in ``aragora_outbox.db``."""

    database_name = "outbox"

    def read(self, operation: str) -> AbstractContextManager[Reader]:
        """Open a view of the outbox's database."""
        return self._database.read(operation)

    def transaction(
        self, operation: str, *, durability: Durability | None = None
    ) -> AbstractContextManager[Transaction]:
        """Open a transaction, in which several calls and what was imported change together or not at all."""
        return self._database.transaction(operation, durability=durability)

    def enqueue(self, records: Iterable[Record] | Prepared, *, tx: Transaction | None = None) -> int:
        """Let these records wait, and return how many are new or newer than what waited.

        When it has returned without ``tx``, they survive a loss of power. A mutable record without a revision gets one
        above every earlier one of this outbox and not below the present in microseconds, so that a clock that was set
        back never makes an update look old.

        Raises:
            InvalidValueError: a payload holds what Supabase cannot store; nothing was enqueued.

        """
        prepared = records if isinstance(records, Prepared) else prepare(records)
        if not prepared.pairs:
            return 0
        if tx is not None:
            return _insert(tx, prepared.pairs)
        with self.transaction("outbox.enqueue") as own:
            return _insert(own, prepared.pairs)

    def pending(self, *, limit: int = 1000, after: int = 0) -> list[OutboxEntry]:
        """Return the oldest waiting records whose id is above ``after``, in the order of their ids.

        Raises:
            DamagedError: what is stored of one is not what was enqueued.

        """
        sql = f"SELECT {COLUMNS} FROM outbox WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - a constant of this module
        with self.read("outbox.pending") as view:
            rows = view.all(sql, (after, limit))
        return [to_entry(row) for row in rows]

    def count(self) -> int:
        """Return how many records wait."""
        with self.read("outbox.count") as view:
            row = view.one("SELECT COUNT(*) FROM outbox")
        return int(row[0] or 0) if row else 0


def to_entry(row: Row) -> OutboxEntry:
    """Return what a row of ``COLUMNS`` holds.

    Raises:
        DamagedError: it is not what was enqueued.

    """
    id_, table, key, revision, payload, enqueued_at = row
    try:
        return OutboxEntry(
            id=int(id_ or 0),
            table=str(table),
            key=str(key),
            revision=int(revision or 0),
            payload=json_text.decode(str(payload)),
            enqueued_at=times.from_text(str(enqueued_at)),
        )
    except (ValueError, RecursionError, InvalidValueError) as error:
        raise DamagedError(
            "outbox.pending", f"record {id_!r}", "is not what was enqueued", hint="restore the database from a backup"
        ) from error


def _payload(record: Record) -> str:
    return json_text.encode(record.payload, operation="outbox.enqueue", field=f"{record.table} {record.key}")


def _insert(tx: Transaction, prepared: Sequence[tuple[Record, str]]) -> int:
    now = times.utc_now()
    numbered = _number(tx, prepared, now)
    newest: dict[tuple[str, str], tuple[Record, str]] = {}
    for record, payload in numbered:
        place = (record.key, record.table)
        waiting = newest.get(place)
        if waiting is None or (waiting[0].revision or 0) < (record.revision or 0):
            newest.pop(place, None)
            newest[place] = (record, payload)
    tx.execute_many(
        "DELETE FROM outbox WHERE record_key = ? AND table_name = ? AND revision < ?",
        [(record.key, record.table, record.revision) for record, _ in newest.values() if record.revision],
    )
    enqueued_at = times.to_text(now)
    return tx.execute_many(
        "INSERT INTO outbox (table_name, record_key, revision, payload, enqueued_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (record_key, table_name) DO NOTHING",
        [(record.table, record.key, record.revision, payload, enqueued_at) for record, payload in newest.values()],
    )


def _number(tx: Transaction, prepared: Sequence[tuple[Record, str]], now: datetime) -> Sequence[tuple[Record, str]]:
    """Give a revision to each mutable record that has none, and move the clock of revisions on."""
    if not any(record.revision != 0 for record, _ in prepared):
        return prepared
    row = tx.one("SELECT last_revision FROM revision_clock WHERE id = 1")
    present = int(now.timestamp() * 1_000_000)
    last = max(int(row[0] or 0) if row else 0, present - 1, *(record.revision or 0 for record, _ in prepared))
    numbered = []
    for record, payload in prepared:
        if record.revision is None:
            last += 1
            numbered.append((replace(record, revision=last), payload))
        else:
            numbered.append((record, payload))
    tx.execute("UPDATE revision_clock SET last_revision = ? WHERE id = 1", (last,))
    return numbered
