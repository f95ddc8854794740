"""Reading the whole log once and saying what is not as it was written, and where.

Every node of the tree is stored, so each finding is local: a row against its leaf, a node against the two below it.
From a finding on, the stored hashes are trusted again, so that one altered row is one finding. An attacker who
recomputes everything up to the root is found by a head that was kept elsewhere. Leaves out: mending anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.erased import Erasures
from aragora_persist.storage.audit.leaf import ERASURE, content_of, leaf_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aragora_persist.storage.audit.append import TreeState
    from aragora_persist.storage.audit.leaf import AuditRow
    from aragora_persist.storage.audit.signing import PublicKeys

MOST_PROBLEMS = 1_000


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """One finding.

    ``kind`` is ``altered`` (a row is not what was logged), ``missing``, ``inserted``, ``erased`` (personal fields are
    gone without an entry that says so), ``tree`` (hashes were changed), ``retention`` (entries were removed without an
    entry that says so) or ``head`` (the log is not the one that a head describes). ``first`` and ``last`` are the
    positions that it is about, where it is about some, ``entry_id`` the id of the one row.
    """

    kind: str
    text: str
    first: int | None = None
    last: int | None = None
    entry_id: int | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found. ``ok`` is that there is no problem.

    ``size`` counts every entry ever logged, ``removed`` those that retention removed, ``erased`` those with erased
    fields. ``unchecked_heads`` are older than what retention removed, so that nothing can be said of them.
    ``problem_count`` may be more than ``problems``, which holds the first thousand.
    """

    ok: bool
    size: int
    root: str
    removed: int
    erased: int
    unchecked_heads: int
    problem_count: int
    problems: tuple[AuditProblem, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A root that the tree must have had at a size; ``kind`` and ``text`` say what it means if not."""

    size: int
    root: str
    kind: str
    text: str


class Walk:
    """One pass over the rows, in the order of their positions."""

    def __init__(self, state: TreeState, checkpoints: Iterable[Checkpoint], keys: PublicKeys | None) -> None:
        self._state = state
        self._problems: list[AuditProblem] = []
        self._count = 0
        self._position = state.removed
        self._hashes: list[bytes | None] = [*tree.split(state.removed_edge)]
        self._last: AuditRow | None = None
        self._proved = 0
        self._erasures = Erasures(keys)
        self._unchecked = 0
        self._ahead = sorted(checkpoints, key=lambda checkpoint: -checkpoint.size)
        while self._ahead and self._ahead[-1].size < state.removed:
            self._ahead.pop()
            self._unchecked += 1

    def add(self, problem: AuditProblem) -> None:
        """Note a finding."""
        self._count += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(problem)

    def row(self, row: AuditRow) -> None:
        """Take the next row."""
        position = row.position
        known = isinstance(position, int) and self._position <= position < self._state.size
        if not isinstance(position, int) or not known:
            self._add_row("inserted", "was not written by the log", row)
            return
        self._skip_to(position)
        self._check_heads()
        self._check_content(row)
        self._take(row)
        self._last = row

    def report(self) -> AuditReport:
        """Finish, and return what was found."""
        self._skip_to(self._state.size)
        self._check_heads()
        for checkpoint in reversed(self._ahead):
            text = f"{checkpoint.text}, but only with {self._state.size}: its end is gone, or it is an older backup"
            self.add(AuditProblem(checkpoint.kind, text, self._state.size, checkpoint.size - 1))
        self._check_state()
        for problem in self._erasures.unexplained():
            self.add(AuditProblem("erased", problem.text, problem.position, problem.position, problem.entry_id))
        root = tree.fold(tree.split(self._state.edge)).hex()
        return AuditReport(
            self._count == 0,
            self._state.size,
            root,
            self._state.removed,
            self._erasures.count,
            self._unchecked,
            self._count,
            tuple(self._problems),
        )

    def _check_content(self, row: AuditRow) -> None:
        nodes = row.nodes if isinstance(row.nodes, bytes) else b""
        problem = self._erasures.contradiction(row)
        if leaf_of(row.id, row.position, content_of(row)) != nodes[: tree.HASH_BYTES]:
            problem = "is not what was logged"
        if problem is not None:
            self._add_row("altered", problem, row)
            return
        self._erasures.see(row)
        if row.action == ERASURE and (unusable := self._erasures.take(row, self._root())):
            self._add_row("erased", unusable, row)

    def _take(self, row: AuditRow) -> None:
        """Add a leaf, comparing each node that it finishes with the two below it."""
        count = tree.finished_by(self._position)
        nodes: list[bytes | None] = [*tree.split(row.nodes)] if isinstance(row.nodes, bytes) else []
        if len(nodes) != count:
            self._add_row("tree", "has not as many hashes as belong to it", row)
            nodes = [None] * count
        node = nodes[0]
        for stored in nodes[1:]:
            left = self._hashes.pop()
            if left is not None and node is not None and tree.node_hash(left, node) != stored:
                self._add_row("tree", "holds a hash that does not follow from those below it", row)
            node = stored
        self._hashes.append(node)
        self._position += 1

    def _skip_to(self, position: int) -> None:
        if position == self._position:
            return
        self._check_heads()
        first = self._position
        # Not one by one: whoever writes an immense size into the state must not keep a verification from ending.
        known = dict(zip(tree.complete_nodes(0, first), self._hashes, strict=True))
        self._hashes = [known.get(name) for name in tree.complete_nodes(0, position)]
        self._position = position
        while self._ahead and self._ahead[-1].size < position:
            self._ahead.pop()  # within what is missing, which is a finding already
        behind = "at the beginning" if self._last is None else f"behind the entry with the id {self._last.id!r}"
        self.add(AuditProblem("missing", f"{position - first} entries are missing {behind}", first, position - 1))

    def _check_heads(self) -> None:
        while self._ahead and self._ahead[-1].size == self._position:
            checkpoint = self._ahead.pop()
            root = self._root()
            if root is None:
                continue  # entries are missing, which is a finding already
            if root == checkpoint.root:
                self._proved = checkpoint.size
            else:
                self.add(AuditProblem(checkpoint.kind, checkpoint.text, self._proved, checkpoint.size - 1))

    def _root(self) -> str | None:
        """Return the root of the log so far; None where entries are missing."""
        hashes = [node for node in self._hashes if node is not None]
        return tree.fold(hashes).hex() if len(hashes) == len(self._hashes) else None

    def _check_state(self) -> None:
        edge = tree.split(self._state.edge)
        if any(node is not None and node != kept for node, kept in zip(self._hashes, edge, strict=True)):
            self.add(AuditProblem("tree", "the root of the tree does not follow from its entries"))
        last = self._last
        if last is not None and last.position == self._state.size - 1 and last.id != self._state.last_id:
            self.add(AuditProblem("tree", f"the last entry has the id {last.id!r}, not {self._state.last_id}"))

    def _add_row(self, kind: str, text: str, row: AuditRow) -> None:
        position = row.position if isinstance(row.position, int) else None
        ident = row.id if isinstance(row.id, int) else None
        self.add(AuditProblem(kind, f"the entry with the id {row.id!r} {text}", position, position, ident))
