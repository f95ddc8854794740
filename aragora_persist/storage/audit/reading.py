"""What a verification reads of the database: the state of the tree, what must be true of it, and every row once.

All within one view, so that writers go on meanwhile. A row that cannot even be read is a finding like any other.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import DamagedError, StorageError
from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.append import TreeState, read_state
from aragora_persist.storage.audit.leaf import COLUMNS, RETENTION, AuditRow
from aragora_persist.storage.audit.verify import AuditProblem, AuditReport, Checkpoint, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aragora_persist.storage.audit.heads import TreeHead
    from aragora_persist.storage.audit.signing import PublicKeys
    from aragora_persist.storage.port import Reader, Value

_AT_ONCE = 512
_OUTSIDE = f"SELECT {COLUMNS} FROM audit_log WHERE position IS NULL ORDER BY id"  # noqa: S608 - constants
_FIRST = "FROM audit_log WHERE position IS NOT NULL ORDER BY position, id LIMIT ?"
_NEXT = "FROM audit_log WHERE (position, id) > (?, ?) ORDER BY position, id LIMIT ?"
_FROM = "FROM audit_log WHERE position >= ? ORDER BY position, id LIMIT ?"
_ONE = f"SELECT {COLUMNS} FROM audit_log WHERE id = ?"  # noqa: S608 - constants


def verify_log(view: Reader, heads: Sequence[TreeHead], keys: PublicKeys | None) -> AuditReport:
    """Read everything, and return what is not as it was written."""
    try:
        state = read_state(view)
    except DamagedError as error:
        problem = AuditProblem("tree", error.problem)
        empty = tree.EMPTY_ROOT.hex()
        return AuditReport(
            ok=False, size=0, root=empty, removed=0, erased=0, unchecked_heads=0, problem_count=1, problems=(problem,)
        )
    found: list[Checkpoint | AuditProblem | None] = [_head(head, keys) for head in heads]
    found.append(_retention(view, state, keys))
    walk = Walk(state, [one for one in found if isinstance(one, Checkpoint)], keys)
    for one in found:
        if isinstance(one, AuditProblem):
            walk.add(one)
    for row in _rows(view):
        walk.row(row)
    return walk.report()


def _head(head: TreeHead, keys: PublicKeys | None) -> Checkpoint | AuditProblem:
    if keys is not None and (problem := head.signature_problem(keys)):
        return AuditProblem("head", f"the head of {head.size} entries {problem}")
    text = f"the log does not begin with the {head.size} entries that a head describes"
    return Checkpoint(head.size, head.root, "head", text)


def _retention(view: Reader, state: TreeState, keys: PublicKeys | None) -> Checkpoint | AuditProblem | None:
    """Return what the entry says that allowed the last removal; everything that is gone must be covered by it."""
    if state.retention_id is None:
        gone = f"{state.removed} entries were removed, and no entry says so"
        return AuditProblem("retention", gone, 0, state.removed - 1) if state.removed else None
    try:
        timestamp, details = _retention_entry(view, state.retention_id)
        statement: dict[str, Any] = json.loads(details)
        if keys is not None and (problem := keys.problem("retention", timestamp, statement)):
            return _bad_retention(state, problem)
        if not state.removed <= int(statement["removed_to"]) <= state.size:
            return _bad_retention(state, "does not cover what was removed")
        text = f"the removed entries are not those of which the entry with the id {state.retention_id} says so"
        return Checkpoint(int(statement["removed_to"]), str(statement["root"]), "retention", text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StorageError):
        return _bad_retention(state, "is no statement about a removal")


def _retention_entry(view: Reader, entry_id: int) -> tuple[str, str]:
    sql = "SELECT timestamp, details FROM audit_log WHERE id = ? AND action = ? AND position IS NOT NULL"
    row = view.one(sql, (entry_id, RETENTION))
    if row is None:
        raise KeyError(entry_id)
    return str(row[0]), str(row[1])


def _bad_retention(state: TreeState, problem: str) -> AuditProblem:
    ident = state.retention_id
    return AuditProblem("retention", f"the entry with the id {ident} about a removal {problem}", entry_id=ident)


def _rows(view: Reader) -> Iterator[AuditRow]:
    """Yield every row in the order of positions; first those that have none."""
    for row in view.stream(_OUTSIDE):
        yield AuditRow(*row)
    rows = _some(view, _FIRST, (_AT_ONCE,))
    while rows:
        yield from rows
        rows = _some(view, _NEXT, (rows[-1].position, rows[-1].id, _AT_ONCE))


def rows_from(view: Reader, position: int, count: int) -> list[AuditRow]:
    """Return the rows from this position on, at most so many."""
    return _some(view, _FROM, (position, count))


def _some(view: Reader, clause: str, parameters: tuple[Value, ...]) -> list[AuditRow]:
    try:
        return [AuditRow(*row) for row in view.all(f"SELECT {COLUMNS} {clause}", parameters)]
    except StorageError:  # one of them holds text that is none
        places = view.all(f"SELECT id, position {clause}", parameters)
        return [_read_or_empty(view, ident, position) for ident, position in places]


def _read_or_empty(view: Reader, ident: Value, position: Value) -> AuditRow:
    try:
        row = view.one(_ONE, (ident,))
    except StorageError:
        row = None
    return AuditRow(*(row or (ident, *[None] * 9)))._replace(position=position)
