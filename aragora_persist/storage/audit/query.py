"""Finding entries: filters as SQL conditions, and pages in the order in which the log was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from aragora_persist.storage import checks
from aragora_persist.storage.audit.leaf import COLUMNS

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Reader, Value

_LAST_CHARACTER = "\U0010ffff"
_SURROGATES = range(0xD800, 0xE000)


class AuditFilters(TypedDict, total=False):
    """What entries can be asked for; each one given must hold.

    ``action`` with a ``*`` at its end is every action that begins so. ``since`` is inclusive, ``until`` exclusive.
    """

    user_id: str | None
    org_id: str | None
    action: str | None
    resource_type: str | None
    resource_id: str | None
    since: datetime | None
    until: datetime | None


class Conditions:
    """The filters of one query, checked."""

    def __init__(self, operation: str, filters: AuditFilters) -> None:
        given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        checks.fields(operation, filters, AuditFilters.__annotations__)
        self._terms: list[tuple[str, Value]] = []
        self._times: list[tuple[str, Value]] = []
        for name, value in given.items():
            if name in _BOUNDS:
                self._times.append((_BOUNDS[name], checks.moment(operation, name, value)))
            elif name == "action" and isinstance(value, str) and value.endswith("*"):
                self._terms += _prefix(checks.text(operation, name, value, longest=checks.LONGEST_ID)[:-1])
            else:
                self._terms.append((f"{name} =", checks.text(operation, name, value, longest=checks.LONGEST_NAME)))

    def count(self, view: Reader) -> int:
        """Return how many entries there are."""
        where, values = _where([*self._terms, *self._times])
        row = view.one(f"SELECT COUNT(*) FROM audit_log{where}", values)  # noqa: S608 - names of this package
        return int(row[0] or 0) if row is not None else 0

    def statement(self, view: Reader, *, newest_first: bool, after: int | None = None) -> tuple[str, list[Value]]:
        """Return the statement for the entries after the one with this id, in the order in which they were logged."""
        if after is None:
            terms = self._terms + self._between(view)
        else:
            terms = [*self._terms, *self._times_alone(), ("id <" if newest_first else "id >", after)]
        where, values = _where(terms)
        order = "DESC" if newest_first else "ASC"
        return f"SELECT {COLUMNS} FROM audit_log{where} ORDER BY id {order}", values  # noqa: S608 - as above

    def _between(self, view: Reader) -> list[tuple[str, Value]]:
        """Return the bounds in time, and the ids that they mean: a first page begins where they do."""
        if not self._times:
            return []
        where, values = _where(self._times)
        row = view.one(f"SELECT MIN(id), MAX(id) FROM audit_log{where}", values)  # noqa: S608 - as above
        first, last = (None, None) if row is None else row
        return [("id >=", first or 0), ("id <=", last or -1), *self._times_alone()]

    def _times_alone(self) -> list[tuple[str, Value]]:
        """Return the bounds in time in a form that keeps the planner from the index on times.

        With that index, each page would sort the whole span anew. In the order of ids, which is nearly that of times,
        a page costs what is on it.
        """
        return [(bound.replace("timestamp", "timestamp || ''"), value) for bound, value in self._times]


_BOUNDS = {"since": "timestamp >=", "until": "timestamp <"}


def _where(terms: list[tuple[str, Value]]) -> tuple[str, list[Value]]:
    text = " AND ".join(f"{term} ?" for term, _ in terms)
    return (f" WHERE {text}" if text else ""), [value for _, value in terms]


def _prefix(prefix: str) -> list[tuple[str, Value]]:
    """Return the range of the texts that begin so: up to the first text behind them all, where there is one."""
    terms: list[tuple[str, Value]] = [("action >=", prefix)]
    stem = prefix.rstrip(_LAST_CHARACTER)
    if stem:
        following = ord(stem[-1]) + 1
        terms.append(("action <", stem[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)))
    return terms
