"""What a sweep does in one transaction each; every one is small, and doing it again finds nothing left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aragora_persist.storage.memory.moves import archive, crowd_out, move, recount
from aragora_persist.storage.memory.records import MEMORY_COLUMNS, to_memory
from aragora_persist.storage.memory.tiers import PROMOTION_COOLDOWN, Tier, expires_before, faster, slower
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Transaction

_EXPIRED = "SELECT id FROM memories WHERE tier = ? AND updated_at < ? AND red_line = 0 ORDER BY updated_at LIMIT ?"
_STABLE = f"""
    SELECT {MEMORY_COLUMNS} FROM memories WHERE tier = ? AND stability > ? LIMIT ?
"""  # noqa: S608 - constants of this package
_SURPRISING = f"""
    SELECT {MEMORY_COLUMNS} FROM memories
    WHERE tier = ? AND surprise > ? AND (tier_changed_at IS NULL OR tier_changed_at <= ?) LIMIT ?
"""  # noqa: S608 - as above


def expire(tier: Tier, now: datetime, most: int, tx: Transaction) -> int:
    """Archive memories that nobody touched for two half-lives, and return how many."""
    rows = tx.all(_EXPIRED, (tier.name, to_text(expires_before(tier, now)), most))
    archive(tx, tier, [cast("str", row[0]) for row in rows], "retention", now)
    return len(rows)


def demote(tier: Tier, now: datetime, most: int, tx: Transaction) -> int:
    """Move memories that have become stable to the next slower tier, and return how many."""
    rows = tx.all(_STABLE, (tier.name, tier.demote_above, most))
    for row in rows:
        move(tx, to_memory(row, now), slower(tier), "demotion", now)
    return len(rows)


def promote(tier: Tier, now: datetime, most: int, tx: Transaction) -> int:
    """Move memories that surprise, and have rested since their last move, to the next faster tier; return how many."""
    rows = tx.all(_SURPRISING, (tier.name, tier.promote_above, to_text(now - PROMOTION_COOLDOWN), most))
    for row in rows:
        move(tx, to_memory(row, now), faster(tier), "promotion", now)
    return len(rows)


def trim(tier: Tier, now: datetime, most: int, tx: Transaction) -> int:
    """Archive the weakest beyond the cap, whoever put memories there, and return how many."""
    recount(tx, tier.name)
    return crowd_out(tier, now, most, tx)
