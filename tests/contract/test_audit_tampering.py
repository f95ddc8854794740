"""Whatever is done to the audit log behind its back is found and named, on every backend.

Every attack goes through plain SQL. The last class has an attacker who recomputes all hashes: against that only a head
that was kept elsewhere helps, and signatures where the attacker has not the key.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import DamagedError, PersistError
from aragora_persist.storage.audit import append, tree
from aragora_persist.storage.audit.leaf import COLUMNS, AuditRow, actor_hash, content_of, leaf_of
from aragora_persist.storage.audit_store import AuditStore
from tests.contract.audit_rows import fill

if TYPE_CHECKING:
    from aragora_persist.storage.audit_store import AuditReport
    from aragora_persist.storage.port import Transaction, Value
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.audit_fixtures",)

ENTRIES = 21


@pytest.fixture
def log(audit: AuditStore, clock: Clock) -> AuditStore:
    """Return a log with entries of every kind: some removed, some erased."""
    fill(audit, clock, 6)
    clock.advance(days=91)
    fill(audit, clock, ENTRIES - 6, first=6)
    assert audit.cleanup_old_entries() == 6
    assert audit.erase_person("user-3") > 0
    assert audit.verify().ok
    return audit


def attack(log: AuditStore, *statements: str) -> None:
    """Run statements that the log knows nothing of."""
    log.database.write("attack", lambda tx: [tx.execute(statement) for statement in statements])


def rows(log: AuditStore) -> list[AuditRow]:
    """Return every row as it is stored."""
    with log.database.read("look") as view:
        return [AuditRow(*row) for row in view.all(f"SELECT {COLUMNS} FROM audit_log ORDER BY id")]


def named(report: AuditReport) -> set[tuple[str, int | None, int | None]]:
    """Return kind, first and last position of each problem."""
    return {(problem.kind, problem.first, problem.last) for problem in report.problems}


def _set(tx: Transaction, *, column: str, value: Value, ident: Value) -> int:
    return tx.execute(f"UPDATE audit_log SET {column} = ? WHERE id = ?", (value, ident))


class TestOneChange:
    """Each is named, and nothing else is."""

    @pytest.mark.parametrize(
        "column",
        [
            *("timestamp", "user_id", "org_id", "action", "resource_type", "resource_id", "details"),
            *("ip_address", "user_agent", "event_key", "erased_at"),
        ],
    )
    def test_an_edited_column(self, log: AuditStore, column: str) -> None:
        """Of a whole entry and of one with erased fields (whose time of erasure is another matter)."""
        for key in ("key-10",) if column == "erased_at" else ("key-10", "key-13"):
            (before,) = (row for row in rows(log) if row.event_key == key)
            attack(log, f"UPDATE audit_log SET {column} = '2026-01-01T00:00:00.000000Z' WHERE event_key = '{key}'")
            report = log.verify()
            assert named(report) == {("altered", before.position, before.position)}
            assert [problem.entry_id for problem in report.problems] == [before.id]
            log.database.write(
                "mend",
                partial(_set, column=column, value=getattr(before, column), ident=before.id),
            )
        assert log.verify().ok

    def test_an_emptied_column(self, log: AuditStore) -> None:
        """To take something out is an edit too."""
        for column in ("user_id", "org_id", "ip_address", "actor_salt", "details"):
            (row,) = (row for row in rows(log) if row.event_key == "key-10")
            attack(log, f"UPDATE audit_log SET {column} = NULL WHERE id = {row.id!r}")
            assert ("altered", row.position, row.position) in named(log.verify())

    def test_another_id(self, log: AuditStore) -> None:
        """An id is part of the entry."""
        (row,) = (row for row in rows(log) if row.event_key == "key-10")
        attack(log, f"UPDATE audit_log SET id = 1000 WHERE id = {row.id!r}")
        assert named(log.verify()) == {("altered", row.position, row.position)}

    @pytest.mark.parametrize(("first", "last"), [(6, 6), (6, 9), (10, 10), (11, 17), (20, 20)])
    def test_removed_rows(self, log: AuditStore, first: int, last: int) -> None:
        """At the beginning, in the middle, several."""
        attack(log, f"DELETE FROM audit_log WHERE position BETWEEN {first} AND {last}")
        report = log.verify()
        assert ("missing", first, last) in named(report)
        assert {problem.kind for problem in report.problems} <= {"missing", "tree"}

    def test_cut_off_rows(self, log: AuditStore) -> None:
        """At the end, where no later row can tell."""
        attack(log, "DELETE FROM audit_log WHERE position >= 15")
        assert ("missing", 15, log.verify().size - 1) in named(log.verify())

    def test_inserted_rows(self, log: AuditStore) -> None:
        """With and without a place in the tree; the log goes on behind them."""
        attack(log, "INSERT INTO audit_log (id, timestamp, action) VALUES (500, '2026', 'forged')")
        attack(log, "INSERT INTO audit_log (id, timestamp, action, position) VALUES (501, '2026', 'forged', 3)")
        attack(log, "INSERT INTO audit_log (id, timestamp, action, position) VALUES (502, '2026', 'forged', 90)")
        entry = log.log("after")
        report = log.verify()
        assert {(problem.kind, problem.entry_id) for problem in report.problems} == {
            ("inserted", 500),
            ("inserted", 501),
            ("inserted", 502),
        }
        assert entry.id == 503

    def test_rows_in_another_order(self, log: AuditStore) -> None:
        """Both are named."""
        attack(
            log,
            "UPDATE audit_log SET position = 1000 WHERE position = 10",
            "UPDATE audit_log SET position = 10 WHERE position = 14",
            "UPDATE audit_log SET position = 14 WHERE position = 1000",
        )
        assert {("altered", 10, 10), ("altered", 14, 14)} <= named(log.verify())

    def test_an_edit_with_its_leaf(self, log: AuditStore) -> None:
        """The node above it still says that it was another one."""
        (row,) = (row for row in rows(log) if row.event_key == "key-12")
        edited = row._replace(action="forged")
        nodes = leaf_of(edited.id, edited.position, content_of(edited)) + bytes(row.nodes or b"")[32:]  # type: ignore[arg-type] # bytes
        log.database.write(
            "attack",
            lambda tx: tx.execute("UPDATE audit_log SET action = 'forged', nodes = ? WHERE id = ?", (nodes, row.id)),
        )
        ((kind, first, last),) = named(log.verify())
        assert kind == "tree"
        assert first == last
        assert first in {12, 13}

    @pytest.mark.parametrize(
        "change",
        [
            "size = size + 1",
            "size = size - 1",
            "size = 0",
            "last_id = last_id + 1",
            "removed = 5",
            "removed = 7",
            "removed = 0",
            "retention_id = NULL",
            "retention_id = 9",
            "edge = removed_edge",
            "removed_edge = edge",
        ],
    )
    def test_the_state_of_the_tree(self, log: AuditStore, change: str) -> None:
        """Each of its columns."""
        attack(log, f"UPDATE audit_tree SET {change}")
        assert not log.verify().ok

    def test_a_lost_state(self, log: AuditStore) -> None:
        """Nothing is appended to a log whose state is gone, and verification says what is wrong."""
        attack(log, "DELETE FROM audit_tree")
        with pytest.raises(DamagedError, match="state of the tree is gone"):
            log.log("a")
        (problem,) = log.verify().problems
        assert (problem.kind, "gone" in problem.text) == ("tree", True)

    def test_an_immense_size(self, log: AuditStore) -> None:
        """However many entries are said to be missing, verification ends."""
        log.database.write(
            "attack", lambda tx: tx.execute("UPDATE audit_tree SET size = ?, edge = ?", (2**62, bytes(32)))
        )
        report = log.verify(log.head(signed=False))
        assert {(problem.kind, problem.last) for problem in report.problems} >= {("missing", 2**62 - 1)}


class TestRetention:
    """The log itself removes, and signs, only what is old as it was logged."""

    @pytest.mark.parametrize(
        "change",
        [
            "timestamp = '2001-01-01T00:00:00.000000Z'",
            "timestamp = '9999-01-01T00:00:00.000000Z'",
            "timestamp = 'never'",
            "action = 'forged'",
            "details = NULL",
            "nodes = NULL",
        ],
    )
    def test_an_edited_entry_stops_it(self, audit: AuditStore, clock: Clock, change: str) -> None:
        """Neither is a young entry made old, nor an old one kept, nor the trace of an edit removed."""
        fill(audit, clock, 5)
        if "2001" not in change:
            clock.advance(days=91)
        fill(audit, clock, 5, first=5)
        first = 0 if "2001" in change else 3
        attack(audit, f"UPDATE audit_log SET {change} WHERE position >= {first} AND position < 5")
        before = rows(audit)
        with pytest.raises(DamagedError, match=f"position {first}"):
            audit.cleanup_old_entries()
        assert rows(audit) == before


class TestErasure:
    """An edit cannot be passed off as an erasure."""

    def test_fields_that_were_emptied(self, log: AuditStore, public_key: str) -> None:
        """What an erasure does to a row, without the entry that says so."""
        (row,) = (row for row in rows(log) if row.event_key == "key-11")
        log.database.write("attack", lambda tx: _empty(tx, row))
        assert named(log.verify()) == {("erased", row.position, row.position)}
        # With an entry, but without the key, it needs the public key to be found.
        with_entry = AuditStore(log.database)
        with_entry.log("a", user_id="x")
        log.database.write("attack", lambda tx: _claim(tx, row))
        assert {kind for kind, _, _ in named(log.verify(public_keys=[public_key]))} == {"erased"}

    def test_an_edit_in_an_erased_row(self, log: AuditStore) -> None:
        """What stays of the fields still commits to what they were."""
        erased = next(row for row in rows(log) if row.actor_hash is not None)
        attack(log, f"UPDATE audit_log SET actor_hash = nodes WHERE id = {erased.id!r}")
        report = log.verify()
        assert ("altered", erased.position, erased.position) in named(report)

    def test_an_erasure_of_another_time(self, log: AuditStore) -> None:
        """When it was erased is in the entry about it."""
        erased = next(row for row in rows(log) if row.actor_hash is not None)
        attack(log, f"UPDATE audit_log SET erased_at = '2026-01-01T00:00:00.000000Z' WHERE id = {erased.id!r}")
        assert named(log.verify()) == {("erased", erased.position, erased.position)}

    def test_a_statement_about_another_log(self, log: AuditStore, public_key: str) -> None:
        """What the key signed for a log of other entries, a test system's for instance, explains nothing in this."""
        (statement,) = (row for row in rows(log) if row.action == "audit.erasure")
        log.log("a", user_id="x")

        def replay(tx: Transaction) -> None:
            tx.execute(
                "UPDATE audit_log SET action = 'audit.erasure', details = ?, timestamp = ? WHERE user_id = 'x'",
                (statement.details, statement.timestamp),
            )
            recompute(tx)

        log.database.write("attack", replay)
        (problem,) = log.verify(public_keys=[public_key]).problems
        assert (problem.kind, "another log" in problem.text) == ("erased", True)


def _empty(tx: Transaction, row: AuditRow) -> None:
    tx.execute(
        "UPDATE audit_log SET user_id = NULL, ip_address = NULL, user_agent = NULL, details = '{}', actor_salt = NULL,"
        " actor_hash = ?, erased_at = '2026-04-05T00:00:00.000000Z' WHERE id = ?",
        (actor_hash(row), row.id),
    )


def _claim(tx: Transaction, row: AuditRow) -> None:
    statement = json.dumps({"actor": [[row.position, row.position]], "subject": []})
    tx.execute("UPDATE audit_log SET action = 'audit.erasure', details = ? WHERE user_id = 'x'", (statement,))
    recompute(tx)


class TestAnything:
    """Any change at all."""

    def test_random_tampering_is_found(self, log: AuditStore) -> None:
        """Any column of any row set to any value, or the row removed: the finding names its position."""
        columns = COLUMNS.split(", ")
        text = st.sampled_from(["'x'", "NULL", "7", "''", "'{}'", "'user'", "action", "details", "user_id"])
        blob = st.sampled_from(["NULL", "nodes", "actor_salt", "subject_hash"])
        number = st.sampled_from(["7", "60"])

        def values(column: str) -> st.SearchStrategy[tuple[str, str]]:
            kind = blob if column.endswith(("salt", "hash", "nodes")) else number if column == "id" else text
            return st.tuples(st.just(column), kind)

        edit = st.sampled_from(columns).flatmap(values)

        @settings(max_examples=60)
        @given(edit=edit, position=st.integers(6, ENTRIES - 1))
        def check(edit: tuple[str, str], position: int) -> None:
            column, value = edit
            before = rows(log)
            change = f"UPDATE audit_log SET {column} = {value}" if column != "position" else "DELETE FROM audit_log"
            with suppress(PersistError):  # the schema refuses some changes by itself
                attack(log, f"{change} WHERE position = {position}")
            changed = rows(log) != before
            report = log.verify()
            (row,) = (row for row in before if row.position == position)
            log.database.write("mend", partial(restore, row=row))
            assert report.ok != changed
            assert not changed or (position, position) in {(found.first, found.last) for found in report.problems}
            assert log.verify().ok

        check()


def restore(tx: Transaction, row: AuditRow) -> None:
    """Put a row back as it was."""
    tx.execute("DELETE FROM audit_log WHERE position = ? OR id = ?", (row.position, row.id))
    tx.execute(f"INSERT INTO audit_log ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)


def recompute(tx: Transaction) -> None:
    """Make the whole tree anew over whatever the rows are now, as an attacker would who knows all of this package."""
    state = append.read_state(tx)
    edge = tree.RightEdge(state.removed, state.removed_edge)
    last_id: Value = 0
    for values in tx.all(f"SELECT {COLUMNS} FROM audit_log ORDER BY id"):
        row = AuditRow(*values)
        nodes = edge.append(leaf_of(row.id, edge.size, content_of(row)))
        tx.execute("UPDATE audit_log SET position = ?, nodes = ? WHERE id = ?", (edge.size - 1, nodes, row.id))
        last_id = row.id
    tx.execute("UPDATE audit_tree SET size = ?, edge = ?, last_id = ?", (edge.size, edge.stored, last_id))


class TestRewriting:
    """An attacker who recomputes everything."""

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_log SET action = 'forged' WHERE position = 12",
            "UPDATE audit_log SET timestamp = '2026-04-06T00:00:00.000000Z' WHERE position = 12",
            "DELETE FROM audit_log WHERE position = 12",
            "DELETE FROM audit_log WHERE position >= 15",
        ],
    )
    def test_only_a_head_kept_elsewhere_finds_it(self, log: AuditStore, statement: str, public_key: str) -> None:
        """And an earlier head, which still holds, narrows down where the log departs."""
        head = log.head()

        def rewrite(tx: Transaction) -> None:
            tx.execute(statement)
            recompute(tx)

        log.database.write("attack", rewrite)
        if "timestamp" not in statement and ">=" not in statement:
            assert {kind for kind, _, _ in named(log.verify())} <= {"erased"}
        assert "head" in {kind for kind, _, _ in named(log.verify(head, public_keys=[public_key]))}

    def test_earlier_heads_narrow_it_down(self, audit: AuditStore, clock: Clock) -> None:
        """What is before the last head that holds is as it was."""
        heads = []
        for number in range(12):
            fill(audit, clock, 1, first=number)
            heads.append(audit.head())

        def rewrite(tx: Transaction) -> None:
            tx.execute("UPDATE audit_log SET action = 'forged' WHERE position = 7")
            recompute(tx)

        audit.database.write("attack", rewrite)
        first = audit.verify(heads[-1], earlier=heads[:-1]).problems[0]
        assert (first.kind, first.first, first.last) == ("head", 7, 7)

    def test_entries_behind_a_head_are_covered_by_the_next(self, audit: AuditStore, clock: Clock) -> None:
        """A head says nothing of what came after it."""
        fill(audit, clock, 5)
        early = audit.head()
        fill(audit, clock, 5, first=5)
        late = audit.head()

        def rewrite(tx: Transaction) -> None:
            tx.execute("DELETE FROM audit_log WHERE position >= 7")
            recompute(tx)

        audit.database.write("attack", rewrite)
        assert audit.verify(early).ok
        (problem,) = audit.verify(late).problems
        assert (problem.kind, problem.first, problem.last) == ("head", 7, 9)

    def test_a_removal_without_the_key(self, audit: AuditStore, clock: Clock, public_key: str) -> None:
        """Whoever may write, but has not the key, cannot make entries go by way of retention."""
        fill(audit, clock, 10)
        head = audit.head()
        keyless = AuditStore(audit.database, clock=clock)
        clock.advance(days=1)
        assert keyless.cleanup_old_entries(0) == 10
        assert audit.verify(head).ok
        (problem,) = audit.verify(head, public_keys=[public_key]).problems
        assert (problem.kind, "not signed" in problem.text) == ("retention", True)
