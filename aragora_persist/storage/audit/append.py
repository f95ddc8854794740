"""Appending to the audit log inside a write transaction: rows, their leaves, and the tree's right edge, all or nothing.

The state of the tree is read in the transaction that changes it, and writers of one database come one after the other:
so there is one tree, without forks, whoever writes and whenever a process dies. What a store keeps between transactions
is a guess: the statement that relies on it compares it with the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import ConflictError, DamagedError
from aragora_persist.storage.audit.entries import AuditEntry, Draft, entry_of
from aragora_persist.storage.audit.leaf import COLUMNS, AuditRow, leaf_of
from aragora_persist.storage.audit.tree import HASH_BYTES, RightEdge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Reader, Row, Transaction, Value

_INSERT = f"INSERT INTO audit_log ({COLUMNS}) VALUES ({', '.join('?' * len(AuditRow._fields))})"  # noqa: S608 - constants of this package
_BY_KEY = f"SELECT {COLUMNS} FROM audit_log WHERE event_key = ?"  # noqa: S608 - as above
_MOVE = "UPDATE audit_tree SET size = ?, edge = ?, last_id = ? WHERE id = 1"
_MOVE_FROM = f"{_MOVE} AND size = ? AND edge = ? AND last_id = ? AND last_id = (SELECT MAX(id) FROM audit_log)"  # noqa: S608 - as above
_HIGHEST_ID = "(SELECT MAX(id) FROM audit_log)"
_STATE = f"SELECT size, edge, last_id, removed, removed_edge, retention_id, {_HIGHEST_ID} FROM audit_tree WHERE id = 1"  # noqa: S608 - as above


class TreeState(NamedTuple):
    """The one row of ``audit_tree``: the right edge, and what retention has removed, as the edge of a tree of it.

    ``highest_id`` is that of the table: plain SQL may have written beside the log, and must not block it.
    """

    size: int = 0
    edge: bytes = b""
    last_id: int = 0
    removed: int = 0
    removed_edge: bytes = b""
    retention_id: int | None = None
    highest_id: int | None = None


def read_state(view: Reader) -> TreeState:
    """Return the state; before the first entry there is no row yet.

    Raises:
        DamagedError: it is not what the log writes, or is gone.

    """
    row = view.one(_STATE)
    if row is None:
        outside = view.one("SELECT MAX(id), MAX(position) FROM audit_log")
        if outside is not None and outside[1] is not None:
            raise _damaged("is gone")
        return TreeState(highest_id=None if outside is None else outside[0])  # type: ignore[arg-type] # an id
    size, edge, last_id, removed, removed_edge, retention_id, _ = row
    if not (_is_edge(size, edge) and _is_edge(removed, removed_edge) and isinstance(last_id, int)):
        raise _damaged("is not what the log writes")
    if not isinstance(retention_id, int | None) or int(removed or 0) > int(size or 0):
        raise _damaged("is not what the log writes")
    return TreeState._make(row)


def _is_edge(size: Value, edge: Value) -> bool:
    return (
        isinstance(size, int) and isinstance(edge, bytes) and size >= 0 and len(edge) == HASH_BYTES * size.bit_count()
    )


class LastSeen:
    """Size, edge and last id behind the entry that a store appended last: mostly, they are so still."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: tuple[int, bytes, int] | None = None


def _damaged(problem: str) -> DamagedError:
    return DamagedError("read", "audit_tree", f"the state of the tree {problem}", hint="run verify; restore a backup")


def append_one(tx: Transaction, operation: str, draft: Draft, last_seen: LastSeen) -> AuditEntry:
    """Append one entry, as ``append``; the state is only read where it is not the one that was seen last."""
    seen = last_seen.values
    if seen is not None:
        known = _logged_before(tx, operation, draft, {})
        if known is not None:
            return known
        edge, ident = RightEdge(seen[0], seen[1]), seen[2] + 1
        nodes = edge.append(leaf_of(ident, seen[0], draft.content))
        moved = (edge.size, edge.stored, ident)
        # Where size, edge and last id are those, reading them would have led to the same.
        if tx.execute(_MOVE_FROM, (*moved, *seen)):
            tx.execute(_INSERT, draft.stored(ident, seen[0], nodes))
            last_seen.values = moved
            return draft.entry(ident)
    return append(tx, operation, [draft], last_seen)[0]


def append(
    tx: Transaction, operation: str, drafts: Sequence[Draft], last_seen: LastSeen | None = None
) -> list[AuditEntry]:
    """Append entries in their order and return them; one whose event key was used is the entry that is there.

    Raises:
        ConflictError: an event key was used for another event.

    """
    state = read_state(tx)
    edge = RightEdge(state.size, state.edge)
    next_id = 1 + max(state.last_id, state.highest_id or 0)
    entries: list[AuditEntry] = []
    rows: list[Row] = []
    keys: dict[Value, AuditEntry] = {}
    for draft in drafts:
        known = _logged_before(tx, operation, draft, keys)
        if known is not None:
            entries.append(known)
            continue
        position = edge.size
        nodes = edge.append(leaf_of(next_id, position, draft.content))
        rows.append(draft.stored(next_id, position, nodes))
        entries.append(draft.entry(next_id))
        if draft.row.event_key is not None:
            keys[draft.row.event_key] = entries[-1]
        next_id += 1
    if rows:
        tx.execute_many(_INSERT, rows)
        _write_edge(tx, edge, next_id - 1)
        if last_seen is not None:
            last_seen.values = (edge.size, edge.stored, next_id - 1)
    return entries


def _logged_before(tx: Transaction, operation: str, draft: Draft, keys: dict[Value, AuditEntry]) -> AuditEntry | None:
    """Return the entry that has the draft's event key; what an erasure or a later retry changes is not compared."""
    row = draft.row
    if row.event_key is None:
        return None
    known = keys.get(row.event_key)
    if known is None:
        found = tx.one(_BY_KEY, (row.event_key,))
        if found is None:
            return None
        known = entry_of(found)
    if (row.action, row.org_id, row.resource_type) != (known.action, known.org_id, known.resource_type):
        raise ConflictError(
            operation, "event_key", f"was used for entry {known.id}, another event", hint="give each event its own key"
        )
    return known


def _write_edge(tx: Transaction, edge: RightEdge, last_id: int) -> None:
    values = (edge.size, edge.stored, last_id)
    if not tx.execute(_MOVE, values):
        tx.execute(
            "INSERT INTO audit_tree (id, size, edge, last_id, removed, removed_edge) VALUES (1, ?, ?, ?, 0, ?)",
            (*values, b""),
        )
