"""What the store's methods do inside their transactions. The time is the caller's; arguments were checked before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import ConflictError, NotFoundError
from aragora_persist.storage.memory.moves import (
    MOST_CROWDED_OUT,
    archive,
    count,
    crowd_out,
    existing,
    move,
    note_red_line,
    put_away,
    touch,
)
from aragora_persist.storage.memory.tiers import Tier, learned, next_tier, tier_named
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.memory.records import Memory
    from aragora_persist.storage.port import Row, Transaction

_ADD = """
    INSERT INTO memories (id, tier, content, importance, metadata, created_at, updated_at, strength)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADDED = "SELECT content, importance, metadata FROM memories WHERE id = ?"
_FORGET_OUTCOMES = """
    DELETE FROM memory_outcomes WHERE event_key IN (
        SELECT event_key FROM memory_outcomes WHERE recorded_at < ? ORDER BY recorded_at LIMIT ?
    )
"""
_OUTCOMES_KEPT = timedelta(days=30)


class Outcome(NamedTuple):
    """Whether a memory proved right; ``success`` is 0 or 1."""

    memory_id: str
    success: int
    event_key: str | None


def add(row: Row, tier: Tier, now: datetime, tx: Transaction) -> Memory:
    """Keep a memory, a row of ``_ADD``; one that is there already stays as it is."""
    operation, memory_id = "memory.add", str(row[0])
    stored = tx.one(_ADDED, (memory_id,))
    if stored is None:
        if tx.one("SELECT 1 FROM memory_archive WHERE id = ?", (memory_id,)) is not None:
            raise ConflictError(operation, memory_id, "is in the archive", hint="restore it")
        tx.execute(_ADD, row)
        count(tx, tier.name, 1)
        crowd_out(tier, now, MOST_CROWDED_OUT, tx, but=memory_id)
    elif stored != row[2:5]:
        raise ConflictError(operation, memory_id, "is another memory", hint="give the new one an id of its own")
    return existing(tx, operation, memory_id, now)


def access(memory_id: str, now: datetime, tx: Transaction) -> Memory:
    """Count an access."""
    memory = existing(tx, "memory.access", memory_id, now)
    touch(tx, memory, now, access_count=memory.access_count + 1, last_accessed_at=to_text(now))
    return existing(tx, "memory.access", memory_id, now)


def record_outcome(outcome: Outcome, now: datetime, tx: Transaction) -> Memory:
    """Count an outcome, learn from it, and move the memory where that is due; one that has counted changes nothing."""
    operation, memory_id = "memory.record_outcome", outcome.memory_id
    memory = existing(tx, operation, memory_id, now)
    if outcome.event_key is not None and not _is_new(outcome, now, tx):
        return memory
    tier = tier_named(memory.tier)
    counts = memory.success_count, memory.failure_count
    success = outcome.success == 1
    surprise, stability = learned(tier, memory.surprise, memory.stability, counts, success=success)
    count = {"success_count": counts[0] + 1} if success else {"failure_count": counts[1] + 1}
    touch(tx, memory, now, surprise=surprise, stability=stability, **count)
    if due := next_tier(tier, surprise, stability, memory.tier_changed_at, now):
        move(tx, memory, *due, now)
    return existing(tx, operation, memory_id, now)


def forget_outcomes(now: datetime, some: int, tx: Transaction) -> int:
    """Forget so many old keys of outcomes, and return how many there were."""
    return tx.execute(_FORGET_OUTCOMES, (to_text(now - _OUTCOMES_KEPT), some))


def mark_red_line(memory_id: str, reason: str, now: datetime, tx: Transaction) -> Memory:
    """Make a memory a red line."""
    return _set_red_line("memory.mark_red_line", memory_id, "marked", reason, now, tx)


def lift_red_line(memory_id: str, reason: str, now: datetime, tx: Transaction) -> Memory:
    """Make a red line a memory like any other."""
    return _set_red_line("memory.lift_red_line", memory_id, "lifted", reason, now, tx)


def archive_one(memory_id: str, reason: str | None, now: datetime, tx: Transaction) -> None:
    """Move a memory into the archive, a red line only for a reason."""
    operation = "memory.archive"
    memory = existing(tx, operation, memory_id, now)
    if memory.red_line:
        note_red_line(tx, memory_id, "archived", _stated(operation, memory_id, reason), now)
        put_away(tx, [memory_id], reason or "archived", now)
    else:
        archive(tx, tier_named(memory.tier), [memory_id], reason or "archived", now)


def delete(memory_id: str, reason: str | None, now: datetime, tx: Transaction) -> None:
    """Delete a memory wherever it is, a red line only for a reason."""
    operation = "memory.delete"
    for table in ("memories", "memory_archive"):
        row = tx.one(f"SELECT red_line, tier FROM {table} WHERE id = ?", (memory_id,))  # noqa: S608 - two constants
        if row is not None:
            if row[0] == 1:
                note_red_line(tx, memory_id, "deleted", _stated(operation, memory_id, reason), now)
            elif table == "memories":
                count(tx, str(row[1]), -1)
            tx.execute(f"DELETE FROM {table} WHERE id = ?", (memory_id,))  # noqa: S608 - as above
            return
    raise NotFoundError(operation, memory_id, "there is no such memory")


def _is_new(outcome: Outcome, now: datetime, tx: Transaction) -> bool:
    """Note the key of an outcome; False when it was noted before."""
    stored = tx.one("SELECT memory_id, success FROM memory_outcomes WHERE event_key = ?", (outcome.event_key,))
    if stored is None:
        tx.execute(
            "INSERT INTO memory_outcomes (event_key, memory_id, success, recorded_at) VALUES (?, ?, ?, ?)",
            (outcome.event_key, outcome.memory_id, outcome.success, to_text(now)),
        )
    elif stored != outcome[:2]:
        problem = f"was used for another outcome, of memory {stored[0]!s}"
        raise ConflictError("memory.record_outcome", "event_key", problem, hint="give each outcome its own key")
    return stored is None


def _set_red_line(operation: str, memory_id: str, action: str, reason: str, now: datetime, tx: Transaction) -> Memory:
    flag = action == "marked"
    memory = existing(tx, operation, memory_id, now)
    if memory.red_line == flag:
        return memory
    tx.execute("UPDATE memories SET red_line = ? WHERE id = ?", (int(flag), memory_id))
    count(tx, memory.tier, -1 if flag else 1)
    crowd_out(tier_named(memory.tier), now, MOST_CROWDED_OUT, tx, but=memory_id)
    note_red_line(tx, memory_id, action, reason, now)
    return existing(tx, operation, memory_id, now)


def _stated(operation: str, memory_id: str, reason: str | None) -> str:
    if reason is None:
        raise ConflictError(operation, memory_id, "is a red line", hint="state the reason: reason=…")
    return reason
