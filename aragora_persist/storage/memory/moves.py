"""What happens to memories inside one transaction: they are touched, moved, archived, restored.

The time is the caller's, so that all of one call happened at one moment. Leaves out: who may ask for it and how
(``memory_store``, ``sweep``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aragora_persist.errors import NotFoundError
from aragora_persist.storage.memory.records import ARCHIVE_COLUMNS, KEPT_COLUMNS, MEMORY_COLUMNS, Memory, to_memory
from aragora_persist.storage.memory.tiers import Tier, strength, tier_named
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aragora_persist.storage.port import Reader, Transaction, Value

_ONE = f"SELECT {MEMORY_COLUMNS} FROM memories WHERE id = ?"  # noqa: S608 - constants of this package
_ARCHIVE = f"""
    INSERT INTO memory_archive ({ARCHIVE_COLUMNS})
    SELECT {KEPT_COLUMNS}, CAST(? AS TEXT), CAST(? AS TEXT) FROM memories WHERE id = ?
"""  # noqa: S608 - as above
_RESTORE = f"""
    INSERT INTO memories ({KEPT_COLUMNS}, updated_at)
    SELECT {KEPT_COLUMNS}, CAST(? AS TEXT) FROM memory_archive WHERE id = ?
"""  # noqa: S608 - as above
_COUNT = """
    INSERT INTO tier_counts (tier, memories) VALUES (?, ?)
    ON CONFLICT (tier) DO UPDATE SET memories = tier_counts.memories + excluded.memories
"""
# Both parts are counted in an index (`||` makes it that of the red lines), and not over all rows of the tier.
_RECOUNT = """
    INSERT INTO tier_counts (tier, memories) VALUES (?,
        (SELECT COUNT(*) FROM memories WHERE tier = ?)
        - (SELECT COUNT(*) FROM memories WHERE red_line = 1 AND tier || '' = ?))
    ON CONFLICT (tier) DO UPDATE SET memories = excluded.memories
"""
_WEAKEST = "SELECT id FROM memories WHERE tier = ? AND red_line = 0 AND id <> ? ORDER BY strength, id LIMIT ?"
MOST_CROWDED_OUT = 100
"""At a single change; the rest, where somebody put more there, is left to the sweep."""


def find(view: Reader, memory_id: str, now: datetime) -> Memory | None:
    """Return the memory of this id, or None."""
    row = view.one(_ONE, (memory_id,))
    return None if row is None else to_memory(row, now)


def existing(view: Reader, operation: str, memory_id: str, now: datetime) -> Memory:
    """Return the memory of this id.

    Raises:
        NotFoundError: there is none.

    """
    memory = find(view, memory_id, now)
    if memory is None:
        raise NotFoundError(operation, memory_id, "there is no such memory", hint="it may be in the archive")
    return memory


def touch(tx: Transaction, memory: Memory, now: datetime, **columns: Value) -> None:
    """Write these columns, and that the memory decays from now on."""
    tier = tier_named(cast("str", columns.get("tier", memory.tier)))
    columns |= {"updated_at": to_text(now), "strength": strength(tier, memory.importance, now)}
    assignments = ", ".join(f"{column} = ?" for column in columns)
    tx.execute(f"UPDATE memories SET {assignments} WHERE id = ?", (*columns.values(), memory.id))  # noqa: S608 - ours


def move(tx: Transaction, memory: Memory, tier: Tier, reason: str, now: datetime) -> None:
    """Move a memory into another tier, and note it; that touches it, and may crowd out the weakest there."""
    touch(tx, memory, now, tier=tier.name, tier_changed_at=to_text(now))
    tx.execute(
        "INSERT INTO tier_transitions (memory_id, from_tier, to_tier, reason, moved_at) VALUES (?, ?, ?, ?, ?)",
        (memory.id, memory.tier, tier.name, reason, to_text(now)),
    )
    if not memory.red_line:
        count(tx, memory.tier, -1)
        count(tx, tier.name, 1)
    crowd_out(tier, now, MOST_CROWDED_OUT, tx, but=memory.id)


def count(tx: Transaction, tier: str, change: int) -> None:
    """Keep the number of a tier's memories that its cap counts: those that are no red lines."""
    tx.execute(_COUNT, (tier, change))


def recount(tx: Transaction, tier: str) -> None:
    """Count a tier's memories anew, whoever wrote them."""
    tx.execute(_RECOUNT, (tier, tier, tier))


def crowd_out(tier: Tier, now: datetime, most: int, tx: Transaction, *, but: str = "") -> int:
    """Archive the weakest of a tier that holds more than its cap, never ``but``, and return how many."""
    row = tx.one("SELECT memories FROM tier_counts WHERE tier = ?", (tier.name,))
    excess = 0 if row is None else int(cast("int", row[0])) - tier.cap
    if excess <= 0:
        return 0
    weakest = [cast("str", row[0]) for row in tx.all(_WEAKEST, (tier.name, but, min(excess, most)))]
    archive(tx, tier, weakest, "cap", now)
    return len(weakest)


def archive(tx: Transaction, tier: Tier, memory_ids: Sequence[str], reason: str, now: datetime) -> None:
    """Move these memories of a tier, none of them a red line, into the archive."""
    count(tx, tier.name, -len(memory_ids))
    put_away(tx, memory_ids, reason, now)


def put_away(tx: Transaction, memory_ids: Sequence[str], reason: str, now: datetime) -> None:
    """Move these memories into the archive, red lines or not; the counts are the caller's."""
    tx.execute_many(_ARCHIVE, [(reason, to_text(now), memory_id) for memory_id in memory_ids])
    tx.execute_many("DELETE FROM memories WHERE id = ?", [(memory_id,) for memory_id in memory_ids])


def restore(memory_id: str, now: datetime, tx: Transaction) -> Memory:
    """Move a memory out of the archive into its tier, touched now."""
    operation = "memory.restore"
    if tx.execute(_RESTORE, (to_text(now), memory_id)) == 0:
        raise NotFoundError(operation, memory_id, "is not in the archive")
    tx.execute("DELETE FROM memory_archive WHERE id = ?", (memory_id,))
    memory = existing(tx, operation, memory_id, now)
    touch(tx, memory, now)
    if not memory.red_line:
        count(tx, memory.tier, 1)
    crowd_out(tier_named(memory.tier), now, MOST_CROWDED_OUT, tx, but=memory_id)
    return memory


def note_red_line(tx: Transaction, memory_id: str, action: str, reason: str, now: datetime) -> None:
    """Note what was done to a red line, and why."""
    tx.execute(
        "INSERT INTO red_line_events (memory_id, action, reason, recorded_at) VALUES (?, ?, ?, ?)",
        (memory_id, action, reason, to_text(now)),
    )
