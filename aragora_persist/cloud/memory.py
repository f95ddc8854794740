"""Supabase in memory, for tests of what uses ``SupabaseClient``: the same answers, without a server.

It stands where the transport stands, behind all of the client's own code: what a row may be, what a repeated write
changes and what a query finds is as in the real one, and the client's contract suite holds for both. Leaves out: the
network with its outages, rights, and what only another client could write.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import ChainMap
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from aragora_persist import times
from aragora_persist.cloud.answers import Answer
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.memory_functions import FUNCTIONS
from aragora_persist.cloud.models import MODELS, CloudModel
from aragora_persist.settings import Secret
from aragora_persist.supabase_client import SupabaseClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aragora_persist.cloud.pages import Query
    from aragora_persist.cloud.transport import Row, Transport

_ADDRESS = "http://localhost"
_ROWS_AT_ONCE = 1000
_LARGEST_INTEGER = 2**31 - 1
_COUNTS = {
    "nomic_cycles": ("total_tasks", "completed_tasks"),
    "agent_metrics": (
        *("messages_sent", "proposals_made", "critiques_given", "votes_won", "votes_received"),
        *("consensus_contributions", "avg_response_time_ms"),
    ),
    "cycle_file_changes": ("insertions", "deletions"),
}
_MODELS = {model.TABLE: model for model in MODELS}
_UUIDS = {"debate_artifact_id", "rollback_id"}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "datetime": str,  # on its way it is text
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
}


class InMemoryCloud:
    """One project, empty at first; ``client`` gives any number of clients of it, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, dict[str, Row]] = {model.TABLE: {} for model in MODELS}
        self._last = times.utc_now()

    def client(self) -> SupabaseClient:
        """Return a client of this project."""
        return _Client(self)

    def close(self) -> None:
        """Do nothing: what was saved stays for other clients."""

    def upsert(self, table: str, rows: Sequence[Mapping[str, object]], *, replace: bool) -> list[Row] | Answer:
        """See ``Transport``."""
        with self._lock:
            return self._store(table, rows, replace=replace) or []

    def merge(self, table: str, row: Mapping[str, object]) -> list[Row] | Answer:
        """See ``Transport``."""
        with self._lock:
            refused = self._store(table, [row], replace=True)
            kept = self._tables[table].get(str(row["id"]), {}).get("revision") == row["revision"]
            return refused or ([{"id": row["id"]}] if kept else [])

    def select(self, query: Query) -> list[Row] | Answer:
        """See ``Transport``."""
        with self._lock:
            found = [row for row in self._tables[query.table].values() if _matches(row, query)]
        found.sort(key=lambda row: (row[query.order], row["id"]), reverse=query.descending)
        columns = dict.fromkeys([*query.columns, query.order, "id"])
        times_of = {"inserted_at", *_MODELS[query.table].TIMES}
        return [
            _copy({name: _answered(row[name]) if name in times_of else row[name] for name in columns})
            for row in found[: min(query.page_rows, _ROWS_AT_ONCE)]
        ]

    def call(self, function: str, arguments: Mapping[str, object], offset: int) -> list[Row] | Answer:
        """See ``Transport``."""
        loop_id = arguments["p_loop_id"]
        with self._lock:
            rows = FUNCTIONS[function](self._tables, None if loop_id is None else str(loop_id))
        return rows[offset : offset + _ROWS_AT_ONCE]

    def _store(self, table: str, rows: Iterable[Mapping[str, object]], *, replace: bool) -> Answer | None:
        """Store rows, or none of them where one is refused."""
        model = _MODELS[table]
        changed: dict[str, Row] = {}
        stored = ChainMap(changed, self._tables[table])
        self._last = max(times.utc_now(), self._last + timedelta(microseconds=1))
        for row in rows:
            if refused := _refusal(model, row) or _double(model, row, stored):
                return refused
            old = stored.get(str(row["id"]))
            if old is None:
                stored[str(row["id"])] = {**_copy(row), "inserted_at": times.to_text(self._last)}
            elif replace and int(old["revision"]) < int(cast("int", row["revision"])):
                stored[str(row["id"])] = {**old, **_copy(row)}
        self._tables[table].update(changed)
        return None


class _Connection(CloudConnection):
    def __init__(self, cloud: InMemoryCloud) -> None:
        super().__init__(_ADDRESS, Secret("in-memory"))
        self._cloud = cloud

    def _connect(self, operation: str) -> Transport:  # noqa: ARG002 - of the base, which names it in errors
        return cast("Transport", self._cloud)


class _Client(SupabaseClient):
    def __init__(self, cloud: InMemoryCloud) -> None:
        super().__init__(_ADDRESS, "in-memory")
        self._connection = _Connection(cloud)


def _copy(row: Mapping[str, object]) -> Row:
    """Return a row that nobody else has a part of."""
    copied: Row = json.loads(json.dumps(row))
    return copied


def _matches(row: Row, query: Query) -> bool:
    """Tell whether a row is one of the query's."""
    place = (row[query.order], row["id"])
    after = query.after and (_kept(query.after[0]), query.after[1])
    return (
        all(str(row[column]) == value for column, value in query.equal.items())
        and (query.least is None or row[query.order] >= _kept(query.least))
        and (query.below is None or row[query.order] < _kept(query.below))
        and (after is None or (place < after if query.descending else place > after))
    )


def _answered(moment: str | None) -> str | None:
    """Return a moment in the server's form, of which the places in lists are made."""
    return moment and moment.replace("Z", "+00:00")


def _kept(moment: str) -> str:
    """Return a moment in the form in which rows are kept here, whose order is that of time."""
    return moment.replace("+00:00", "Z")


def _refusal(model: type[CloudModel], row: Mapping[str, object]) -> Answer | None:
    """Return the answer to a row that the table's columns and checks refuse."""
    for item in fields(model):
        kind, _, optional = str(item.type).partition(" | ")
        value = row[item.name]
        if value is None and not optional:
            return Answer(400, "23502", f"null value in column {item.name}")
        if value is not None and not _fits(kind.partition("[")[0], item.name, value):
            return Answer(400, "22P02", f"invalid input syntax for column {item.name}")
    counts = [row[name] for name in _COUNTS.get(model.TABLE, ())]
    if any(isinstance(count, int | float) and count < 0 for count in counts):
        return Answer(400, "23514", f"new row for relation {model.TABLE} violates a check")
    return None


def _fits(kind: str, name: str, value: object) -> bool:
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        return False
    if kind == "int":
        return abs(cast("int", value)) <= _LARGEST_INTEGER or value == -_LARGEST_INTEGER - 1
    if name in _UUIDS:
        try:
            uuid.UUID(str(value))
        except ValueError:
            return False
    return True


def _double(model: type[CloudModel], row: Mapping[str, object], stored: Mapping[str, Row]) -> Answer | None:
    """Return the answer to a row whose natural key another id has; only rows with ids of their own can be such."""
    if row["id"] in stored or "id" not in {item.name for item in fields(model)}:
        return None
    key = [row[name] for name in model.NATURAL_KEY]
    if any([other[name] for name in model.NATURAL_KEY] == key for other in stored.values()):
        return Answer(409, "23505", f"duplicate key value violates the natural key of {model.TABLE}")
    return None
