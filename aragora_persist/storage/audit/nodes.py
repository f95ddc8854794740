"""Looking up the complete nodes of the tree: each stands in the row that finished it, or in what retention kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError
from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.append import read_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Reader


class NodeSource:
    """The nodes of these names (level and index), read with one statement."""

    def __init__(self, view: Reader, operation: str, names: Sequence[tuple[int, int]]) -> None:
        self._operation = operation
        state = read_state(view)
        kept = tree.complete_nodes(0, state.removed)
        self._found = dict(zip(kept, tree.split(state.removed_edge), strict=False))
        homes = sorted({tree.last_leaf(level, index) for level, index in names})
        if not homes:
            return
        marks = ", ".join("?" * len(homes))
        sql = f"SELECT position, nodes FROM audit_log WHERE position IN ({marks})"  # noqa: S608 - marks alone
        for position, nodes in view.all(sql, homes):
            hashes = tree.split(nodes) if isinstance(nodes, bytes) else []
            self._found |= {(level, int(position or 0) >> level): node for level, node in enumerate(hashes)}

    def __call__(self, level: int, index: int) -> bytes:
        """Return a node.

        Raises:
            DamagedError: it is not there, though nothing that the log does removes it.

        """
        try:
            return self._found[level, index]
        except KeyError:
            position = tree.last_leaf(level, index)
            raise DamagedError(
                self._operation, f"audit entry at position {position}", "is missing or damaged", hint="run verify"
            ) from None
