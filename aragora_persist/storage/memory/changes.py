"""What the store's methods do inside their transactions. The time is the caller's; arguments were checked before."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def record_outcome(memory_id: str, success: bool, now: datetime, tx: Transaction) -> Memory:  # noqa: FBT001 - a partial's
    """Count an outcome, learn from it, and move the memory where that is due."""
    operation = "memory.record_outcome"
    memory = existing(tx, operation, memory_id, now)
    tier = tier_named(memory.tier)
    counts = memory.success_count, memory.failure_count
    surprise, stability = learned(tier, memory.surprise, memory.stability, counts, success=success)
    count = {"success_count": counts[0] + 1} if success else {"failure_count": counts[1] + 1}
    touch(tx, memory, now, surprise=surprise, stability=stability, **count)
    if due := next_tier(tier, surprise, stability, memory.tier_changed_at, now):
        move(tx, memory, *due, now)
    return existing(tx, operation, memory_id, now)


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
