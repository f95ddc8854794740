"""Appending to the audit log inside a write transaction: rows, their leaves, and the tree's right edge, all or nothing.

The state of the tree is read in the transaction that changes it, and writers of one database come one after the other:
so there is one tree, without forks, whoever writes and whenever a process dies. What a store keeps between transactions
is a guess: the statement that relies on it compares it with the database.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import ConflictError, DamagedError
from aragora_persist.storage.audit.entries import AuditEntry, Draft, entry_of
from aragora_persist.storage.audit.leaf import COLUMNS, AuditRow, leaf_of
from aragora_persist.storage.audit.tree import HASH_BYTES, RightEdge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Reader, Row, Transaction, Value

_BY_KEY = f"SELECT {COLUMNS} FROM audit_log WHERE event_key = ?"  # noqa: S608 - constants of this package
_MOVE = "UPDATE audit_tree SET size = ?, edge = ?, last_id = ? WHERE id = 1"
_MOVE_FROM = f"{_MOVE} AND size = ? AND edge = ? AND last_id = ? AND last_id = (SELECT MAX(id) FROM audit_log)"  # noqa: S608 - as above
_BEGIN = "INSERT INTO audit_tree (id, size, edge, last_id, removed, removed_edge) VALUES (1, ?, ?, ?, 0, ?)"
_HIGHEST_ID = "(SELECT MAX(id) FROM audit_log)"
_ROWS_AT_ONCE = 32
_ROW = f"({', '.join('?' * len(AuditRow._fields))})"
_STATE = f"SELECT size, edge, last_id, removed, removed_edge, retention_id, {_HIGHEST_ID} FROM audit_tree WHERE id = 1"  # noqa: S608 - as above


Seen = tuple[int, bytes, int]
"""Size, edge and last id."""


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
        self.values: Seen | None = None


def _damaged(problem: str) -> DamagedError:
    return DamagedError("read", "audit_tree", f"the state of the tree {problem}", hint="run verify; restore a backup")


def append(
    tx: Transaction, operation: str, drafts: Sequence[Draft], last_seen: LastSeen | None = None
) -> list[AuditEntry]:
    """Append entries in their order and return them; one whose event key was used is the entry that is there.

    The state is read only where it is not the one that was seen last.

    Raises:
        ConflictError: an event key was used for another event.

    """
    logged = _logged_before(tx, drafts)
    seen = None if last_seen is None else last_seen.values
    if seen is not None:
        entries, rows, now = _grown(operation, drafts, logged, seen)
    # Where size, edge and last id are those, reading them would have led to the same.
    if seen is None or (rows and not tx.execute(_MOVE_FROM, (*now, *seen))):
        state = read_state(tx)
        seen = (state.size, state.edge, max(state.last_id, state.highest_id or 0))
        entries, rows, now = _grown(operation, drafts, logged, seen)
        if rows and not tx.execute(_MOVE, now):
            tx.execute(_BEGIN, (*now, b""))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        tx.execute(_insert(len(some)), [*chain.from_iterable(some)])
    if rows and last_seen is not None:
        last_seen.values = now
    return entries


@cache
def _insert(count: int) -> str:
    """Return the statement that inserts so many rows: with one for each, threads would change after every row."""
    return f"INSERT INTO audit_log ({COLUMNS}) VALUES {', '.join([_ROW] * count)}"  # noqa: S608 - constants of this package


def _grown(
    operation: str, drafts: Sequence[Draft], logged: dict[Value, AuditEntry], seen: Seen
) -> tuple[list[AuditEntry], list[Row], Seen]:
    """Return the entries, the rows of those that are new, and size, edge and last id behind them."""
    edge, last_id = RightEdge(seen[0], seen[1]), seen[2]
    entries, rows, known = [], [], dict(logged)
    for draft in drafts:
        key, position = draft.row.event_key, edge.size
        if key in known:
            entries.append(_same_event(operation, draft, known[key]))
            continue
        last_id += 1
        nodes = edge.append(leaf_of(last_id, position, draft.content))
        rows.append(draft.stored(last_id, position, nodes))
        entries.append(draft.entry(last_id))
        if key is not None:
            known[key] = entries[-1]
    return entries, rows, (edge.size, edge.stored, last_id)


def _logged_before(tx: Transaction, drafts: Sequence[Draft]) -> dict[Value, AuditEntry]:
    """Return the entries that have event keys of these drafts, by their keys."""
    logged = {}
    for draft in drafts:
        key = draft.row.event_key
        row = None if key is None else tx.one(_BY_KEY, (key,))
        if row is not None:
            logged[key] = entry_of(row)
    return logged


def _same_event(operation: str, draft: Draft, known: AuditEntry) -> AuditEntry:
    """Return the entry that has the draft's event key; what an erasure or a later retry changes is not compared."""
    row = draft.row
    if (row.action, row.org_id, row.resource_type) != (known.action, known.org_id, known.resource_type):
        raise ConflictError(
            operation, "event_key", f"was used for entry {known.id}, another event", hint="give each event its own key"
        )
    return known
