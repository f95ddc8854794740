"""Several callers in one transaction: each has its own outcome, always a certain one, and all share the commit."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import BusyError, ConflictError, MisuseError, StorageError
from aragora_persist.settings import Durability
from aragora_persist.storage.sqlite.engine import Engine, open_engine
from tests.unit.tokens import COUNT, INSERT, add, count, settings
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aragora_persist.storage.port import Transaction

    Work = Callable[[Transaction], object]


class Caller(threading.Thread):
    """A thread that writes once and keeps what came of it."""

    def __init__(self, engine: Engine, work: Work, durability: Durability | None = None) -> None:
        super().__init__()
        self.engine, self.work, self.durability = engine, work, durability
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Write."""
        try:
            self.result = self.engine.write("test", self.work, durability=self.durability)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.error = error


@pytest.fixture(params=["file", "memory"])
def patient(request: pytest.FixtureRequest, path: Path) -> Iterator[Engine]:
    """Open a database whose writers wait for as long as a busy machine needs."""
    place = path if request.param == "file" else ":memory:"
    with open_engine(place, "tokens", settings=settings(DB_TIMEOUT=str(PATIENCE_S))) as engine:
        yield engine


def insert(jti: str) -> Work:
    """Return work that adds a token."""
    return lambda tx: tx.execute(INSERT, (jti,))


def in_line(engine: Engine) -> int:
    """Count who waits for the writer or has it."""
    return len(engine.writer.turns._line)


def callers(engine: Engine, *works: Work, durability: Durability | None = None) -> list[Caller]:
    """Start callers that wait in this order behind whoever has the turn."""
    started = []
    for work in works:
        before = in_line(engine)
        started.append(Caller(engine, work, durability))
        wait_until(lambda before=before: in_line(engine) > before, "a caller in the line", every_s=0.001)  # type: ignore[misc] # mypy infers no type for the default
    return started


def fork() -> int:
    """Fork; that threads are there is the point of these tests, and newer Pythons warn of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """Hold the writer, so that callers gather behind it; afterwards the first of them leads the others."""
    writer = engine.writer
    writer.take("hold")
    try:
        yield
    finally:
        writer.give()


def together(engine: Engine, *works: Work) -> list[Caller]:
    """Run these works in one group, and wait for the end of all."""
    with held(engine):
        started = callers(engine, *works)
    for caller in started:
        caller.join(PATIENCE_S)
        assert not caller.is_alive()
    return started


def tokens(engine: Engine) -> list[str]:
    """Return every token."""
    with engine.read("look") as view:
        return [str(row[0]) for row in view.all("SELECT jti FROM token_blacklist ORDER BY jti")]


@contextmanager
def commits(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that end or begin transactions."""
    seen: list[str] = []
    connection = engine.writer.take("trace")
    connection.set_trace_callback(lambda sql: seen.append(sql) if sql in {"BEGIN IMMEDIATE", "COMMIT"} else None)
    engine.writer.give()
    yield seen
    connection = engine.writer.take("trace")
    connection.set_trace_callback(None)
    engine.writer.give()


class TestOutcomes:
    """What each caller gets."""

    def test_those_who_wait_share_one_commit(self, patient: Engine) -> None:
        """Five callers, one transaction; each has its own result, and all rows are there."""
        with commits(patient) as seen:
            done = together(patient, *(insert(jti) for jti in "abcde"))
        assert [caller.result for caller in done] == [1] * 5
        assert tokens(patient) == list("abcde")
        assert seen == ["BEGIN IMMEDIATE", "COMMIT"]

    @pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
    @pytest.mark.parametrize("position", [0, 1, 3])
    def test_a_failure_fails_only_its_caller(self, patient: Engine, error: type[BaseException], position: int) -> None:
        """First, in the middle or last: what it wrote is taken back, it is raised there, and the others are written."""

        def fail(tx: Transaction) -> None:
            tx.execute(INSERT, ("half",))
            raise error

        works = [insert(jti) for jti in "abc"]
        works.insert(position, fail)
        done = together(patient, *works)
        assert isinstance(done.pop(position).error, error)
        assert [(caller.result, caller.error) for caller in done] == [(1, None)] * 3
        assert tokens(patient) == list("abc")

    def test_a_conflict_of_one_among_many(self, patient: Engine) -> None:
        """A broken constraint is its caller's ConflictError, and the statements before it are gone too."""
        add(patient, "taken")

        def collide(tx: Transaction) -> None:
            tx.execute(INSERT, ("before",))
            tx.execute(INSERT, ("taken",))

        done = together(patient, insert("a"), collide, insert("b"))
        assert isinstance(done[1].error, ConflictError)
        assert done[1].error.operation == "test"
        assert tokens(patient) == ["a", "b", "taken"]

    @pytest.mark.parametrize("position", [0, 2])
    def test_a_failure_that_takes_the_transaction_with_it_fails_only_its_caller(
        self, patient: Engine, position: int
    ) -> None:
        """What SQLite rolls back as a whole is run again without it: the others are written, and once."""
        add(patient, "taken")
        works = [insert(jti) for jti in "abc"]
        works.insert(position, lambda tx: tx.execute(INSERT.replace("INSERT", "INSERT OR ROLLBACK"), ("taken",)))
        done = together(patient, *works)
        assert isinstance(done.pop(position).error, ConflictError)
        assert [(caller.result, caller.error) for caller in done] == [(1, None)] * 3
        assert tokens(patient) == ["a", "b", "c", "taken"]

    def test_going_on_after_such_a_failure_is_refused(self, either: Engine) -> None:
        """What came after it would be written outside of any transaction, so it is refused, swallowed or not."""
        add(either, "taken")

        def swallow(tx: Transaction) -> None:
            with pytest.raises(ConflictError):
                tx.execute(INSERT.replace("INSERT", "INSERT OR ROLLBACK"), ("taken",))
            with pytest.raises(MisuseError, match="rolled back"):
                tx.execute(INSERT, ("outside",))

        with pytest.raises(MisuseError, match="rolled back"):
            either.write("test", swallow)
        with pytest.raises(MisuseError, match="rolled back"), either.transaction() as tx:
            swallow(tx)
        assert tokens(either) == ["taken"]

    def test_a_failing_commit_fails_all_and_leaves_nothing(self, tmp_path: Path) -> None:
        """Each gets the error under its own operation; the next write works."""

        def organization(tx: Transaction) -> object:
            return tx.execute("INSERT INTO organizations (id, name, slug) VALUES ('o', 'o', 'o')")

        def defer(tx: Transaction) -> object:
            tx.execute("PRAGMA defer_foreign_keys = ON")
            return tx.execute("INSERT INTO usage_events (org_id, event_type) VALUES ('nobody', 'debate')")

        with open_engine(tmp_path / "users.db", "users") as engine:
            done = together(engine, organization, defer)
            errors = [caller.error for caller in done]
            assert [type(error) for error in errors] == [ConflictError, ConflictError]
            assert errors[0] is not errors[1]
            assert engine.read_one("look", "SELECT count(*) FROM organizations") == (0,)
            assert engine.write("again", organization) == 1

    def test_a_full_disk_is_its_callers_error_and_passes(self, engine: Engine) -> None:
        """Who needs the space that is not there gets a StorageError; who does not is written; later all is well."""

        def limit(pages: int) -> None:
            engine.writer.take("limit").execute(f"PRAGMA max_page_count = {pages}")
            engine.writer.give()

        def fill(tx: Transaction) -> object:
            return tx.execute(INSERT, ("x" * 10_000_000,))

        add(engine, "before")
        limit(20)
        done = together(engine, insert("a"), fill, insert("b"))
        assert isinstance(done[1].error, StorageError)
        assert "space" in done[1].error.hint
        limit(1_000_000)
        engine.write("later", fill)
        assert [token[:6] for token in tokens(engine)] == ["a", "b", "before", "xxxxxx"]

    def test_a_batch_takes_its_strongest_members_durability(self, path: Path) -> None:
        """One durable write among committed ones makes the disk be waited for by all of them."""

        def level(tx: Transaction) -> object:
            return tx.one("PRAGMA synchronous")

        with open_engine(path, "tokens", settings=settings(DB_TIMEOUT=str(PATIENCE_S))) as engine:
            with held(engine):
                weak = callers(engine, level, level, durability=Durability.COMMITTED)
                strong = callers(engine, level, durability=Durability.DURABLE)
            for caller in (*weak, *strong):
                caller.join()
            assert [caller.result for caller in (*weak, *strong)] == [(2,)] * 3
            assert engine.write("alone", level, durability=Durability.COMMITTED) == (1,)

    def test_a_slow_member_is_named_alone(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Each has the time of its own statements, and not that of those it shared the commit with."""
        with (
            open_engine(path, "tokens", settings=settings(ARAGORA_SLOW_QUERY_MS="500")) as engine,
            caplog.at_level(logging.WARNING, "aragora_persist.slow"),
        ):
            engine.writer.take("prepare").create_function("pause", 1, time.sleep)
            engine.writer.give()
            together(engine, insert("a"), lambda tx: tx.one("SELECT pause(0.7)"), insert("b"))
        assert [record.getMessage().split(": ")[1].split(" (")[0] for record in caplog.records] == ["test"]


class ItemCaller(Caller):
    """A thread that has work done to one item."""

    def __init__(self, engine: Engine, item: str, work: Callable[[Transaction, Sequence[str]], Sequence[str]]) -> None:
        self.item, self.to_items = item, work
        super().__init__(engine, insert("unused"))

    def run(self) -> None:
        """Write."""
        try:
            self.result = self.engine.write_together("test", self.item, self.to_items)
        except BaseException as error:  # noqa: BLE001 - as above
            self.error = error


class AddAll:
    """Work that adds tokens, remembers with how many others, and refuses some after it has written them."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.calls: list[list[str]] = []

    def __call__(self, tx: Transaction, jtis: Sequence[str]) -> list[str]:
        """Add."""
        self.calls.append(list(jtis))
        tx.execute_many(INSERT, [(jti,) for jti in jtis])
        if refused := set(jtis) & {*self.refused}:
            raise ValueError(*refused)
        return [jti.upper() for jti in jtis]


def items_together(engine: Engine, work: AddAll, *items: str | Work) -> list[Caller]:
    """Have work done to items in one group, and among them other work; wait for the end of all."""
    done: list[Caller] = []
    with held(engine):
        for item in items:
            before = in_line(engine)
            done.append(ItemCaller(engine, item, work) if isinstance(item, str) else Caller(engine, item))
            wait_until(lambda before=before: in_line(engine) > before, "a caller in the line", every_s=0.001)  # type: ignore[misc] # as above
    for caller in done:
        caller.join(PATIENCE_S)
        assert not caller.is_alive()
    return done


class TestItems:
    """Work that can be done to several callers' items at once."""

    def test_neighbours_have_it_done_at_once(self, patient: Engine) -> None:
        """One call in one transaction, and each has what came of its own item."""
        work = AddAll()
        with commits(patient) as seen:
            done = items_together(patient, work, "a", "b", "c")
        assert (work.calls, seen) == ([["a", "b", "c"]], ["BEGIN IMMEDIATE", "COMMIT"])
        assert [caller.result for caller in done] == ["A", "B", "C"]
        assert tokens(patient) == ["a", "b", "c"]

    def test_other_work_stays_in_its_order(self, patient: Engine) -> None:
        """What was asked for in between is done in between."""
        work, counted = AddAll(), lambda tx: tx.one(COUNT)[0]
        done = items_together(patient, work, counted, "a", "b", counted, "c", counted)
        assert work.calls == [["a", "b"], ["c"]]
        assert [caller.result for caller in done] == [0, "A", "B", 2, "C", 3]

    @pytest.mark.parametrize("first", [[], [insert("z")]])
    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_a_failure_fails_only_the_one_it_is_about(self, patient: Engine, position: int, first: list[Work]) -> None:
        """What was written for all is taken back, and each is tried by itself: nothing twice, nothing half."""
        items = ["a", "b"]
        items.insert(position, "bad")
        done = items_together(patient, work := AddAll("bad"), *first, *items)[len(first) :]
        leads = position == 0 and not first  # then its turn ends with its own failure, and the next one leads
        assert work.calls == [items, *([["bad"], ["a", "b"]] if leads else [[item] for item in items])]
        assert isinstance(done.pop(position).error, ValueError)
        assert [(caller.result, caller.error) for caller in done] == [("A", None), ("B", None)]
        assert tokens(patient) == ["a", "b", *("z" for _ in first)]

    def test_a_failure_of_all_is_each_ones_own(self, patient: Engine) -> None:
        """Nothing stays, and the database goes on."""
        done = items_together(patient, AddAll("a", "b"), "a", "b")
        assert [str(caller.error) for caller in done] == ["a", "b"]
        assert patient.write_together("test", "c", AddAll()) == "C"
        assert tokens(patient) == ["c"]

    def test_a_failing_commit_fails_all(self, tmp_path: Path) -> None:
        """None of them was written, and each has an error of its own."""

        def orphan(tx: Transaction, events: Sequence[str]) -> list[str]:
            tx.execute("PRAGMA defer_foreign_keys = ON")
            insert = "INSERT INTO usage_events (org_id, event_type) VALUES ('nobody', ?)"
            tx.execute_many(insert, [(event,) for event in events])
            return list(events)

        with open_engine(tmp_path / "users.db", "users") as engine:
            with held(engine):
                done = [ItemCaller(engine, event, orphan) for event in "ab"]
                wait_until(lambda: in_line(engine) > len(done), "both in the line", every_s=0.001)
            for caller in done:
                caller.join(PATIENCE_S)
            assert [type(caller.error) for caller in done] == [ConflictError, ConflictError]
            assert done[0].error is not done[1].error
            assert engine.read_one("look", "SELECT count(*) FROM usage_events") == (0,)


class TestWaiting:
    """How long, and what becomes of who waited too long."""

    def test_who_waits_too_long_is_not_run(self, either: Engine) -> None:
        """Its work never begins, also not later, and the others behind the same holder are served."""
        ran: list[str] = []
        with held(either):
            [caller] = callers(either, lambda _: ran.append("late"))
            caller.join(PATIENCE_S)
        assert isinstance(caller.error, BusyError)
        add(either, "next")
        assert (ran, tokens(either)) == ([], ["next"])

    def test_whose_work_runs_gets_its_outcome(self, either: Engine) -> None:
        """The timeout is for waiting: work that has begun is waited for, in whichever thread it runs."""
        begun = threading.Event()

        def long(tx: Transaction) -> object:
            begun.set()
            time.sleep(0.5)  # more than the timeout
            return tx.execute(INSERT, ("long",))

        with held(either):
            leader, caller = callers(either, insert("a"), long)
        leader.join(PATIENCE_S)
        caller.join(PATIENCE_S)
        assert begun.is_set()
        assert (leader.error, caller.error, caller.result) == (None, None, 1)
        assert tokens(either) == ["a", "long"]

    def test_writes_and_blocks_take_fair_turns(self, patient: Engine) -> None:
        """Blocks and writes of several threads all come through, and lose no update."""
        add(patient, "n")
        patient.write("start", lambda tx: tx.execute("UPDATE token_blacklist SET reason = '0'"))

        def one_more(tx: Transaction) -> None:
            row = tx.one("SELECT reason FROM token_blacklist")
            assert row is not None
            tx.execute("UPDATE token_blacklist SET reason = ?", (str(int(str(row[0])) + 1),))

        def work(number: int) -> None:
            for turn in range(20):
                if (number + turn) % 3:
                    patient.write("count", one_more)
                else:
                    with patient.transaction("count") as tx:
                        one_more(tx)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert patient.read_one("look", "SELECT reason FROM token_blacklist") == ("160",)

    def test_closing_under_load_loses_nothing(self, path: Path) -> None:
        """Whoever waits while the database closes gets its outcome or a MisuseError; nobody hangs."""
        engine = open_engine(path, "tokens", settings=settings(DB_TIMEOUT=str(PATIENCE_S)))
        written: list[str] = []
        refused: list[BaseException] = []

        def work(number: int) -> None:
            turn = 0
            while not refused or turn == 0:
                jti = f"{number}-{turn}"
                turn += 1
                try:
                    engine.write("add", insert(jti))
                    written.append(jti)
                except MisuseError as error:
                    refused.append(error)
                    return

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(written) > 20, "some writes", every_s=0.001)
        engine.close()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert all("closed" in str(error) for error in refused)
        with open_engine(path, "tokens") as again:
            assert tokens(again) == sorted(written)
        assert [file.name for file in path.parent.iterdir()] == ["tokens.db"]


class TestMisuse:
    """What is refused instead of a deadlock or a write that goes astray."""

    def test_work_that_writes_again_is_refused(self, patient: Engine) -> None:
        """It would wait for itself; only its caller fails, whichever thread ran it."""
        done = together(
            patient,
            insert("a"),
            lambda _: patient.write("inner", insert("b")),
            lambda _: patient.transaction("inner").__enter__(),
            insert("c"),
        )
        errors = [caller.error for caller in done]
        assert [type(error) for error in errors] == [type(None), MisuseError, MisuseError, type(None)]
        assert "tx=" in str(errors[1])
        assert tokens(patient) == ["a", "c"]

    def test_a_block_that_writes_beside_itself_is_refused(self, either: Engine) -> None:
        """The block goes on; reading in it is fine on a file."""
        with either.transaction() as tx:
            tx.execute(INSERT, ("a",))
            with pytest.raises(MisuseError, match="already"):
                either.write("beside", insert("b"))
            if either.target != ":memory:":
                assert either.read_one("look", COUNT) == (0,)
        assert tokens(either) == ["a"]

    def test_a_transaction_does_not_outlive_its_work(self, either: Engine) -> None:
        """Who keeps it, or a stream of it, is refused."""
        kept: list[Any] = []

        def keep(tx: Transaction) -> None:
            rows = tx.stream("SELECT 1 UNION ALL SELECT 2")
            next(rows)
            kept.extend((tx, rows, tx.stream("SELECT 1")))

        either.write("keep", keep)
        tx, *streams = kept
        for use in (
            lambda: tx.execute(INSERT, ("late",)),
            lambda: tx.execute_many(INSERT, [("late",)]),
            lambda: tx.one(COUNT),
            lambda: tx.nested(insert("late")),
            lambda: list(streams[0]),
            lambda: list(streams[1]),
        ):
            with pytest.raises(MisuseError, match="ended"):
                use()
        assert count(either) == 0

    def test_a_child_forked_by_work_cannot_write_through_it(self, engine: Engine) -> None:
        """The child is told that the transaction is its parent's; the parent's is written, with the others'."""
        statuses: list[int] = []

        def split(tx: Transaction) -> object:
            child = fork()
            if child == 0:  # pragma: no cover -- runs in the child
                try:
                    tx.execute(INSERT, ("child",))
                except MisuseError as error:
                    os._exit(0 if "forked" in error.problem else 2)
                os._exit(1)
            statuses.append(os.waitpid(child, 0)[1])
            return tx.execute(INSERT, ("parent",))

        engine.write("fork", split)
        assert (statuses, tokens(engine)) == ([0], ["parent"])

    def test_a_child_that_leaves_its_parents_work_is_refused(self, engine: Engine) -> None:
        """Its write raises, and so does its next one, at once: SQLite in it takes the parent's lock for its own."""
        parent, child = os.getpid(), 0

        def split(tx: Transaction) -> None:
            nonlocal child
            tx.execute(INSERT, ("parent",))
            child = fork()

        try:
            engine.write("fork", split)
        except MisuseError:  # pragma: no cover -- runs in the child
            if os.getpid() == parent:
                raise
            with pytest.raises(MisuseError, match="fork outside"):
                add(engine, "child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert tokens(engine) == ["parent"]

    def test_a_child_forked_while_others_write_can_write(self, path: Path) -> None:
        """Whatever the parent's threads were doing, the child has a line, locks and a connection of its own."""
        stop = threading.Event()

        def work(number: int) -> None:
            turn = 0
            while not stop.is_set():
                engine.write("add", insert(f"{number}-{turn}"))
                turn += 1
                time.sleep(0.002)  # another process waits for a moment when nobody writes

        with open_engine(path, "tokens", settings=settings(DB_TIMEOUT=str(PATIENCE_S))) as engine:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            statuses = []
            for number in range(5):
                child = fork()
                if child == 0:  # pragma: no cover -- runs in the child
                    engine.write("child", insert(f"child-{number}"))
                    os._exit(0)
                statuses.append(os.waitpid(child, 0)[1])
            stop.set()
            for thread in threads:
                thread.join()
            assert statuses == [0] * 5
            assert [token for token in tokens(engine) if "child" in token] == [f"child-{n}" for n in range(5)]


class TestNested:
    """Savepoints inside a transaction."""

    def test_each_depth_takes_back_its_own(self, either: Engine) -> None:
        """An error undoes the depth that it ends, and nothing around it."""

        def middle(tx: Transaction) -> str:
            tx.execute(INSERT, ("middle",))
            with pytest.raises(ZeroDivisionError):
                tx.nested(inner)
            return "result"

        def inner(tx: Transaction) -> None:
            tx.execute(INSERT, ("inner",))
            raise ZeroDivisionError

        def outer(tx: Transaction) -> str:
            tx.execute(INSERT, ("outer",))
            with pytest.raises(ConflictError):
                tx.nested(lambda tx: (tx.execute(INSERT, ("lost",)), tx.execute(INSERT, ("outer",))))
            return tx.nested(middle)

        assert either.write("nest", outer) == "result"
        assert tokens(either) == ["middle", "outer"]

    def test_what_takes_the_transaction_with_it_is_raised_as_it_was(self, either: Engine) -> None:
        """There is no savepoint left to go back to, and that does not hide the error."""
        add(either, "taken")
        replace = INSERT.replace("INSERT", "INSERT OR ROLLBACK")
        with pytest.raises(ConflictError), either.transaction() as tx:
            tx.nested(lambda tx: tx.execute(replace, ("taken",)))
        assert tokens(either) == ["taken"]


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


class TestInterrupts:
    """Ctrl-C in the main thread, while it waits, while others do its work, and at any time."""

    def test_while_it_waits(self, patient: Engine) -> None:
        """The interrupt is raised, the work never begins, and the line goes on without it."""
        entered, leave = threading.Event(), threading.Event()

        def hold(tx: Transaction) -> object:
            entered.set()
            leave.wait(PATIENCE_S)
            return tx.execute(INSERT, ("held",))

        def interrupt_who_waits() -> None:
            wait_until(lambda: in_line(patient) == 2, "the main thread in the line", every_s=0.001)
            interrupt()

        holder = Caller(patient, hold)
        assert entered.wait(PATIENCE_S)
        interrupter = threading.Thread(target=interrupt_who_waits)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt) as raised, patient.transaction() as tx:
            tx.execute(INSERT, ("never",))
        leave.set()
        holder.join()
        interrupter.join()
        assert not hasattr(raised.value, "__notes__")
        add(patient, "next")
        assert tokens(patient) == ["held", "next"]

    def test_while_another_thread_does_its_work(self, patient: Engine) -> None:
        """It is raised when the outcome is known, and says that it was written."""
        leading = threading.Event()

        def press(tx: Transaction) -> object:
            interrupt()
            time.sleep(0.05)
            return tx.execute(INSERT, ("mine",))

        def lead(tx: Transaction) -> object:
            leading.set()
            wait_until(lambda: in_line(patient) == 2, "the main thread in the line", every_s=0.001)
            return tx.execute(INSERT, ("leader",))

        leader = Caller(patient, lead)
        assert leading.wait(PATIENCE_S)
        with pytest.raises(KeyboardInterrupt) as raised:
            patient.write("mine", press)
        leader.join()
        assert raised.value.__notes__ == ["mine was written before this"]
        assert tokens(patient) == ["leader", "mine"]

    def test_it_works_for_nobody_else(self, patient: Engine) -> None:
        """What a handler raises there could not be told from a failure of the other's work."""
        runs: list[int] = []
        others: list[Caller] = []

        def own(tx: Transaction) -> None:
            tx.execute(INSERT, ("own",))
            others.extend(callers(patient, lambda _: runs.append(threading.get_ident())))
            interrupt()

        with pytest.raises(KeyboardInterrupt) as raised:
            patient.write("own", own)
        others[0].join(PATIENCE_S)
        assert not hasattr(raised.value, "__notes__")
        assert others[0].error is None
        assert runs == [others[0].ident]
        assert tokens(patient) == []

    def test_at_any_time(self, path: Path) -> None:  # noqa: C901 - three kinds of actors, best read together
        """Under a rain of interrupts each outcome is the true one, no turn is lost, and no row is written twice."""
        stop = threading.Event()
        written: list[str] = []
        absent: list[str] = []

        def work(number: int) -> None:
            turn = 0
            while not stop.is_set():
                engine.write("add", insert(f"{number}-{turn}"))
                written.append(f"{number}-{turn}")
                turn += 1

        def rain() -> None:
            for drop in range(60):
                time.sleep(0.003 + drop % 7 / 500)
                interrupt()
            stop.set()

        def attempt(jti: str) -> None:
            kept: list[str] | None = absent
            try:
                if len(absent) % 2:
                    with engine.transaction() as tx:
                        tx.execute(INSERT, (jti,))
                else:
                    engine.write("main", insert(jti))
                kept = written
            except KeyboardInterrupt as error:
                # Between the end of the write and the next line there is a moment that is the test's own.
                kept = written if hasattr(error, "__notes__") else None if kept is written else absent
            if kept is not None:
                kept.append(jti)

        committed = settings(DB_TIMEOUT=str(PATIENCE_S), ARAGORA_DURABILITY="committed")
        with open_engine(path, "tokens", settings=committed) as engine:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
            threads.append(threading.Thread(target=rain))
            attempts = 0
            while not stop.is_set():
                try:
                    while threads and threads[-1].ident is None:
                        next(thread for thread in threads if thread.ident is None).start()
                    attempts += 1
                    attempt(f"main-{attempts}")
                except KeyboardInterrupt:
                    continue
            for thread in threads:
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
            found = set(tokens(engine))
        assert set(written) - found == set()
        assert found & set(absent) == set()
