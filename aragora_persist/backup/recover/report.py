"""What ``recover`` brought back and what it did not, table by table. Plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Rows with ids from ``first`` to ``last`` that are missing, or may be; None is where no bound is known."""

    first: int | None
    last: int | None
    pages: int
    """How many pages cannot be read."""
    certain: bool
    """The pages held rows. Otherwise they led to others, of which those with rows were looked for everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What became of one table's rows."""

    name: str
    rows: int
    """In the table again."""
    found: int
    """Of these, on pages to which nothing led any more."""
    set_aside: int
    """In ``lost_and_found``: read, but refused by the table."""
    dangling: int
    """Of the rows, those that refer to a row that is missing; they stay."""
    missing: int | None
    """How many rows of the table are neither here nor there, by an index of it that is whole; None without one.
    Below 0: so many came back that had been deleted."""
    losses: tuple[Loss, ...]
    problem: str
    """Why the table could not be made again as it was; '' where it could."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing and nothing is out of its place."""
        return not (self.set_aside or self.missing or self.losses or self.problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a damaged database."""

    source: Path
    target: Path
    schema: str
    """Where the schema comes from."""
    schema_version: int | None
    tables: tuple[TableReport, ...]
    set_aside: int
    """Rows in ``lost_and_found``, those of no known table included."""
    lost_and_found: str
    """What that table is called; another name where the damaged file has one of its own."""
    deleted: int
    """Rows on pages that no table can have lost: deleted ones, which were left out."""
    notes: tuple[str, ...]
    """What is wrong with the file as a whole."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing and nothing is out of its place."""
        return not (self.set_aside or self.notes) and all(table.whole for table in self.tables)
