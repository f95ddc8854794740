"""Which pages of a damaged file belong together: the trees that can be walked, and what no tree leads to any more.

A tree's interior pages say between which rowids each page below lies. So a page that is gone leaves a gap with known
bounds, and a page that nobody leads to has its place where its rows fit. Leaves out: whose rows they are (``recover``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.recover.format import (
    FIRST_HEADER,
    INTERIOR,
    LAST_ROWID,
    LEAF,
    LEAST_ROWID,
    UnreadableError,
    children,
    freelist_trunk,
    index_page,
    leaf_cells,
    surviving_cells,
    values,
)
from aragora_persist.backup.recover.pages import is_of_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.backup.recover.format import Cell
    from aragora_persist.backup.recover.pages import Pages

_UNKNOWN, _TAKEN, _FREE, _LOOSE, _LED_TO = range(5)
_DEEPEST = 64
_ELSEWHERE = -2
"""The depth of what is no page of its tree, or one whose bounds are wrong."""


@dataclass(slots=True)
class Gap:
    """Rows from ``first`` to ``last`` may be missing: a page that led to them, or held them, cannot be read."""

    first: int
    last: int
    pages: int = 1
    """How many."""
    leaves: bool = False
    """The pages held rows themselves: these are nowhere else."""
    readable: list[int] = field(default_factory=list)
    """Those pages that are sound, and have rows outside of these bounds."""

    def __contains__(self, rowid: int) -> bool:
        return self.first <= rowid <= self.last


class Leaf(NamedTuple):
    """A page with rows, in the order of their ids."""

    number: int
    page: bytes
    cells: list[Cell]


@dataclass(slots=True)
class Tree:
    """What a walk found: the gaps, complete when it is over."""

    root: int
    gaps: list[Gap] = field(default_factory=list)
    open_gaps: list[Gap] = field(default_factory=list)
    """Of these, the ones whose rows may be on pages that nothing leads to."""
    leaf_depth: int = -1


class Forest:
    """The pages of a file by what they were found to be; one byte for each."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.free_pages_known = True
        self._state = bytearray(pages.count + 1)
        self._free_taken = self._scanned = False

    def walk(self, tree: Tree, first: int = LEAST_ROWID, last: int = LAST_ROWID) -> Iterator[Leaf]:
        """Yield the leaves of a tree in order, and note its gaps; a page belongs to the first tree that has it."""
        gaps: list[tuple[int, Gap]] = []
        waiting = [(tree.root, first, last, 0)]
        while waiting:
            number, first, last, depth = waiting.pop()
            below = self._below(number, first, last)
            if below is not None:
                waiting += [(*child, depth + 1) for child in reversed(below)]
                continue
            leaf, whole = self._leaf(number, first, last)
            if leaf is not None:
                tree.leaf_depth = max(tree.leaf_depth, depth)
                whole = whole and (bool(leaf.cells) or depth == 0)  # only a root is ever without rows
                yield leaf
            if not whole:
                misled = leaf is None and self._is_of_another(number)
                readable = [number] if misled and self._is_unclaimed(number) and self._is_of_table(number) else []
                _add_gap(gaps, Gap(first, last, readable=readable), _ELSEWHERE if misled else depth)
        for depth, gap in gaps:
            gap.leaves = depth == tree.leaf_depth
        tree.gaps = [gap for _, gap in gaps]
        tree.open_gaps = [gap for gap in tree.gaps if not gap.leaves]

    def take_free_pages(self) -> None:
        """Mark the pages that SQLite had given up: what is still on them was deleted."""
        if self._free_taken:
            return
        self._free_taken = True
        header = self.pages.header
        number, count = (int.from_bytes(header[at : at + 4], "big") for at in (32, 36))
        if not self.pages.header_is_whole or self._free_from(number) != count:
            self.free_pages_known = False
            # The lists of free pages are on free pages themselves: what is left of them is found by its form.
            for each in range(2, self.pages.count + 1):
                if self._state[each] == _UNKNOWN:
                    self._free_from(each, least=1)

    def loose(self) -> Iterator[int]:
        """Yield the pages of tables that nothing leads to: each the root of what is below it, those below it last."""
        self._scan()
        for wanted in (_LOOSE, _LED_TO):
            for number in range(len(self._state)):
                if self._state[number] == wanted:
                    yield number

    def peek(self, root: int) -> Leaf | None:
        """Return the first leaf below a loose page, without taking it."""
        at, number = 0, root
        for _ in range(_DEEPEST):
            page = self.pages.read(number)
            try:
                if page[at] == LEAF:
                    return Leaf(number, page, leaf_cells(page, self.pages.usable, at))
                number = next(
                    (child for child, _ in children(page, self.pages.usable, at) if self._is_unclaimed(child)), 0
                )
            except UnreadableError:
                return None
            if not number:
                return None
        return None

    def entries(self, root: int) -> int | None:
        """Return how many entries an index has, so rows its table; None where a page of it cannot be read."""
        try:
            return sum(len(cells) for _, cells in self._index(root))
        except UnreadableError:
            return None

    def rowids(self, root: int) -> Iterator[int]:
        """Yield the rowids of an index, those of all rows of its table.

        Raises:
            UnreadableError: a page or an entry of it cannot be read.

        """
        for page, cells in self._index(root):
            for cell in cells:
                rowid = values(self.pages.record(page, cell), self.pages.encoding)[-1]
                if not isinstance(rowid, int):
                    raise UnreadableError
                yield rowid

    def _index(self, root: int) -> Iterator[tuple[bytes, list[Cell]]]:
        seen, waiting = 0, [root]
        while waiting:
            seen += 1
            number = waiting.pop()
            if not 1 < number <= self.pages.count or seen > self.pages.count:
                raise UnreadableError
            page = self.pages.read(number)
            cells, below = index_page(page, self.pages.usable)
            yield page, cells
            waiting += below

    def take(self, number: int) -> None:
        """Claim a page."""
        self._state[number] = _TAKEN

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        for number in range(2, self.pages.count + 1):
            if self._state[number] == _UNKNOWN and self._is_of_table(number):
                self._state[number] = _LOOSE
        for number in range(2, self.pages.count + 1):
            if self._state[number] in {_LOOSE, _LED_TO}:
                page = self.pages.read(number)
                below = children(page, self.pages.usable, 0) if page[0] == INTERIOR else ()
                for child, _ in below:
                    if child != number and child < len(self._state) and self._state[child] == _LOOSE:
                        self._state[child] = _LED_TO

    def _is_of_table(self, number: int) -> bool:
        return is_of_table(self.pages.read(number), self.pages.usable)

    def _is_unclaimed(self, number: int) -> bool:
        return 0 < number < len(self._state) and self._state[number] not in {_TAKEN, _FREE}

    def _is_of_another(self, number: int) -> bool:
        """Say whether a page that a tree cannot have is sound, or was never there: the pointer to it is damaged."""
        if not 0 < number < len(self._state):
            return not 0 < number <= self.pages.full_count
        page = self.pages.read(number)
        if not self._is_unclaimed(number) or is_of_table(page, self.pages.usable):
            return True
        with suppress(UnreadableError):
            return bool(index_page(page, self.pages.usable)[0])
        return False

    def _below(self, number: int, first: int, last: int) -> list[tuple[int, int, int]] | None:
        """Return the pages below an interior page with their bounds; None where this is none, or is another tree's."""
        if not self._is_unclaimed(number):
            return None
        page = self.pages.read(number)
        at = FIRST_HEADER if number == 1 else 0
        if page[at] != INTERIOR:
            return None
        try:
            found = children(page, self.pages.usable, at)
        except UnreadableError:
            return None
        # The last key may be above the bound: rows go, and their keys stay.
        if found[0][1] < first or any(child <= 1 for child, _ in found):
            return None
        self.take(number)
        bounded = []
        for child, key in found:
            bounded.append((child, first, min(key, last)))
            first = min(key, last) + 1
        return bounded

    def _leaf(self, number: int, first: int, last: int) -> tuple[Leaf | None, bool]:
        """Return a leaf with the rows that can be there, and whether these are all that were there."""
        if not self._is_unclaimed(number):
            return None, False
        page = self.pages.read(number)
        at = FIRST_HEADER if number == 1 else 0
        if page[at] != LEAF:
            return None, False
        try:
            cells, whole = leaf_cells(page, self.pages.usable, at), True
        except UnreadableError:
            cells, whole = surviving_cells(page, self.pages.usable, at), False
        length = self.pages.length(number)
        there = [cell for cell in cells if cell.start + cell.local + (4 if cell.overflow else 0) <= length]
        cells, whole = there, whole and len(there) == len(cells)
        fitting = [cell for cell in cells if first <= cell.rowid <= last]
        if not fitting and (cells or not whole):
            return None, False
        self.take(number)
        # Of a page that is whole, the page above it is wrong where only some rows are in its bounds.
        return Leaf(number, page, cells if whole else fitting), whole

    def _free_from(self, number: int, *, least: int = 0) -> int:
        """Mark what a list of free pages names from the trunk ``number`` on; return how many there are."""
        found = 0
        while 0 < number <= self.pages.count:
            try:
                following, named = freelist_trunk(self.pages.read(number), self.pages.usable, self.pages.count)
            except UnreadableError:
                break
            if len(named) < least or self._state[number] != _UNKNOWN:
                break
            for each in (number, *named):
                if self._state[each] == _UNKNOWN:
                    self._state[each] = _FREE
                    found += 1
            number = following
        return found


def _add_gap(gaps: list[tuple[int, Gap]], gap: Gap, depth: int) -> None:
    """Add a gap; neighbours are one, so that a long run of lost pages takes no room."""
    if gaps and gaps[-1][0] == depth and gaps[-1][1].last + 1 == gap.first:
        gaps[-1][1].last = gap.last
        gaps[-1][1].pages += gap.pages
        gaps[-1][1].readable += gap.readable
    else:
        gaps.append((depth, gap))
