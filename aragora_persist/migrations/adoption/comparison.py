"""Their tables compared with ours: which rows become which, what is carried over, and what has no place.

Reads no rows but those of columns that have no place, to see whether anything would be lost. Leaves out: copying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES
from aragora_persist.migrations import ledger
from aragora_persist.migrations.adoption.columns import Kind, kind_of
from aragora_persist.migrations.adoption.origin import Origin
from aragora_persist.migrations.adoption.origins import FOREIGN_LEDGER, ORIGINS, OTHERS
from aragora_persist.migrations.adoption.traces import TRACES
from aragora_persist.storage.names import folded, quoted
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from aragora_persist.migrations.adoption.report import Findings
    from aragora_persist.migrations.adoption.tables import Table

    Tables = Mapping[str, Table]

_ROW_ID = "adopted_rowid"
_DOCUMENTED = {"users": 2}
"""The newest schema that the documentation shows; of the other databases it shows none."""
_NO_PLACE = "move what it holds into a column that has a place, or into a table of its own, and drop it"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of one table of theirs are read for one of ours."""

    origin: Origin
    theirs: Table
    ours: Table
    names: tuple[str, ...]
    """Our columns, in the order in which ``select`` gives them; behind them the kept ones and the key."""
    kinds: tuple[Kind, ...]
    kept: tuple[str, ...]
    key: tuple[str, ...]
    select: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be done with every table of theirs."""

    readings: tuple[Reading, ...]
    beside: Mapping[str, tuple[str, ...]]
    """Table of theirs, and the columns that are kept in a table of their own."""
    carried: tuple[Table, ...]
    """Tables of theirs that are none of ours."""
    traces: bool
    readable: bool
    """Whether the tables have what every row must have: without it, each row would be a difference of its own."""
    origin: str


def covered_version(theirs: Tables, versions: Sequence[Tables]) -> int:
    """Return the newest version of our schema all of whose tables and columns are there; 0 for none."""
    return max((number for number, ours in enumerate(versions, 1) if _covers(theirs, ours)), default=0)


def _covers(theirs: Tables, ours: Tables) -> bool:
    return all(
        name in theirs and set(table.columns) <= set(theirs[name].columns)
        for name, table in ours.items()
        if name != ledger.TABLE
    )


class Comparing:
    """One comparison.

    ``ours`` are the tables into which rows are written, ``version`` is the schema of ours of which the source has all
    tables and columns (0: none).
    """

    def __init__(self, database: str, theirs: Tables, ours: Tables, version: int) -> None:
        self._database = database
        self._theirs = {name: table for name, table in theirs.items() if table.kind == "table"}
        self._all = theirs
        self._ours = ours
        self._version = version

    def finish(self, reader: sqlite3.Connection, findings: Findings) -> Comparison:
        """Return what is to be done, and note everything that cannot be."""
        origins = self._origins()
        readings = [self._reading(origin, findings) for origin in origins]
        traces = self._database == "replay" and set(self._theirs) >= TRACES
        taken = {origin.table for origin in origins} | (set(TRACES) if traces else set())
        if not taken:
            self._refuse_strange(findings)
        readable = not findings.count
        self._look_for_losses(origins, reader, findings)
        beside = {origin.table: self._beside(origin) for origin in origins if self._beside(origin)}
        carried = tuple(self._carried(taken, reader, findings))
        return Comparison(tuple(readings), beside, carried, traces, readable, self._made_by(origins, traces=traces))

    def _origins(self) -> list[Origin]:
        """Return how each table of theirs that is one of ours is read."""
        found = [
            origin
            for origin in ORIGINS.get(self._database, ())
            if origin.table in self._theirs and origin.marks <= set(self._theirs[origin.table].columns)
        ]
        known = {origin.table for origin in found}
        same = [
            Origin(table=name, into=name)
            for name, table in self._theirs.items()
            if name in self._ours and name not in known and name != ledger.TABLE and not _is_other(table)
        ]
        return [*found, *same]

    def _reading(self, origin: Origin, findings: Findings) -> Reading:
        theirs, ours = self._theirs[origin.table], self._ours[origin.into]
        chosen: dict[str, str] = {}
        for name, column in ours.columns.items():
            if name in origin.columns:
                chosen[name] = origin.columns[name]
            elif name in theirs.columns:
                chosen[name] = quoted(theirs.columns[name].name)
            elif ours.needs(column):
                way_out = f"add the column to {theirs.name}, with a value in each row"
                findings.differ(theirs.name, name, "", "is missing, and no row can be without it", way_out)
        kept = tuple(name for name in origin.kept if name in theirs.columns)
        if kept:
            chosen.setdefault(origin.kept_in, "NULL")
        key = theirs.key or (_ROW_ID,)
        kinds = tuple(self._kind(ours, name) for name in chosen)
        select = _select(origin, theirs, [*chosen.values(), *map(quoted, kept), *map(quoted, key)], self._theirs)
        return Reading(origin, theirs, ours, tuple(chosen), kinds, kept, theirs.key or ("rowid",), select)

    def _kind(self, ours: Table, column: str) -> Kind:
        if ours.name == "audit_log" and "position" in ours.columns:
            return Kind.RAW  # each entry is a leaf of the tree already: another form of it would be another entry
        return kind_of(column, ours.columns[column].type)

    def _look_for_losses(self, origins: Sequence[Origin], reader: sqlite3.Connection, findings: Findings) -> None:
        """Note the columns of theirs that have no place, and whether they hold anything."""
        for name in dict.fromkeys(origin.table for origin in origins):
            theirs, of_table = self._theirs[name], [origin for origin in origins if origin.table == name]
            left = set(theirs.columns).difference(*(self._placed(origin) for origin in of_table))
            for column in sorted(left):
                self._look_for_loss(theirs, column, reader, findings)
            for origin in of_table:
                for column, reason in origin.left_out.items():
                    if column in theirs.columns:
                        rows = _holding(reader, theirs, column)
                        findings.note(f"{theirs.name}.{column}", f"is left out: {reason}", rows)

    def _look_for_loss(self, theirs: Table, column: str, reader: sqlite3.Connection, findings: Findings) -> None:
        if theirs.columns[column].is_computed:
            return
        if rows := _holding(reader, theirs, column):
            problem = f"has no place here, and holds something in {count_text(rows, 'row')}"
            findings.differ(theirs.name, column, "", problem, _NO_PLACE)
        else:
            rows = _holding(reader, theirs, column, but_default=False)
            findings.note(f"{theirs.name}.{column}", "is left out: it holds nothing but its default", rows)

    def _placed(self, origin: Origin) -> set[str]:
        if "*" in origin.beside:
            return set(self._theirs[origin.table].columns)
        same = set(self._ours[origin.into].columns) - set(origin.columns)
        return same | {*origin.uses, *origin.kept, *origin.left_out, *origin.beside}

    def _beside(self, origin: Origin) -> tuple[str, ...]:
        theirs = self._theirs[origin.table]
        if "*" in origin.beside:
            return theirs.stored
        return tuple(theirs.columns[name].name for name in origin.beside if name in theirs.columns)

    def _carried(self, taken: set[str], reader: sqlite3.Connection, findings: Findings) -> list[Table]:
        """Return the tables of theirs that are none of ours, and note what else there is."""
        carried = []
        for name, table in self._all.items():
            if name in {FOREIGN_LEDGER, ledger.TABLE}:
                rows = reader.execute(f"SELECT count(*) FROM {quoted(table.name)}").fetchone()[0]  # noqa: S608 - quoted
                findings.note(table.name, "is left out: the ledger of another program", rows)
            elif table.kind == "view":
                findings.note(table.name, "is left out: a view, which holds no rows")
            elif table.kind == "virtual":
                way_out = "drop it: it can be made again from the tables that it was made from"
                findings.differ(table.name, "", "", "is a virtual table, which cannot be carried over", way_out)
            elif table.kind == "table" and name not in taken:
                carried.append(table)
        for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"):
            findings.note(name, "is left out: a trigger of another program")
        return carried

    def _refuse_strange(self, findings: Findings) -> None:
        likely = [
            other.name
            for other in DATABASES
            if any(name.table in self._theirs for name in ORIGINS.get(other.name, ()))
            or (other.name == "replay" and set(self._theirs) >= TRACES)
        ]
        way_out = f"it may be of the database {' or '.join(likely)}" if likely else "name the file that holds them"
        findings.differ("the file", "", "", f"none of its tables is one of the database {self._database}", way_out)

    def _made_by(self, origins: Sequence[Origin], *, traces: bool) -> str:
        if self._version > _DOCUMENTED.get(self._database, 0):
            return "a database of this package that has lost its ledger"
        if FOREIGN_LEDGER in self._all or traces or any(origin.marks for origin in origins):
            return "made by the public code"
        return "made by hand, from the documentation" if self._version else "made by hand"


def _is_other(table: Table) -> bool:
    marks = OTHERS.get(folded(table.name))
    return marks is not None and marks <= set(table.columns)


def _select(origin: Origin, theirs: Table, expressions: Sequence[str], tables: Mapping[str, Table]) -> str:
    """Return the statement that reads their rows; only the names of their tables and columns are not constants."""
    rows = origin.rows.format(table=quoted(theirs.name))
    if not theirs.key:
        rows = rows.replace("SELECT *", f"SELECT *, rowid AS {_ROW_ID}", 1)
    missing = "".join(f", NULL AS {quoted(name)}" for name in origin.uses if name not in theirs.columns)
    where = "0" if origin.among and origin.among not in tables else origin.where
    condition = f" WHERE {where}" if where else ""
    return (
        f"SELECT {', '.join(expressions)} FROM (SELECT their.*{missing} FROM ({rows}) AS their){origin.join}{condition}"  # noqa: S608 - quoted names
    )


def _holding(reader: sqlite3.Connection, theirs: Table, column: str, *, but_default: bool = True) -> int:
    """Return how many rows have a value in a column; ``but_default``: another one than its default."""
    name, default = quoted(theirs.columns[column].name), theirs.columns[column].default
    differs = f" AND {name} IS NOT ({default})" if but_default and default is not None else ""
    sql = f"SELECT count(*) FROM {quoted(theirs.name)} WHERE {name} IS NOT NULL{differs}"  # noqa: S608 - quoted names
    return int(reader.execute(sql).fetchone()[0])
