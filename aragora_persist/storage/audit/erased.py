"""Telling erasures by policy from fields that somebody emptied: a later entry of the log names each. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aragora_persist.storage.audit.leaf import AuditRow, has_actor, has_subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.audit.signing import PublicKeys
    from aragora_persist.storage.port import Value

_GROUPS = ("actor", "subject")


@dataclass(slots=True)
class _Erased:
    """An entry whose erasure is still to be explained by a later entry."""

    entry_id: Value
    erased_at: Value
    groups: set[str]
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Unexplained:
    """An entry with fields that are gone, and no entry that says so."""

    position: int
    entry_id: int | None
    text: str


class Erasures:
    """What one pass over the log saw erased, and which erasures it read of."""

    def __init__(self, keys: PublicKeys | None) -> None:
        self.count = 0
        self._keys = keys
        self._open: dict[int, _Erased] = {}

    def contradiction(self, row: AuditRow) -> str | None:
        """Return what cannot be in a row, whatever was erased: the leaf does not commit to it."""
        for salt, kept, has_values in (
            (row.actor_salt, row.actor_hash, has_actor(row)),
            (row.subject_salt, row.subject_hash, has_subject(row)),
        ):
            if kept is not None and salt is not None:
                return "has both the fields and what stays of them"
            if salt is not None and not has_values:
                return "has a salt for fields that it has not"
        erased = row.actor_hash is not None or row.subject_hash is not None
        if erased != (row.erased_at is not None):
            return "has a time of erasure that is not so"
        return None

    def see(self, row: AuditRow) -> None:
        """Remember what is erased in an intact row."""
        kept = (row.actor_hash, row.subject_hash)
        groups = {group for group, stays in zip(_GROUPS, kept, strict=True) if stays is not None}
        if groups and isinstance(row.position, int):
            self.count += 1
            self._open[row.position] = _Erased(row.id, row.erased_at, groups)

    def take(self, row: AuditRow, root: str | None) -> str | None:
        """Take an intact entry about an erasure; return why it explains nothing, or None.

        ``root`` is that of the log before it, None where it is not known: a statement with another one was made for
        another log.
        """
        try:
            statement: dict[str, Any] = json.loads(str(row.details))
            if self._keys is not None and (problem := self._keys.problem("erasure", str(row.timestamp), statement)):
                return problem
            if root is not None and statement["root"] != root:
                return "is about another log than this"
            for group in _GROUPS:
                for first, last in statement[group]:
                    self._explain(group, int(first), int(last), row.timestamp)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return "is no statement about an erasure"
        return None

    def unexplained(self) -> Iterator[Unexplained]:
        """Yield what no entry explained."""
        for position, erased in self._open.items():
            ident = erased.entry_id if isinstance(erased.entry_id, int) else None
            what = "has lost fields" if erased.groups else "has a time of erasure"
            text = f"the entry with the id {ident} {what} of which no entry about an erasure says so"
            yield Unexplained(position, ident, text)

    def _explain(self, group: str, first: int, last: int, when: Value) -> None:
        few = last - first < len(self._open)
        named = range(first, last + 1) if few else [open_ for open_ in self._open if first <= open_ <= last]
        for position in named:
            erased = self._open.get(position)
            if erased is None:
                continue
            erased.groups.discard(group)
            erased.dated = erased.dated or erased.erased_at == when
            if not erased.groups and erased.dated:
                del self._open[position]
