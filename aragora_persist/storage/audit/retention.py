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
from aragora_persist.storage.audit.leaf import RETENTION, AuditRow, content_of, leaf_of
from aragora_persist.storage.audit.nodes import NodeSource
from aragora_persist.storage.audit.reading import rows_from
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from aragora_persist.storage.audit.signing import SigningKey
    from aragora_persist.storage.port import Reader, Transaction

OPERATION = "audit.cleanup_old_entries"
AT_ONCE = 2_000
"""How many entries one transaction removes: some tens of milliseconds."""


def end_of_old(view: Reader, cutoff: str) -> int:
    """Return the position before which every entry is older than ``cutoff``.

    The log is removed from its beginning only: an old entry behind a younger one waits for it. Each is verified, up to
    and with the first that is too young: whoever changes the time of an entry must neither bring about, in the log's
    own name, that it goes, nor that it and all behind it stay.

    Raises:
        DamagedError: an entry is missing, or is not what was logged.

    """
    state = read_state(view)
    edge = tree.RightEdge(state.removed, state.removed_edge)
    while edge.size < state.size:
        for row in _rows_that_must_be(view, edge.size, min(AT_ONCE, state.size - edge.size)):
            _add_intact(edge, row)
            if str(row.timestamp) >= cutoff:
                return edge.size - 1
    return edge.size


def _rows_that_must_be(view: Reader, first: int, count: int) -> list[AuditRow]:
    """Return the rows of these positions; in the place of those that are missing at the end, one that is none."""
    rows = rows_from(view, first, count)
    return rows if len(rows) == count else [*rows, AuditRow(*[None] * 10)]


def _add_intact(edge: tree.RightEdge, row: AuditRow) -> None:
    """Add the leaf of the next row, if it is that and what was logged; to go on would take the traces of an attack."""
    position = edge.size
    if row.position != position or edge.append(leaf_of(row.id, position, content_of(row))) != row.nodes:
        raise DamagedError(
            OPERATION,
            f"audit entry at position {position}",
            "is missing or damaged, so that nothing from it on is removed",
            hint="run verify; a backup has the entry",
        )


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
    until = max(min(end, state.removed + AT_ONCE), state.removed)
    count = until - state.removed
    if count == 0:
        return 0
    for row in _rows_that_must_be(tx, state.removed, count):
        _add_intact(edge, row)
    tx.execute("DELETE FROM audit_log WHERE position >= ? AND position < ?", (state.removed, until))
    tx.execute("UPDATE audit_tree SET removed = ?, removed_edge = ? WHERE id = 1", (edge.size, edge.stored))
    return count


def remove_strays(tx: Transaction, cutoff: str) -> int:
    """Remove old rows that plain SQL wrote beside the log, at most ``AT_ONCE``, and return how many."""
    return tx.execute(
        "DELETE FROM audit_log WHERE id IN"
        " (SELECT id FROM audit_log WHERE position IS NULL AND timestamp < ? ORDER BY id LIMIT ?)",
        (cutoff, AT_ONCE),
    )
