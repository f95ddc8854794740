"""The outbox as its sender sees it: what waits for which table, and what becomes of it.

A record is removed only as the very one that was sent: by id, key and revision. So a newer revision that was enqueued
meanwhile stays, and so does whatever a restored database holds under the same id. Leaves out: sending.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.cloud.batches import BATCH_ROWS
from aragora_persist.cloud.outbox import COLUMNS, to_entry
from aragora_persist.errors import DamagedError
from aragora_persist.settings import Durability

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from aragora_persist.cloud.outbox import Outbox, OutboxEntry
    from aragora_persist.storage.port import Reader, Row, Value

BATCH_RECORDS = BATCH_ROWS
BATCH_CHARACTERS = 2 * 2**20
"""At most so much text is read at once, however large the records are; a single one may be larger."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A waiting record that is not what was enqueued; key and revision as they are stored."""

    id: Value
    key: Value
    revision: Value
    problem: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest waiting records of one table, in the order in which they came."""

    entries: list[OutboxEntry]
    damaged: list[Damaged]


def waiting_tables(outbox: Outbox) -> list[str]:
    """Return the tables that records wait for. It is cheap, however many wait."""
    tables: list[str] = []
    with outbox.read("sync.tables") as view:
        # One step in the index for each table; DISTINCT would walk over all records.
        while row := view.one(
            "SELECT table_name FROM outbox WHERE table_name > ? ORDER BY table_name LIMIT 1",
            (tables[-1] if tables else "",),
        ):
            tables.append(str(row[0]))
    return tables


def next_batch(outbox: Outbox, table: str, *, without: Collection[int] = ()) -> Batch:
    """Return the oldest records that wait for ``table``, as many as are good to send at once; not those ``without``."""
    others = f"table_name = ? AND id NOT IN ({', '.join('?' * len(without))})"
    with outbox.read("sync.batch") as view:
        last = _last_of_batch(view, others, (table, *without))
        rows = view.all(
            f"SELECT {COLUMNS} FROM outbox WHERE {others} AND id <= ? ORDER BY id",  # noqa: S608 - constants, parameters
            (table, *without, last),
        )
    return _batch(rows)


def one_of(outbox: Outbox, table: str, id_: int) -> Batch:
    """Return one record, if it still waits for ``table``."""
    with outbox.read("sync.one") as view:
        sql = f"SELECT {COLUMNS} FROM outbox WHERE table_name = ? AND id = ?"  # noqa: S608 - a constant
        return _batch(view.all(sql, (table, id_)))


def _batch(rows: Iterable[Row]) -> Batch:
    batch = Batch([], [])
    for row in rows:
        try:
            batch.entries.append(to_entry(row))
        except DamagedError as error:
            batch.damaged.append(Damaged(row[0], row[2], row[3], error.problem))
    return batch


def _last_of_batch(view: Reader, others: str, values: tuple[Value, ...]) -> int:
    """Return the id at which a batch of ``others``, a condition and its values, must end to stay within its bounds."""
    last = size = count = 0
    # To know the length of a text SQLite reads it: at most as many records again as fit, and not a thousand large ones.
    while rows := view.all(
        f"SELECT id, length(payload) FROM outbox WHERE {others} AND id > ? ORDER BY id LIMIT ?",  # noqa: S608 - as above
        (*values, last, min(max(1, count), BATCH_RECORDS - count)),
    ):
        for id_, characters in rows:
            size += int(characters or 0)
            if count and size > BATCH_CHARACTERS:
                return last
            last = int(id_ or 0)
            count += 1
    return last


def remove_delivered(outbox: Outbox, entries: Sequence[OutboxEntry]) -> None:
    """Remove what the server has taken.

    Not waiting for the disk: where a loss of power undoes it, the same rows are sent again, which changes nothing.
    """
    with outbox.transaction("sync.delivered", durability=Durability.COMMITTED) as tx:
        tx.execute_many(
            "DELETE FROM outbox WHERE id = ? AND record_key = ? AND revision = ?",
            [(entry.id, entry.key, entry.revision) for entry in entries],
        )
        tx.execute("UPDATE sync_state SET last_success_at = ? WHERE id = 1", (times.to_text(times.utc_now()),))


def set_aside(outbox: Outbox, entry: OutboxEntry | Damaged, reason: str) -> int:
    """Move a record that can never be delivered to the dead letters; return 1, or 0 when it waits no more.

    Of one record the newest revision is kept there. ``attempts`` counts how often the record was refused since it came
    there.
    """
    this = (entry.id, entry.key, entry.revision)
    with outbox.transaction("sync.refused") as tx:
        tx.execute(
            "INSERT INTO dead_letters"
            " (table_name, record_key, revision, payload, enqueued_at, failed_at, attempts, reason)"
            " SELECT table_name, record_key, revision, payload, enqueued_at, ?, 1, ? FROM outbox"
            " WHERE id = ? AND record_key = ? AND revision = ?"
            " ON CONFLICT (record_key, table_name) DO UPDATE SET"
            " revision = excluded.revision, payload = excluded.payload, enqueued_at = excluded.enqueued_at,"
            " failed_at = excluded.failed_at, attempts = dead_letters.attempts + 1, reason = excluded.reason"
            " WHERE excluded.revision >= dead_letters.revision",
            (times.to_text(times.utc_now()), reason, *this),
        )
        return tx.execute("DELETE FROM outbox WHERE id = ? AND record_key = ? AND revision = ?", this)


def redrive(outbox: Outbox) -> int:
    """Let every dead letter wait again, and return how many there were; a newer revision that waits is left alone.

    Doing it again does nothing.
    """
    with outbox.transaction("sync.redrive") as tx:
        tx.execute(
            "DELETE FROM outbox WHERE id IN (SELECT waiting.id FROM dead_letters AS dead JOIN outbox AS waiting"
            " ON waiting.record_key = dead.record_key AND waiting.table_name = dead.table_name"
            " WHERE waiting.revision < dead.revision)"
        )
        tx.execute(
            "INSERT INTO outbox (table_name, record_key, revision, payload, enqueued_at)"
            " SELECT table_name, record_key, revision, payload, ? FROM dead_letters WHERE true ORDER BY id"
            " ON CONFLICT (record_key, table_name) DO NOTHING",
            (times.to_text(times.utc_now()),),
        )
        return tx.execute("DELETE FROM dead_letters")


def count_dead_letters(outbox: Outbox) -> int:
    """Return how many records were set aside."""
    with outbox.read("sync.dead_letters") as view:
        row = view.one("SELECT COUNT(*) FROM dead_letters")
    return int(row[0] or 0) if row else 0


def note_problem(outbox: Outbox, problem: str) -> None:
    """Note what keeps records from being delivered, for whoever looks at the outbox; '' when nothing does."""
    since = times.to_text(times.utc_now()) if problem else None
    with outbox.transaction("sync.problem") as tx:
        tx.execute(
            "UPDATE sync_state SET problem = ?, problem_since = ? WHERE id = 1 AND problem <> ?",
            (problem, since, problem),
        )
