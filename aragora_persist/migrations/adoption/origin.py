"""How rows of one of their tables become rows of one of ours: what can be said of it (``origins``). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How rows of one of their tables become rows of one of ours."""

    table: str
    into: str
    marks: frozenset[str] = frozenset()
    """Columns that tell their table from another one of this name."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """SQL over their columns for ours; a column that is missing here is theirs of the same name.

    ``:now`` and ``:in_a_year`` are times; ``moment`` gives a time our form, ``sha256`` a token its hash."""
    uses: tuple[str, ...] = ()
    """Every column of theirs that the SQL names; where their table lacks one, it is NULL."""
    rows: str = "SELECT * FROM {table}"
    """Their rows, with what the SQL needs besides."""
    join: str = ""
    where: str = ""
    """Which rows have a place in ours."""
    among: str = ""
    """A table of theirs that ``where`` looks into; without it no row has a place."""
    unplaced: str = ""
    """Why the others have none."""
    kept: tuple[str, ...] = ()
    kept_in: str = ""
    """Our JSON column that takes the columns ``kept``, under their own names."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns of theirs that do not come over, and why."""
    beside: tuple[str, ...] = ()
    """Columns of theirs that are kept in a table ``adopted_<table>``, with the key; ``*`` is every column."""
