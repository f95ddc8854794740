"""What an adoption found and did, for the operator: as text and as JSON. Leaves out: doing it.

Of people it names ids, and emails only where two accounts share one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_DIFFERENCES = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason why a database cannot be adopted as it is."""

    table: str
    column: str
    """'' where it is about the table, or about a whole row."""
    row: str
    """The key of the row (``id 'a1'``); '' where it is about the table or the column."""
    problem: str
    way_out: str

    def __str__(self) -> str:
        place = ".".join(filter(None, (self.table, self.column)))
        return f"{place}{', ' if self.row else ''}{self.row}: {self.problem}; {self.way_out}"


class NotAdoptableError(MigrationError):
    """A database differs from what it would have to be; nothing was changed, and the differences are all there are.

    ``count`` may be more than ``differences``, which holds the first thousand.
    """

    def __init__(self, target: object, differences: tuple[Difference, ...], count: int) -> None:
        listed = "".join(f"\n  {difference}" for difference in differences)
        more = f"\n  and {count - len(differences):,} more" if count > len(differences) else ""
        problem = f"cannot be adopted as it is, for {count_text(count, 'difference')}:{listed}{more}\n"
        super().__init__("adopt", target, problem, hint="correct them in a copy, and adopt that")
        self.differences = differences
        self.count = count


@dataclass(frozen=True, slots=True)
class AdoptedTable:
    """One table of the adopted database that has rows from the source."""

    name: str
    source: str
    """The table that the rows come from."""
    rows: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the operator should know: what was left out and why, or what is to be done afterwards."""

    subject: str
    text: str
    rows: int
    """How many rows it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was adopted, or would be."""

    database: str
    source: Path
    path: Path
    origin: str
    """Who made the source, as its tables say."""
    tables: tuple[AdoptedTable, ...]
    converted: Mapping[str, int]
    """How many values of a column (``users.email``) have another form now."""
    notes: tuple[Note, ...]
    dry_run: bool
    changed: bool
    """Whether the database at ``path`` is another one than before."""
    snapshot: Path | None = None
    """The original as a file of its own, among the backups; None where the source itself was left as it is."""
    replaced: Path | None = None
    """The original files, moved aside."""

    @property
    def rows(self) -> int:
        """How many rows came over."""
        return sum(table.rows for table in self.tables)

    def document(self) -> dict[str, object]:
        """Return it for JSON."""
        content = asdict(self)
        paths = {name: getattr(self, name) for name in ("source", "path", "snapshot", "replaced")}
        return {**content, **{name: None if path is None else str(path) for name, path in paths.items()}}

    def __str__(self) -> str:
        if not self.tables:
            return f"nothing to adopt: {self.origin}"
        done = "would adopt" if self.dry_run else "adopted"
        lines = [f"{done} {count_text(self.rows, 'row')} of {self.source}: {self.origin}"]
        lines += [f"  {count_text(table.rows, 'row')} of {_of(table)}" for table in self.tables if table.rows]
        lines += [f"  {count_text(count, 'value')} of {column} in our form" for column, count in self.converted.items()]
        lines += [f"  note: {note.subject} ({count_text(note.rows, 'row')}): {note.text}" for note in self.notes]
        lines += [f"  the original: {path}" for path in (self.snapshot, self.replaced) if path is not None]
        return "\n".join(lines)


def _of(table: AdoptedTable) -> str:
    return table.name if table.name == table.source else f"{table.name}, from {table.source}"


class Findings:
    """What is noticed on the way: differences, conversions and notes; the first thousand differences are kept."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.count = 0
        self.converted: dict[str, int] = {}
        self._notes: dict[tuple[str, str], int] = {}

    def differ(self, table: str, column: str, row: str, problem: str, way_out: str) -> None:
        """Note a difference."""
        self.count += 1
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(Difference(table, column, row, problem, way_out))

    def convert(self, table: str, column: str) -> None:
        """Note that a value has another form now."""
        name = f"{table}.{column}"
        self.converted[name] = self.converted.get(name, 0) + 1

    def note(self, subject: str, text: str, rows: int = 1) -> None:
        """Note something for the operator; the rows of equal notes are added up."""
        if rows:
            self._notes[subject, text] = self._notes.get((subject, text), 0) + rows

    @property
    def notes(self) -> tuple[Note, ...]:
        """Return the notes in the order in which they came."""
        return tuple(Note(subject, text, rows) for (subject, text), rows in self._notes.items())

    def refuse(self, target: object) -> None:
        """Raise if there is a difference."""
        if self.count:
            raise NotAdoptableError(target, tuple(self.differences), self.count)
