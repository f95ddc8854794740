"""The contract of AuditStore: one suite over every backend. What tampering leaves: ``test_audit_tampering``."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.settings import Settings
from aragora_persist.storage import audit_store
from aragora_persist.storage.audit import erasure, retention
from aragora_persist.storage.audit_store import (
    AuditEntry,
    AuditStore,
    NewEntry,
    TreeHead,
    check_inclusion,
    create_signing_key,
)
from aragora_persist.storage.user_store import UserStore
from tests.contract.audit_rows import fill, new_entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.storage.port import Backend, Transaction, Value
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.audit_fixtures",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(["x" * 255, "x" * 256])
JSON = st.dictionaries(
    ANY_TEXT, st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.lists(ANY_TEXT), max_size=3
)
THREADS = 8


def ids(entries: list[AuditEntry]) -> list[int]:
    """Return the ids of entries."""
    return [entry.id for entry in entries]


def assert_sound(audit: AuditStore, head: TreeHead | None = None, public_keys: tuple[str, ...] = ()) -> None:
    """Fail unless verification finds nothing."""
    assert audit.verify(head, public_keys=public_keys).problems == ()


def _execute(tx: Transaction, sql: str, values: tuple[Value, ...]) -> int:
    return tx.execute(sql, values)


def _log_and_fail(tx: Transaction, *, audit: AuditStore) -> None:
    audit.log("never", tx=tx)
    raise RuntimeError


class TestLogging:
    """Entries as they happen."""

    def test_an_entry_comes_back(self, audit: AuditStore, clock: Clock) -> None:
        """With every field, the details as a dict; the time is the clock's where none is given."""
        entry = audit.log(
            "user.login",
            user_id="u",
            org_id="o",
            resource_type="session",
            resource_id="ä ☕",
            details={"größe": [1, 2.5, None, {"'": '"\n'}], "tuple": (1, 2)},
            ip_address="2001:db8::1",
            user_agent="Agent/1.0",
            event_key="k",
        )
        assert entry == AuditEntry(
            entry.id,
            clock.now,
            "u",
            "o",
            "user.login",
            "session",
            "ä ☕",
            {"größe": [1, 2.5, None, {"'": '"\n'}], "tuple": [1, 2]},
            "2001:db8::1",
            "Agent/1.0",
            "k",
            None,
        )
        assert audit.get(entry.id) == entry
        assert audit.get(entry.id + 1) is None

    def test_only_the_action_is_needed(self, audit: AuditStore) -> None:
        """What is not given is None, and details are empty."""
        entry = audit.log("started")
        assert (entry.user_id, entry.org_id, entry.resource_id, entry.details) == (None, None, None, {})
        assert audit.get(entry.id) == entry

    def test_many_are_logged_in_their_order(self, audit: AuditStore) -> None:
        """Ids grow with it; nothing at all is allowed."""
        entries = audit.log_many([new_entry(number) for number in range(30)])
        assert [entry.event_key for entry in entries] == [f"key-{number}" for number in range(30)]
        assert ids(entries) == sorted(ids(entries))
        assert list(audit.iter_entries(newest_first=False)) == entries
        assert audit.log_many([]) == []

    def test_many_are_all_or_none(self, audit: AuditStore) -> None:
        """One that breaks a rule keeps the others out."""
        with pytest.raises(InvalidValueError):
            audit.log_many([new_entry(1), replace(new_entry(2), action="")])
        audit.log("a", event_key="key-3")
        with pytest.raises(ConflictError):
            audit.log_many([new_entry(1), new_entry(3)])
        assert audit.count() == 1
        assert_sound(audit)

    def test_a_retry_logs_nothing_again(self, audit: AuditStore, clock: Clock) -> None:
        """The same event key is the same entry, later and within one call too."""
        first = audit.log("pay", user_id="u", event_key="k")
        clock.now += timedelta(seconds=5)
        assert audit.log("pay", user_id="u", event_key="k") == first
        assert audit.log_many([NewEntry("pay", event_key="k"), NewEntry("x", event_key="n")] * 2)[0] == first
        assert audit.count() == 2
        assert_sound(audit)

    @pytest.mark.parametrize("other", [{"action": "b"}, {"org_id": "o"}, {"resource_type": "t"}])
    def test_a_key_of_another_event_is_refused(self, audit: AuditStore, other: dict[str, str]) -> None:
        """The first entry stays as it is."""
        first = audit.log("a", event_key="k")
        fields: dict[str, Any] = {"action": "a", **other}
        with pytest.raises(ConflictError, match="another event"):
            audit.log(**fields, event_key="k")
        assert list(audit.iter_entries()) == [first]

    def test_the_caller_s_transaction_decides(self, audit: AuditStore) -> None:
        """What is logged within it stands or falls with it, and the tree too."""
        audit.log("before")
        with pytest.raises(RuntimeError), audit.database.transaction() as tx:
            audit.log("never", tx=tx)
            raise RuntimeError
        with audit.database.transaction() as tx:
            audit.log("first", tx=tx)
            with pytest.raises(ConflictError):
                audit.log_many([NewEntry("a", event_key="k"), NewEntry("b", event_key="k")], tx=tx)
            audit.log("second", tx=tx)
        assert [entry.action for entry in audit.iter_entries()] == ["second", "first", "before"]
        assert_sound(audit)

    def test_what_a_store_remembers_is_only_a_guess(self, audit: AuditStore) -> None:
        """Others log, transactions are taken back, rows come and go behind its back: there is still one tree."""
        other = AuditStore(audit.database)
        for number in range(5):
            audit.log("a", event_key=f"a-{number}")
            with pytest.raises(RuntimeError), audit.database.transaction() as tx:
                audit.log("never", tx=tx)
                audit.log("never", tx=tx)
                raise RuntimeError
            audit.log("b")
            with audit.database.transaction() as tx:
                with pytest.raises(RuntimeError):
                    tx.nested(partial(_log_and_fail, audit=audit))
                audit.log("c", tx=tx)
            other.log("d")
            audit.log_many([NewEntry("e"), NewEntry("f")])
            audit.erase_person("p")
            audit.log("g", user_id="p")
        entries = list(audit.iter_entries(newest_first=False))
        assert "".join(entry.action for entry in entries if "." not in entry.action) == "abcdefg" * 5
        assert ids(entries) == list(range(1, len(entries) + 1))
        assert_sound(audit)
        insert = "INSERT INTO audit_log (id, timestamp, action) VALUES (?, '2026', 'stray')"
        audit.database.write("x", partial(_execute, sql=insert, values=(100,)))
        assert [audit.log("h").id, audit.log("i").id] == [101, 102]
        assert [problem.entry_id for problem in audit.verify().problems] == [100]

    def test_threads_make_one_tree(self, audit: AuditStore) -> None:
        """Nothing is lost, nothing forks, and every thread's entries are in its order."""

        def work(name: int) -> None:
            for number in range(10):
                audit.log("work", user_id=f"t{name}", details={"number": number})

        threads = [threading.Thread(target=work, args=(name,)) for name in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in range(THREADS):
            logged = audit.iter_entries(newest_first=False, user_id=f"t{name}")
            assert [entry.details["number"] for entry in logged] == list(range(10))
        report = audit.verify()
        assert (report.ok, report.size) == (True, THREADS * 10)

    def test_a_conflict_among_many_is_its_caller_s(self, audit: AuditStore) -> None:
        """Those who log at the same time are written, and the one whose key is another event's is not."""
        audit.log("first", event_key="taken")
        together, refused = threading.Barrier(THREADS), []

        def work(name: int) -> None:
            together.wait()
            try:
                audit.log("work", user_id=f"t{name}", event_key="taken" if name % 2 else f"key {name}")
            except ConflictError:
                refused.append(name)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(refused) == list(range(1, THREADS, 2))
        logged = [entry.user_id for entry in audit.iter_entries(action="work")]
        assert sorted(map(str, logged)) == [f"t{name}" for name in range(0, THREADS, 2)]
        report = audit.verify()
        assert (report.ok, report.size) == (True, 1 + len(logged))


class TestBadInput:
    """A typed error that names the field; nothing is written."""

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("action", ""),
            ("action", "a\0"),
            ("action", None),
            ("action", "audit.retention"),
            ("action", "audit.erasure"),
            ("user_id", ""),
            ("user_id", "x" * 256),
            ("org_id", "\udc80"),
            ("resource_type", 7),
            ("resource_id", "x" * 1001),
            ("details", {"a": float("nan")}),
            ("details", {"a": "x" * 10_000_000}),
            ("details", {1: "a", "1": "b"}),
            ("details", []),
            ("ip_address", "x" * 256),
            ("user_agent", "x" * 10_001),
            ("event_key", ""),
            ("timestamp", datetime(2026, 1, 1)),  # noqa: DTZ001 - naive is the point
            ("timestamp", datetime(9000, 1, 1, tzinfo=UTC)),
            ("timestamp", "2026-01-01"),
        ],
    )
    def test_of_an_entry(self, audit: AuditStore, field: str, value: object) -> None:
        """Each field has its rule; a time of the future would stop retention."""
        fields: dict[str, Any] = {"action": "a", field: value}
        with pytest.raises(InvalidValueError) as refused:
            audit.log(**fields)
        assert refused.value.target.split(".")[0] == field
        assert audit.count() == 0

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("get", {"entry_id": "1"}),
            ("get", {"entry_id": 2**63}),
            ("list_entries", {"limit": 0}),
            ("list_entries", {"limit": 1001}),
            ("list_entries", {"after": "x"}),
            ("list_entries", {"colour": "red"}),
            ("count", {"user_id": "\0"}),
            ("count", {"action": 5}),
            ("count", {"since": datetime(2026, 1, 1)}),  # noqa: DTZ001 - naive is the point
            ("cleanup_old_entries", {"retention_days": -1}),
            ("cleanup_old_entries", {"retention_days": 1.5}),
            ("cleanup_old_entries", {"retention_days": 10**9}),
            ("erase_person", {"user_id": ""}),
            ("erase_person", {"user_id": "u", "by": ""}),
            ("export", {"file": io.StringIO(), "form": "xml"}),
            ("verify", {"public_keys": ("no key",)}),
        ],
    )
    def test_of_other_methods(self, audit: AuditStore, method: str, arguments: dict[str, Any]) -> None:
        """They refuse before they touch the database."""
        with pytest.raises(InvalidValueError):
            getattr(audit, method)(**arguments)
        assert audit.count() == 0

    def test_too_many_at_once(self, audit: AuditStore) -> None:
        """A single transaction has its bounds."""
        with pytest.raises(InvalidValueError, match="10000"):
            audit.log_many([NewEntry("a")] * (audit_store.MOST_AT_ONCE + 1))
        assert audit.count() == 0


class TestFinding:
    """Filters, pages, streams."""

    def test_filters(self, audit: AuditStore, clock: Clock) -> None:
        """Each alone and all together, in pages, streams and counts alike."""
        start = clock.now
        fill(audit, clock, 24)
        entries = list(audit.iter_entries(newest_first=False))
        cases: list[tuple[dict[str, Any], Callable[[AuditEntry], bool]]] = [
            ({"user_id": "user-1"}, lambda entry: entry.user_id == "user-1"),
            ({"org_id": "org"}, lambda _: True),
            ({"org_id": "other"}, lambda _: False),
            ({"action": "user.login.1"}, lambda entry: entry.action == "user.login.1"),
            ({"action": "user.login*"}, lambda _: True),
            ({"action": "*"}, lambda _: True),
            ({"action": "user.login.1*", "user_id": None}, lambda entry: entry.action == "user.login.1"),
            ({"resource_type": "user", "resource_id": "user-3"}, lambda entry: entry.event_key in {"key-3", "key-15"}),
            ({"since": start + timedelta(hours=5)}, lambda entry: entry.timestamp >= start + timedelta(hours=5)),
            ({"until": start + timedelta(hours=5)}, lambda entry: entry.timestamp < start + timedelta(hours=5)),
            ({"since": start + timedelta(hours=5), "until": start + timedelta(hours=5)}, lambda _: False),
            ({"since": start + timedelta(days=5)}, lambda _: False),
        ]
        for filters, holds in cases:
            expected = [entry for entry in entries if holds(entry)]
            assert list(audit.iter_entries(newest_first=False, **filters)) == expected
            assert list(audit.iter_entries(**filters)) == expected[::-1]
            assert audit.count(**filters) == len(expected)

    def test_times_out_of_order(self, audit: AuditStore, clock: Clock) -> None:
        """A span of time finds what happened in it, however late it was logged."""
        late = audit.log("late", timestamp=clock.now - timedelta(days=3))
        audit.log("now")
        later = audit.log("late", timestamp=clock.now - timedelta(days=3))
        assert list(audit.iter_entries(until=clock.now)) == [later, late]

    @pytest.mark.parametrize(
        ("prefix", "actions"),
        [("a", ["a", "a\U0010ffff", "ab"]), ("a\U0010ffff", ["a\U0010ffff"]), ("\ud7ff", ["\ud7ffx"]), ("ß", ["ßa"])],
    )
    def test_prefixes_of_any_characters(self, audit: AuditStore, prefix: str, actions: list[str]) -> None:
        """The range has exactly those that begin so."""
        for action in ("A", "a", "a\U0010ffff", "ab", "b", "\ud7ffx", "\ue000", "ss", "ßa"):
            audit.log(action)
        assert [entry.action for entry in audit.iter_entries(newest_first=False, action=f"{prefix}*")] == actions

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_pages_shift_nothing(self, audit: AuditStore, clock: Clock, newest_first: bool) -> None:  # noqa: FBT001 - x
        """What is logged meanwhile is neither seen twice nor pushes anything off a page."""
        fill(audit, clock, 10)
        expected = list(audit.iter_entries(newest_first=newest_first))
        page = audit.list_entries(limit=4, newest_first=newest_first)
        seen = page.items
        fill(audit, clock, 1, first=10)
        while page.next is not None and len(seen) < 10:
            page = audit.list_entries(limit=4, newest_first=newest_first, after=page.next)
            seen = seen + page.items
        assert seen[:10] == expected

    def test_export_as_json_lines(self, audit: AuditStore, clock: Clock) -> None:
        """One object a line, with every field, oldest first; filters hold."""
        fill(audit, clock, 6)
        file = io.StringIO()
        assert audit.export(file, user_id="user-1") == 1
        (line,) = file.getvalue().splitlines()
        entry = next(audit.iter_entries(user_id="user-1"))
        assert json.loads(line)["details"] == entry.details == {"number": 1}
        assert list(json.loads(line)) == list(AuditEntry.__slots__)

    def test_export_as_csv(self, audit: AuditStore) -> None:
        """A header, whatever is in a cell comes back, and nothing in it is a formula."""
        audit.log("a", user_agent='=HYPERLINK("x")', details={"quote": '",\n'})
        audit.log("b")
        file = io.StringIO()
        assert audit.export(file, "csv") == 2
        first, second = csv.DictReader(io.StringIO(file.getvalue()))
        assert first["user_agent"] == '\'=HYPERLINK("x")'
        assert json.loads(first["details"]) == {"quote": '",\n'}
        assert (second["action"], second["user_agent"]) == ("b", "")

    def test_an_empty_export(self, audit: AuditStore) -> None:
        """No line in the one form, the header in the other."""
        lines, table = io.StringIO(), io.StringIO()
        assert (audit.export(lines), audit.export(table, "csv")) == (0, 0)
        assert lines.getvalue() == ""
        assert table.getvalue().splitlines() == [",".join(AuditEntry.__slots__)]


class TestRetention:
    """Only the oldest go, and what remains can still be verified."""

    def test_the_setting_decides(self, audit: AuditStore, clock: Clock, public_key: str) -> None:
        """90 days by default, to the microsecond."""
        old = audit.log("old")
        young = audit.log("young", timestamp=clock.now + timedelta(microseconds=1))
        head = audit.head()
        clock.now += timedelta(days=90, microseconds=1)
        assert audit.cleanup_old_entries() == 1
        assert (audit.get(old.id), audit.get(young.id)) == (None, young)
        assert_sound(audit, head, (public_key,))
        assert_sound(audit, audit.head(), (public_key,))
        assert audit.verify(head).removed == 1

    def test_it_says_so_in_the_log(self, audit: AuditStore, clock: Clock) -> None:
        """One entry a cleanup, none when there was nothing to do."""
        fill(audit, clock, 5)
        clock.now += timedelta(days=1)
        assert audit.cleanup_old_entries(0) == 5
        assert audit.cleanup_old_entries(1) == 0
        (entry,) = audit.iter_entries(action="audit.*")
        assert (entry.action, entry.details["removed_to"], entry.details["retention_days"]) == ("audit.retention", 5, 0)

    def test_an_old_entry_waits_for_younger_ones_before_it(self, audit: AuditStore, clock: Clock) -> None:
        """What is removed is always the beginning of the log."""
        clock.now += timedelta(days=50)
        audit.log("young")
        old = audit.log("old", timestamp=clock.now - timedelta(days=50))
        clock.now += timedelta(days=50)
        assert audit.cleanup_old_entries() == 0
        assert audit.get(old.id) == old
        clock.now += timedelta(days=41)
        assert audit.cleanup_old_entries() == 2

    def test_a_cut_off_cleanup_is_completed(
        self, audit: AuditStore, clock: Clock, public_key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After each batch the log can be verified, proves what is left, and takes new entries."""
        fill(audit, clock, 20)
        head = audit.head()
        clock.now += timedelta(days=100)
        monkeypatch.setattr(retention, "AT_ONCE", 3)
        end, cutoff = 20, "2100"
        audit.database.write(
            "x", lambda tx: retention.authorize(tx, end, cutoff, 90, "2026-05-01T00:00:00.000000Z", None)
        )
        for left in (17, 14):
            assert audit.database.write("x", lambda tx: retention.remove_some(tx, end)) == 3
            assert audit.count(action="user*") == left
            assert_sound(audit, head)
            entry = audit.list_entries(limit=1, newest_first=False).items[0]
            assert check_inclusion(entry, audit.prove(entry.id, head.size), head)
        assert audit.cleanup_old_entries() == 14
        assert_sound(audit)
        assert audit.verify(public_keys=(public_key,)).problems == ()

    def test_in_a_transaction_of_the_caller(self, audit: AuditStore, clock: Clock) -> None:
        """It stands or falls with it."""
        fill(audit, clock, 5)
        clock.now += timedelta(days=100)
        with pytest.raises(RuntimeError), audit.database.transaction() as tx:
            assert audit.cleanup_old_entries(tx=tx) == 5
            raise RuntimeError
        assert audit.count() == 5
        assert_sound(audit)

    def test_everything_may_go(self, audit: AuditStore, clock: Clock) -> None:
        """Ids are never used again, and the log goes on."""
        fill(audit, clock, 5)
        clock.now += timedelta(days=1)
        audit.cleanup_old_entries(0)
        clock.now += timedelta(days=1)
        assert audit.cleanup_old_entries(0) == 1
        entry = audit.log("next")
        assert (entry.id, audit.verify().size) == (8, 8)
        assert_sound(audit)

    def test_old_rows_beside_the_log_go_too(self, audit: AuditStore, clock: Clock) -> None:
        """What plain SQL wrote is personal like the rest."""
        fill(audit, clock, 2)
        insert = "INSERT INTO audit_log (id, timestamp, action, user_id) VALUES (?, ?, 'stray', 'p')"
        for ident, timestamp in ((50, "2020-01-01T00:00:00.000000Z"), (51, "2999-01-01T00:00:00.000000Z")):
            audit.database.write("x", partial(_execute, sql=insert, values=(ident, timestamp)))
        assert audit.cleanup_old_entries() == 1
        assert ids(list(audit.iter_entries(action="stray"))) == [51]
        assert audit.erase_person("p") == 1
        assert audit.count(action="stray", user_id="p") == 0

    def test_a_head_older_than_what_remains(self, audit: AuditStore, clock: Clock) -> None:
        """Nothing can be said of it, and that is said."""
        fill(audit, clock, 3)
        head = audit.head()
        fill(audit, clock, 3, first=3)
        clock.now += timedelta(days=1)
        audit.cleanup_old_entries(0)
        report = audit.verify(head)
        assert (report.ok, report.unchecked_heads) == (True, 1)

    def test_a_missing_entry_stops_it(self, audit: AuditStore, clock: Clock) -> None:
        """It must not cover the traces of whoever removed it."""
        fill(audit, clock, 5)
        audit.database.write("x", lambda tx: tx.execute("DELETE FROM audit_log WHERE position = 2"))
        clock.now += timedelta(days=100)
        with pytest.raises(DamagedError, match="position 2"):
            audit.cleanup_old_entries()
        assert audit.count(action="user*") == 4

    def test_the_documented_constant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is what the environment says when it is asked for."""
        assert audit_store.AUDIT_RETENTION_DAYS == 90
        monkeypatch.setenv("ARAGORA_AUDIT_RETENTION_DAYS", "7")
        assert audit_store.AUDIT_RETENTION_DAYS == 7
        with pytest.raises(AttributeError):
            getattr(audit_store, "AUDIT_RETENTION")  # noqa: B009 - as importing it would


class TestErasure:
    """A person is forgotten, and the log still holds."""

    def test_what_goes_and_what_stays(self, audit: AuditStore, clock: Clock, public_key: str) -> None:
        """The person's own fields where they acted; where others acted upon them, only what was done, and to whom."""
        own = audit.log(
            "debate.delete", user_id="p", resource_type="debate", resource_id="d", details={"a": 1}, ip_address="i"
        )
        upon = audit.log(
            "user.update", user_id="admin", resource_type="user", resource_id="p", details={"a": 1}, ip_address="i"
        )
        other = audit.log("user.update", user_id="admin", resource_type="user", resource_id="q", details={"a": 1})
        head = audit.head()
        clock.now += timedelta(days=1)
        assert audit.erase_person("p", by="admin") == 2
        gone: dict[str, Any] = {"details": {}, "erased_at": clock.now}
        assert audit.get(own.id) == replace(own, user_id=None, ip_address=None, **gone)
        assert audit.get(upon.id) == replace(upon, resource_id=None, **gone)
        assert audit.get(other.id) == other
        report = audit.verify(head, public_keys=(public_key,))
        assert (report.problems, report.erased) == ((), 2)
        (entry,) = audit.iter_entries(action="audit.erasure")
        assert (entry.user_id, entry.details["actor"], entry.details["subject"]) == ("admin", [[0, 0]], [[1, 1]])
        assert audit.erase_person("p") == 0

    def test_nothing_of_the_values_stays(self, audit: AuditStore) -> None:
        """No column of any table of the log has them, and no salt with which they could be found by trying."""
        audit.log("a", user_id="person", ip_address="198.51.100.7", user_agent="Secret", details={"x": "Secret"})
        audit.erase_person("person")
        with audit.database.read("look") as view:
            rows = [*view.all("SELECT * FROM audit_log"), *view.all("SELECT * FROM audit_tree")]
            salts = view.one("SELECT actor_salt, subject_salt FROM audit_log WHERE action = 'a'")
        assert not any(text in repr(rows) for text in ("person", "198.51.100.7", "Secret"))
        assert salts == (None, None)

    def test_both_persons_of_an_entry(self, audit: AuditStore, public_key: str) -> None:
        """One after the other, each with an entry of its own."""
        entry = audit.log("user.update", user_id="admin", resource_type="user", resource_id="p", details={"a": 1})
        assert audit.erase_person("p", by="admin") == 1
        assert audit.erase_person("admin") == 2  # the entry, and that the admin ordered the erasure before
        found = audit.get(entry.id)
        assert found is not None
        assert (found.user_id, found.resource_id, found.details) == (None, None, {})
        assert audit.verify(public_keys=(public_key,)).problems == ()

    def test_who_erases_themselves_is_not_named(self, audit: AuditStore) -> None:
        """Otherwise the entry about the erasure would be the next to be erased."""
        audit.log("a", user_id="p")
        assert audit.erase_person("p", by="p") == 1
        assert audit.count(user_id="p") == 0

    def test_many_entries_go_in_bounded_steps(self, audit: AuditStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each step is whole; what is found is each entry once."""
        monkeypatch.setattr(erasure, "AT_ONCE", 4)
        audit.log_many([NewEntry("a", user_id="p", resource_type="user", resource_id="p")] * 10)
        assert audit.erase_person("p") == 10
        assert audit.count(resource_type="user", resource_id="p") == 0
        assert_sound(audit)

    def test_account_and_log_together(self, audit: AuditStore) -> None:
        """One transaction erases the person in both, or in neither."""
        users = UserStore(audit.database)
        user = users.create("person@example.com")
        audit.log("user.create", resource_type="user", resource_id=user.id, details={"email": user.email})
        with pytest.raises(RuntimeError), audit.database.transaction() as tx:
            users.delete(user.id, tx=tx)
            audit.erase_person(user.id, tx=tx)
            raise RuntimeError
        assert (users.get(user.id), audit.count(resource_type="user", resource_id=user.id)) == (user, 1)
        with audit.database.transaction("erase person") as tx:
            users.delete(user.id, tx=tx)
            assert audit.erase_person(user.id, tx=tx) == 1
        assert (users.get(user.id), audit.count(resource_type="user", resource_id=user.id)) == (None, 0)
        assert_sound(audit)

    def test_a_late_retry_brings_nobody_back(self, audit: AuditStore) -> None:
        """The event key is still known."""
        audit.log("a", user_id="p", event_key="k")
        audit.erase_person("p")
        assert audit.log("a", user_id="p", event_key="k").user_id is None
        assert audit.count(user_id="p") == 0


class TestHeadsAndProofs:
    """What can be kept elsewhere, and shown to others."""

    def test_every_entry_is_proved_in_every_later_head(self, audit: AuditStore, clock: Clock) -> None:
        """With at most as many hashes as the tree has levels; also after erasure and retention."""
        heads = []
        for number in range(20):
            fill(audit, clock, 1, first=number)
            heads.append(audit.head())
        audit.erase_person("user-2")
        clock.now += timedelta(hours=1)
        removed = audit.cleanup_old_entries(0)
        assert removed == 21
        fill(audit, clock, 6, first=20)
        heads += [audit.head()]
        entries = list(audit.iter_entries(newest_first=False))
        for entry in entries:
            proof = audit.prove(entry.id, heads[-1].size)
            assert check_inclusion(entry, proof, heads[-1])
            assert len(proof.path) <= 5
            assert not check_inclusion(replace(entry, action="other"), proof, heads[-1])
            assert not check_inclusion(entry, proof, heads[0])
            assert not check_inclusion(entry, replace(proof, path=proof.path[1:]), heads[-1])

    def test_a_head_is_a_line_of_text(self, audit: AuditStore, public_key: str) -> None:
        """It comes back from it, signature included, and tells when anything in it was changed."""
        audit.log("a")
        head = audit.head()
        assert TreeHead.from_text(head.to_text()) == head
        assert_sound(audit, TreeHead.from_text(head.to_text()), (public_key,))
        forged = TreeHead.from_text(head.to_text().replace('"size": 1', '"size": 0'))
        (problem,) = audit.verify(forged, public_keys=(public_key,)).problems
        assert (problem.kind, "not valid" in problem.text) == ("head", True)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"size": 1, "root": "00", "timestamp": "2026-01-01"}', '{"size": true}', "[" * 100_000],
    )
    def test_what_is_no_head(self, text: str) -> None:
        """It is refused as such."""
        with pytest.raises(InvalidValueError, match="not a tree head"):
            TreeHead.from_text(text)

    def test_keys_rotate(self, audit: AuditStore, public_key: str, tmp_path: Path) -> None:
        """Statements of the former key stand as long as its public key is given."""
        audit.log("a", user_id="p")
        audit.erase_person("p")
        old = audit.head()
        new_key = create_signing_key(tmp_path / "new.pem")
        settings = Settings.from_env({"ARAGORA_AUDIT_SIGNING_KEY_FILE": str(tmp_path / "new.pem")})
        rotated = AuditStore(audit.database, settings=settings)
        report = rotated.verify(rotated.head(), earlier=[old], public_keys=[public_key, new_key])
        assert report.ok
        kinds = {problem.kind for problem in rotated.verify(old, public_keys=[new_key]).problems}
        assert kinds == {"head", "erased"}

    def test_without_a_key(self, open_database: Callable[[str], Backend], tmp_path: Path, public_key: str) -> None:
        """A signed head is refused, never silently unsigned; an unsigned one helps where it is kept safely."""
        audit = AuditStore(open_database("users"))
        audit.log("a")
        with pytest.raises(InvalidValueError, match="ARAGORA_AUDIT_SIGNING_KEY_FILE"):
            audit.head()
        head = audit.head(signed=False)
        assert_sound(audit, TreeHead.from_text(head.to_text()))
        (problem,) = audit.verify(head, public_keys=(public_key,)).problems
        assert "not signed" in problem.text
        wrong = tmp_path / "wrong.pem"
        wrong.write_text("no key")
        settings = Settings.from_env({"ARAGORA_AUDIT_SIGNING_KEY_FILE": str(wrong)})
        with pytest.raises(InvalidValueError, match="no private key"):
            AuditStore(audit.database, settings=settings).head()

    def test_a_key_is_made_once(self, key_file: Path, public_key: str) -> None:
        """For its owner alone; a key that is there is never overwritten."""
        assert key_file.stat().st_mode & 0o777 == 0o600
        before = key_file.read_bytes()
        with pytest.raises(ConflictError, match="is there already"):
            create_signing_key(key_file)
        assert key_file.read_bytes() == before
        assert public_key.encode() not in before

    def test_what_cannot_be_proved(self, audit: AuditStore) -> None:
        """An entry that is not there, a size that the log never had, a size before the entry."""
        first, second = audit.log("a"), audit.log("b")
        with pytest.raises(NotFoundError):
            audit.prove(99)
        for entry, size in ((first, 3), (second, 1), (second, -1)):
            with pytest.raises(InvalidValueError):
                audit.prove(entry.id, size)
        audit.database.write("x", lambda tx: tx.execute("UPDATE audit_log SET action = 'c' WHERE action = 'b'"))
        with pytest.raises(DamagedError, match="not as it was logged"):
            audit.prove(second.id)


class TestAnything:
    """Properties over all inputs."""

    def test_any_values_are_refused_or_come_back(self, audit: AuditStore) -> None:
        """A typed error, or exactly what was given, provable and verified."""

        @settings(max_examples=40)
        @given(texts=st.lists(st.none() | ANY_TEXT, min_size=8, max_size=8), details=JSON, when=st.datetimes())
        def check(texts: list[str | None], details: dict[str, Any], when: datetime) -> None:
            action, user_id, org_id, kind, resource_id, address, agent, key = texts
            new = NewEntry(action or "a", user_id, org_id, kind, resource_id, details, address, agent, None, key)
            try:
                entry = audit.log_many([replace(new, timestamp=when.replace(tzinfo=UTC))])[0]
            except (InvalidValueError, ConflictError):
                return
            found = audit.get(entry.id)
            assert found == entry
            assert check_inclusion(entry, audit.prove(entry.id), audit.head())
            if entry.erased_at is None and key is None:
                assert (entry.action, entry.user_id, entry.details) == (new.action, user_id, details)

        check()
        assert_sound(audit)

    def test_it_behaves_like_a_list(self, open_database: Callable[[str], Backend], clock: Clock) -> None:
        """Any sequence of calls leaves what a plain list would, and a log that verifies against every head."""
        audit = AuditStore(open_database("users"), clock=clock)
        run_state_machine_as_test(
            lambda: _Model(audit, clock),  # type: ignore[arg-type] # whatever makes one will do
            settings=settings(max_examples=8, stateful_step_count=12),
        )
        assert clock.now.tzinfo is UTC


class _Model(RuleBasedStateMachine):
    """A log beside a list of what it should hold."""

    def __init__(self, audit: AuditStore, clock: Clock) -> None:
        super().__init__()
        self.audit, self.clock = audit, clock
        self.entries = list(audit.iter_entries(newest_first=False))
        self.heads: list[TreeHead] = []

    @rule(count=st.integers(1, 5), user=st.sampled_from(["p", "q"]), upon=st.sampled_from(["p", "q"]))
    def log(self, count: int, user: str, upon: str) -> None:
        new = NewEntry("a", user, resource_type="user", resource_id=upon, details={"n": count})
        self.entries += self.audit.log_many([new] * count)

    @rule(hours=st.integers(1, 50))
    def wait(self, hours: int) -> None:
        self.clock.now += timedelta(hours=hours)

    @rule()
    def keep_head(self) -> None:
        self.heads.append(self.audit.head(signed=False))

    @rule(person=st.sampled_from(["p", "q"]))
    def erase(self, person: str) -> None:
        erased = 0
        for place, entry in enumerate(self.entries):
            if person not in {entry.user_id, entry.resource_id}:
                continue
            erased += 1
            acted = entry.user_id == person
            self.entries[place] = replace(
                entry, user_id=None if acted else entry.user_id, resource_id=None, details={}, erased_at=self.clock.now
            )
        assert self.audit.erase_person(person) == erased
        self.entries += self.audit.list_entries(limit=1).items if erased else []

    @rule(days=st.integers(0, 3))
    def clean(self, days: int) -> None:
        cutoff = self.clock.now - timedelta(days=days)
        kept = next((place for place, entry in enumerate(self.entries) if entry.timestamp >= cutoff), len(self.entries))
        assert self.audit.cleanup_old_entries(days) == kept
        self.entries = self.entries[kept:] + (self.audit.list_entries(limit=1).items if kept else [])

    @invariant()
    def same(self) -> None:
        assert list(self.audit.iter_entries(newest_first=False)) == self.entries
        assert self.audit.verify(earlier=self.heads).problems == ()
