"""Removing the oldest entries, and only them, so that what remains can still be verified.

First an entry of the log says up to which position entries are removed, why, and what the root of the tree was there,
signed where a key is configured. Then they go, some at a time; of them stays the right edge of the tree that they
were. A cleanup that was cut off is completed by the next one. Leaves out: what is old (``AuditStore`` asks the
settings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aragora_persist.errors import DamagedError
from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.append import append, read_state
from aragora_persist.storage.audit.entries import NewEntry, draft_own
from aragora_persist.storage.audit.leaf import RETENTION
from aragora_persist.storage.audit.nodes import NodeSource
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from aragora_persist.storage.audit.signing import SigningKey
    from aragora_persist.storage.port import Reader, Transaction

OPERATION = "audit.cleanup"
AT_ONCE = 2_000
"""How many entries one transaction removes: some tens of milliseconds."""


def end_of_old(view: Reader, cutoff: str) -> int:
    """Return the position before which every entry is older than ``cutoff``.

    The log is removed from its beginning only: an old entry behind a younger one waits for it.
    """
    first_young = view.one("SELECT MIN(id) FROM audit_log WHERE timestamp >= ? AND position IS NOT NULL", (cutoff,))
    if first_young is not None and first_young[0] is not None:
        row = view.one("SELECT position FROM audit_log WHERE id = ?", (first_young[0],))
        return int(row[0] or 0) if row is not None else 0
    return read_state(view).size


def authorize(tx: Transaction, end: int, cutoff: str, days: int, now: str, key: SigningKey | None) -> None:
    """Append the entry that says that everything before position ``end`` is removed; nothing where that is so."""
    state = read_state(tx)
    if state.removed >= end:
        return
    names = tree.complete_nodes(0, end)
    source = NodeSource(tx, OPERATION, names)
    statement: dict[str, Any] = {
        "removed_to": end,
        "root": tree.fold([source(*name) for name in names]).hex(),
        "older_than": cutoff,
        "retention_days": days,
    }
    if key is not None:
        statement = key.sign("retention", now, statement)
    entry = append(tx, OPERATION, [draft_own(OPERATION, NewEntry(RETENTION, details=statement), from_text(now))])[0]
    tx.execute("UPDATE audit_tree SET retention_id = ? WHERE id = 1", (entry.id,))


def remove_some(tx: Transaction, end: int) -> int:
    """Remove the oldest entries before position ``end``, at most ``AT_ONCE``, and return how many."""
    state = read_state(tx)
    edge = tree.RightEdge(state.removed, state.removed_edge)
    until = min(end, state.removed + AT_ONCE)
    rows = tx.all(
        "SELECT position, nodes FROM audit_log WHERE position >= ? AND position < ? ORDER BY position",
        (state.removed, until),
    )
    for position, nodes in rows:
        if position != edge.size or not isinstance(nodes, bytes) or len(nodes) < tree.HASH_BYTES:
            break
        edge.append(nodes[: tree.HASH_BYTES])
    if edge.size != max(until, state.removed):
        # To go on would take the traces of whoever removed it.
        raise DamagedError(
            OPERATION,
            f"audit entry at position {edge.size}",
            "is missing or damaged, so that nothing behind it is removed",
            hint="run verify; a backup has the entry",
        )
    if rows:
        tx.execute("DELETE FROM audit_log WHERE position >= ? AND position < ?", (state.removed, until))
        tx.execute("UPDATE audit_tree SET removed = ?, removed_edge = ? WHERE id = 1", (edge.size, edge.stored))
    return len(rows)


def remove_strays(tx: Transaction, cutoff: str) -> int:
    """Remove old rows that plain SQL wrote beside the log, at most ``AT_ONCE``, and return how many."""
    return tx.execute(
        "DELETE FROM audit_log WHERE id IN"
        " (SELECT id FROM audit_log WHERE position IS NULL AND timestamp < ? ORDER BY id LIMIT ?)",
        (cutoff, AT_ONCE),
    )
