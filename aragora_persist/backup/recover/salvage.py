"""The salvage itself: first the schema, then what each table's tree leads to, then what nothing leads to any more.

A page that nothing leads to is taken only where a table has lost pages and its rows fit between those that are left: so
what was deleted does not come back over what is there. Leaves out: files (``recover``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aragora_persist.backup.recover.format import LAST_ROWID, LEAST_ROWID, UnreadableError, values
from aragora_persist.backup.recover.report import Loss, TableReport
from aragora_persist.backup.recover.schema import SCHEMA_ROOT, Thing, is_schema, thing_of
from aragora_persist.backup.recover.target import Row, Table
from aragora_persist.backup.recover.trees import Forest, Gap, Leaf, Tree
from aragora_persist.migrations import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aragora_persist.backup.recover.format import Value
    from aragora_persist.backup.recover.pages import Pages
    from aragora_persist.backup.recover.schema import Known
    from aragora_persist.backup.recover.target import Target

_SEQUENCES = "sqlite_sequence"
_SAMPLE = 20
_OWN_FIELDS = (2, 3)
"""How many fields the rows of sqlite_sequence and sqlite_stat1 have, which begin with a table's name."""


@dataclass(slots=True)
class _Salvaged:
    """A table on its way."""

    table: Table
    tree: Tree
    likely_root: int
    """The page where a new file of the same version has it; 0 where that is not known."""
    rows: int = 0
    found: int = 0
    broken: list[Gap] = field(default_factory=list)
    """Rows on pages that can be read, whose records cannot."""

    def lost_from(self, number: int, rowids: tuple[int, int]) -> Gap | None:
        """Return the gap to which a page with these rowids can belong; None for none."""
        for gap in self.tree.open_gaps:
            if number in gap.readable:
                return Gap(LEAST_ROWID, LAST_ROWID)
            if all(rowid in gap for rowid in rowids):
                return gap
        return None


class Salvage:
    """One run, from the pages of a damaged file into a new one."""

    def __init__(self, pages: Pages, target: Target, known: Known, progress: Callable[[int, int], None]) -> None:
        self.notes = pages.notes
        self.schema = "its own"
        self.deleted = 0
        self.found_schema = False
        self._pages = pages
        self._target = target
        self._known = known
        self._progress = progress
        self._read = 0
        self._forest = Forest(pages)
        self._tables: list[_Salvaged] = []
        self._problems: dict[str, str] = {}
        self._sequences: list[Sequence[Value]] = []
        self._likely_roots: dict[str, int] = {}
        self._indexes: dict[str, list[int]] = {}
        """Of each table, where the indexes are that have an entry for each of its rows."""
        self._schema_is_whole = True

    def run(self) -> tuple[TableReport, ...]:
        """Salvage everything, and tell of each table."""
        things = self._find_things()
        self._make_tables(things)
        for each in self._tables:
            rows = (row for leaf in self._forest.walk(each.tree) for row in self._rows(leaf, each.broken))
            each.rows += self._target.add(each.table, rows)
            self._compare(each)
        for thing in things:
            if thing.name in self._problems:
                self._keep_aside(thing.root, thing.name, "its table could not be made again")
        if not self._schema_is_whole or any(each.tree.open_gaps for each in self._tables):
            self._take_loose()
        self._target.commit()
        self._settle_sequences(things)
        self._make(thing for thing in things if thing.kind != "table" and not _is_unique(thing))
        self._settle_ledger()
        return tuple(self._report(each) for each in self._tables) + tuple(
            _unmade(name, problem, self._target.set_aside[name]) for name, problem in self._problems.items()
        )

    def _compare(self, each: _Salvaged) -> None:
        """Note that rows are lost where an index has more than the tree: a page of it was written over by another."""
        here = each.rows + self._target.set_aside[each.table.name]
        if not (each.tree.gaps or each.broken) and (self._missing(each.table.name, here) or 0) > 0:
            each.tree.gaps = each.tree.open_gaps = [Gap(LEAST_ROWID, LAST_ROWID)]

    def _find_things(self) -> list[Thing]:
        """Return the schema: what the file says, and what this release says where that has gaps."""
        tree, things, broken = Tree(SCHEMA_ROOT), dict[str, Thing](), list[Gap]()
        for leaf in self._forest.walk(tree):
            for row in self._rows(leaf, broken):
                if not self._take_thing(row.values, things):
                    broken.append(Gap(row.rowid, row.rowid))
        self.found_schema = bool(things)
        if not tree.gaps and not broken:
            return list(things.values())
        self._schema_is_whole = False
        version = self._look_for_things(things)
        self.found_schema = bool(things)
        if not self._known.migrations:
            self.schema = "its own, of which a part is lost"
            return list(things.values())
        lacking = [thing for thing in self._known.things(version) if thing.name not in things]
        own = "its own, and where that is lost, " if things else ""
        self.schema = f"{own}that of this release's migrations"
        self._likely_roots = {thing.name: thing.root for thing in lacking}
        return [*things.values(), *(thing._replace(root=0) for thing in lacking)]

    def _look_for_things(self, things: dict[str, Thing]) -> int:
        """Look for the schema where nothing leads to it; return the version that the ledger says, else the newest."""
        self._forest.take_free_pages()
        version = 0
        ledgers = [things[ledger.TABLE].root] if ledger.TABLE in things else []
        for number in (*ledgers, *self._forest.loose()):
            rows = [row.values for row in self._sample(number)]
            version = max(version, self._known.version_of_rows(rows))
            if is_schema(rows):
                for leaf in self._forest.walk(Tree(number)):
                    for row in self._rows(leaf, []):
                        self._take_thing(row.values, things)
        return version or len(self._known.migrations)

    def _take_thing(self, row: Sequence[Value], things: dict[str, Thing]) -> bool:
        """Take in what a row of the schema says, and say whether it can be one."""
        if not is_schema([row]):
            return False
        kind, _, table, root, sql = row
        if kind == "index" and isinstance(table, str) and isinstance(root, int) and "WHERE" not in str(sql).upper():
            self._indexes.setdefault(table, []).append(root)
        if (thing := thing_of(row)) is not None:
            things.setdefault(thing.name, thing)
        return thing is not None or sql is None

    def _make_tables(self, things: list[Thing]) -> None:
        for thing in things:
            if thing.kind != "table" or thing.name.startswith("sqlite_"):
                continue
            if problem := self._problem_of(thing):
                self._problems[thing.name] = problem
                self._schema_is_whole = False
                continue
            tree = Tree(thing.root) if thing.root else Tree(0)
            table = self._target.tables[thing.name]
            self._tables.append(_Salvaged(table, tree, self._likely_roots.get(thing.name, 0)))
        self._make(filter(_is_unique, things))

    def _problem_of(self, thing: Thing) -> str:
        """Make a table; return '' or why it has no rows in the new file."""
        if thing.sql.split(maxsplit=2)[1].upper() == "VIRTUAL":
            return "it is virtual, and was not made again"
        if not (problem := self._target.make(thing)):
            return "it is WITHOUT ROWID: its rows are not read" if self._target.is_index(thing.name) else ""
        ours = (one for one in self._known.things(len(self._known.migrations)) if one.name == thing.name)
        if (known := next(ours, None)) and not self._target.make(known):
            self.notes.append(f"table {thing.name} is as this release has it: its own definition is damaged")
            return ""
        return f"it could not be made again: {problem}"

    def _make(self, things: Iterable[Thing]) -> None:
        for thing in things:
            if problem := self._target.make(thing):
                self.notes.append(f"{thing.kind} {thing.name} could not be made again: {problem}")

    def _take_loose(self) -> None:
        """Give the pages that nothing leads to their places."""
        self._forest.take_free_pages()
        self._remember_live()
        for number in self._forest.loose():
            if not (sample := self._sample(number)) or self._is_own_of_sqlite(number, sample):
                continue
            rowids = (sample[0].rowid, sample[-1].rowid)
            fitting = [
                (each, gap)
                for each in self._tables
                if (gap := each.lost_from(number, rowids)) and self._target.takes(each.table, sample)
            ]
            if len(fitting) > 1:
                fitting = [pair for pair in fitting if pair[0].likely_root == number] or fitting
            if len(fitting) == 1:
                self._take_for(*fitting[0], number)
            else:
                self._take_for_none(number, [each.table.name for each, _ in fitting])
        doubtful = any(each.found and not self._target.knows_live(each.table) for each in self._tables)
        if not self._forest.free_pages_known and (self._target.set_aside or doubtful):
            self.notes.append("its list of free pages is damaged: rows that were deleted may be back")
            self._target.merge_aside()

    def _remember_live(self) -> None:
        """Have a whole index of each table with gaps tell which of the rows that will be found were deleted."""
        for each in self._tables:
            for root in self._indexes.get(each.table.name, ()) if each.tree.open_gaps else ():
                if self._forest.entries(root) is not None:
                    with suppress(UnreadableError):
                        self._target.remember_live(each.table, self._forest.rowids(root))
                        break

    def _take_for(self, each: _Salvaged, gap: Gap, number: int) -> None:
        tree = Tree(number)
        for leaf in self._forest.walk(tree, gap.first, gap.last):
            rows = list(self._rows(leaf, each.broken))
            live = [row for row in rows if self._target.is_live(each.table, row)]
            self.deleted += len(rows) - len(live)
            added = self._target.add(each.table, live)
            each.rows += added
            each.found += added
        each.broken += tree.gaps

    def _take_for_none(self, number: int, names: Sequence[str]) -> None:
        """Put rows aside whose table cannot be told; leave those out that no table has lost."""
        if names or not self._schema_is_whole:
            reason = "it may be of each of these tables" if names else "no table that is known may have it"
            self._keep_aside(number, ", ".join(names), reason)
        else:
            self.deleted += sum(len(leaf.cells) for leaf in self._forest.walk(Tree(number)))

    def _keep_aside(self, root: int, table: str, reason: str) -> None:
        for leaf in self._forest.walk(Tree(root)):
            for row in self._rows(leaf, []):
                self._target.keep_aside(row, table, reason)

    def _is_own_of_sqlite(self, number: int, rows: Sequence[Row]) -> bool:
        """Say whether these are SQLite's own notes on tables; the last ids that it gave are kept."""
        if not all(len(row.values) in _OWN_FIELDS and row.values[0] in self._target.tables for row in rows):
            return False
        sequences = len(rows[0].values) == min(_OWN_FIELDS)
        for leaf in self._forest.walk(Tree(number)):
            if sequences:
                self._sequences += [row.values for row in self._rows(leaf, [])]
        return True

    def _settle_sequences(self, things: Sequence[Thing]) -> None:
        """Have no table give the id of a row away again that is lost."""
        root = next((thing.root for thing in things if thing.name == _SEQUENCES), 0)
        for leaf in self._forest.walk(Tree(root)):
            self._sequences += [row.values for row in self._rows(leaf, [])]
        given: dict[Value, int] = {}
        for name, last in (row for row in self._sequences if len(row) == min(_OWN_FIELDS)):
            if isinstance(last, int):
                given[name] = max(given.get(name, 0), last)
        for each in self._tables:
            bounds = [gap.last for gap in (*each.tree.gaps, *each.broken) if gap.last != LAST_ROWID]
            if each.table.counts and (known := max([given.get(each.table.name, 0), *bounds])) > 0:
                self._target.set_sequence(each.table.name, known)

    def _settle_ledger(self) -> None:
        """Have the ledger say the version that the schema has, also where its rows are lost."""
        table = next((each for each in self._tables if each.table.name == ledger.TABLE), None)
        if not self._known.migrations or table is None:
            return
        connection = self._target.connection
        rows = ledger.read(connection)
        if rows and not any(self._known.is_of(row) for row in rows):
            self.notes.append("its ledger of migrations is another database's")
            return
        if not table.tree.gaps and not table.broken and self._known.accepts(rows):
            return
        version = self._known.version_of_schema(connection)
        if not version:
            self.notes.append("its ledger of migrations is damaged, and its schema is not that of any version")
            return
        kept = {row.version: row for row in rows if self._known.is_of(row)}
        with_rows = [kept.get(row.version, row) for row in self._known.ledger(version)]
        if tuple(with_rows) != rows:
            connection.execute(f"DELETE FROM {ledger.TABLE}")  # noqa: S608 - a constant
            for row in with_rows:
                ledger.add(connection, row)
            self.notes.append(f"its ledger of migrations was completed: version {version}, as its schema says")

    def _rows(self, leaf: Leaf, broken: list[Gap]) -> Iterator[Row]:
        """Yield the rows of a leaf; what cannot be read of it is added to ``broken``."""
        self._read += 1
        self._progress(min(self._read, self._pages.count), self._pages.count)
        lost_before = False
        for cell in leaf.cells:
            try:
                found = values(self._pages.record(leaf.page, cell), self._pages.encoding)
                row = Row(cell.rowid, found, leaf.number, cell.size)
            except UnreadableError:
                if lost_before:
                    broken[-1].last = cell.rowid
                else:
                    broken.append(Gap(cell.rowid, cell.rowid, pages=0, leaves=True))
                lost_before = True
                continue
            lost_before = False
            yield row

    def _sample(self, number: int) -> list[Row]:
        """Return some rows from below a page, without taking it."""
        leaf = self._forest.peek(number)
        return [] if leaf is None else list(self._rows(leaf._replace(cells=leaf.cells[:_SAMPLE]), []))

    def _report(self, each: _Salvaged) -> TableReport:
        name, aside = each.table.name, self._target.set_aside[each.table.name]
        gaps = [*each.tree.gaps, *each.broken]
        missing = self._missing(name, each.rows + aside) if gaps else 0
        return TableReport(
            name=name,
            rows=each.rows,
            found=each.found,
            set_aside=aside,
            dangling=self._target.dangling(name),
            missing=missing,
            losses=tuple(map(_loss, gaps)) if missing != 0 else (),
            problem="",
        )

    def _missing(self, table: str, here: int) -> int | None:
        """Return how many more entries than rows a whole index of the table has; None without one."""
        counts = (self._forest.entries(root) for root in self._indexes.get(table, ()))
        return next((count - here for count in counts if count is not None), None)


def _loss(gap: Gap) -> Loss:
    return Loss(
        first=None if gap.first == LEAST_ROWID else gap.first,
        last=None if gap.last == LAST_ROWID else gap.last,
        pages=gap.pages,
        certain=gap.leaves,
    )


def _unmade(name: str, problem: str, aside: int) -> TableReport:
    return TableReport(
        name=name, rows=0, found=0, set_aside=aside, dangling=0, missing=None, losses=(), problem=problem
    )


def _is_unique(thing: Thing) -> bool:
    return thing.kind == "index" and thing.sql.split(maxsplit=2)[1].upper() == "UNIQUE"
