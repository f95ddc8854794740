"""The audit log's hash tree against the definitions of RFC 9162, written down a second time; and what a leaf holds."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.leaf import AuditRow, content_of, has_subject, leaf_of, salted

WHEN = "2026-01-02T03:04:05.000006Z"
LEAVES = [bytes([number]) * 32 for number in range(70)]
VALUES = (
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.sampled_from(["", "t", "a\0tb", "{}"])
)
ROWS = st.builds(AuditRow, *[VALUES] * 11)


def definition(leaves: list[bytes]) -> bytes:
    """Return the Merkle tree hash of section 2.1.1, over the hashes of leaves."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + definition(leaves[:half]) + definition(leaves[half:])).digest()


def path_of(position: int, leaves: list[bytes]) -> list[bytes]:
    """Return the audit path of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if position < half:
        return [*path_of(position, leaves[:half]), definition(leaves[half:])]
    return [*path_of(position - half, leaves[half:]), definition(leaves[:half])]


def test_the_known_roots_of_the_standard_s_test_vectors() -> None:
    """The empty tree, and one with an empty leaf."""
    assert tree.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_roots_of_every_size_are_the_definition_s() -> None:
    """Appended one by one, from a stored edge each time."""
    edge = tree.RightEdge()
    for size, leaf in enumerate(LEAVES):
        assert edge.root() == definition(LEAVES[:size])
        edge = tree.RightEdge(size, edge.stored)
        assert len(edge.append(leaf)) == 32 * tree.finished_by(size)
        assert len(edge.stored) == 32 * (size + 1).bit_count()


def test_paths_of_every_leaf_in_every_size_are_the_definition_s() -> None:
    """They lead to the root, and a path of another length or another position leads nowhere."""
    nodes = all_nodes()
    for size in range(1, len(LEAVES)):
        root = definition(LEAVES[:size])
        for position in range(size):
            path = tree.inclusion_path(position, size, lambda level, index: nodes[level, index])
            assert list(path) == path_of(position, LEAVES[:size])
            assert tree.root_of_path(LEAVES[position], position, size, path) == root
            assert tree.root_of_path(LEAVES[position], position, size, (*path, root)) is None
            assert tree.root_of_path(LEAVES[position], (position + 1) % size, size, path) != root or size == 1
    assert tree.root_of_path(LEAVES[0], 1, 1, ()) is None
    assert tree.root_of_path(LEAVES[0], -1, 1, ()) is None


def test_a_path_looks_up_what_it_names() -> None:
    """At most two nodes for each level, in a tree of any size."""
    nodes = all_nodes()
    for size in (1, 2, 5, 64, 69):
        for position in range(size):
            looked_up: list[tuple[int, int]] = []

            def node(level: int, index: int, looked_up: list[tuple[int, int]] = looked_up) -> bytes:
                looked_up.append((level, index))
                return nodes[level, index]

            tree.inclusion_path(position, size, node)
            assert looked_up == tree.path_nodes(position, size)
            assert len(looked_up) <= 2 * size.bit_length()


def all_nodes() -> dict[tuple[int, int], bytes]:
    """Return every complete node, where the log stores it: with the leaf that finished it."""
    edge, nodes = tree.RightEdge(), {}
    for position, leaf in enumerate(LEAVES):
        for level, node in enumerate(tree.split(edge.append(leaf))):
            assert tree.last_leaf(level, position >> level) == position
            nodes[level, position >> level] = node
    return nodes


@pytest.mark.parametrize(
    ("row", "leaf"),
    [
        (
            AuditRow(7, WHEN, "u", "o", "a", "user", "p", '{"n":1}', "192.0.2.1", "Agent")._replace(
                position=3, actor_salt=b"s" * 16, subject_salt=b"t" * 16
            ),
            "1b04f977aa71f781276df66989cac0cf50c9ef561f80bcbd608d890f86658e87",
        ),
        (
            AuditRow(1, WHEN, None, None, "a", None, None, "{}", None, None, "k")._replace(position=0),
            "9bdf01de35ec555f1e41f454a4d5de469d1ee49d81b038ef8b962b37f6163a1b",
        ),
        (
            AuditRow(3, "2026-01-01 10:00:00", "u", None, "a", "debate", 7, None, "1.2.3.4", None)._replace(
                position=0, actor_salt=b"s" * 16
            ),
            "5fdbd3d5782c7f3a9fb5fc42e4486df9cca31560f871d05dafcdea8109adec0d",
        ),
    ],
)
def test_leaves_are_for_ever(row: AuditRow, leaf: str) -> None:
    """Heads that are kept elsewhere hold only as long as the same row has the same leaf, in every release."""
    assert leaf_of(row.id, row.position, content_of(row)).hex() == leaf


@given(ROWS, ROWS)
def test_different_rows_have_different_leaves(one: AuditRow, other: AuditRow) -> None:
    """Whatever the columns hold: no value can be moved into the next column, and no kind stands for another."""
    leaves = [leaf_of(row.id, row.position, content_of(row)) for row in (one, other)]
    assert (leaves[0] == leaves[1]) == (list(map(repr, one)) == list(map(repr, other)))


def test_no_salt_is_given_twice() -> None:
    """Not by many threads, and not by a forked child and its parent."""
    row = AuditRow(None, WHEN, "u", None, "a", None, None, "{}", None, None)
    with ThreadPoolExecutor(8) as threads:
        salts = list(threads.map(lambda _: salted(row).actor_salt, range(1_000)))
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(sending, b"".join(bytes(salted(row).actor_salt or b"") for _ in range(50)))  # type: ignore[arg-type] # bytes
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(receiving, "rb") as received:
        os.close(sending)
        of_child = received.read()
    salts += [of_child[start : start + 16] for start in range(0, len(of_child), 16)]
    salts += [salted(row).actor_salt for _ in range(100)]
    assert {len(salt) for salt in salts if isinstance(salt, bytes)} == {16}
    assert len(set(salts)) == 1_150


@given(ROWS)
def test_salts_hide_values(row: AuditRow) -> None:
    """The same row has another leaf each time that it is logged with something personal, and only then."""
    one, other = salted(row), salted(row)
    personal = one.actor_salt is not None or has_subject(row)
    assert (content_of(one) != content_of(other)) == personal
