"""The hash tree over the audit log, as in RFC 9162, section 2.1: hashes, the right edge, inclusion proofs. Pure.

A node is named by its level (0: a leaf) and its index within it; a complete one covers ``2 ** level`` leaves. Whoever
appends a leaf learns every complete node that it finishes, so that each node is made, and stored, exactly once. Leaves
out: what a leaf is the hash of (``leaf``), and where nodes are kept.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node; its first byte keeps a node from being passed off as a leaf."""
    return sha256(b"\x01" + left + right).digest()


class RightEdge:
    """The complete nodes that a tree of this size is made of, largest first: all that appending and its root need."""

    __slots__ = ("size", "stored")

    def __init__(self, size: int = 0, stored: bytes = b"") -> None:
        self.size = size
        self.stored = stored
        """The hashes one after the other, which the constructor takes again."""

    def append(self, leaf: bytes) -> bytes:
        """Add a leaf; return it, followed by the nodes that it finishes, from the bottom up."""
        node = finished = leaf
        index, stored = self.size, self.stored
        while index & 1:
            node = node_hash(stored[-HASH_BYTES:], node)
            stored = stored[:-HASH_BYTES]
            finished += node
            index >>= 1
        self.stored = stored + node
        self.size += 1
        return finished

    def root(self) -> bytes:
        """Return the root of the tree."""
        return fold(split(self.stored))


def split(hashes: bytes) -> list[bytes]:
    """Return the hashes that were stored one after the other."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root above complete nodes that stand side by side, largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in hashes[-2::-1]:
        root = node_hash(left, root)
    return root


def complete_nodes(start: int, end: int) -> list[tuple[int, int]]:
    """Return level and index of the complete nodes that the leaves from ``start`` to before ``end`` are made of.

    ``start`` is where a node of that width can begin: 0, or the first leaf of a sibling on a path to the root.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def finished_by(position: int) -> int:
    """Return how many nodes the leaf at this position finishes, itself included."""
    return (position ^ (position + 1)).bit_length()


def last_leaf(level: int, index: int) -> int:
    """Return the position of the leaf that finishes this node."""
    return ((index + 1) << level) - 1


def inclusion_path(position: int, size: int, node: Callable[[int, int], bytes]) -> tuple[bytes, ...]:
    """Return the proof that the leaf at ``position`` is in the tree of ``size`` leaves; ``node`` looks a node up."""
    path = []
    for _, start, end in _siblings(position, size):
        path.append(fold([node(level, index) for level, index in complete_nodes(start, end)]))
    return tuple(path)


def path_nodes(position: int, size: int) -> list[tuple[int, int]]:
    """Return level and index of every node that ``inclusion_path`` will look up: at most two for each level."""
    return [named for _, start, end in _siblings(position, size) for named in complete_nodes(start, end)]


def root_of_path(leaf: bytes, position: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that follows from a leaf and its path; None when the path has not the length it must have."""
    if not 0 <= position < size:
        return None
    siblings = list(_siblings(position, size))
    if len(siblings) != len(path):
        return None
    node = leaf
    for (on_the_left, _, _), sibling in zip(siblings, path, strict=True):
        node = node_hash(sibling, node) if on_the_left else node_hash(node, sibling)
    return node


def _siblings(position: int, size: int) -> Iterator[tuple[bool, int, int]]:
    """Yield, from the bottom up, each sibling on the way to the root: whether it is on the left, first leaf, end."""
    index, last, level = position, size - 1, 0
    while last:
        if index & 1:
            yield True, (index - 1) << level, index << level
        elif index < last:
            yield False, (index + 1) << level, min((index + 2) << level, size)
        index, last, level = index >> 1, last >> 1, level + 1
