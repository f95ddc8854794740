"""The engine: one database, its views and its transactions, on real files."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import (
    BusyError,
    ConflictError,
    InvalidValueError,
    MisuseError,
    StorageError,
)
from aragora_persist.settings import Durability
from aragora_persist.storage.sqlite.engine import open_engine
from tests.unit.tokens import COUNT, INSERT, add, count, settings
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine


class TestReading:
    """Views."""

    def test_all_its_statements_see_one_state(self, engine: Engine) -> None:
        """A commit in the middle of a view shows in the next view only."""
        with engine.read("view") as view:
            assert view.one(COUNT) == (0,)
            add(engine, "a")
            assert view.one(COUNT) == (0,)
        assert count(engine) == 1

    def test_streams_in_order_and_ends_with_the_block(self, either: Engine) -> None:
        """A stream yields every row, and none after its block."""
        add(either, *(f"{number:04d}" for number in range(1000)))
        with either.read("stream") as view:
            rows = view.stream("SELECT jti FROM token_blacklist ORDER BY jti")
            assert next(rows) == ("0000",)
            assert len(view.all("SELECT jti FROM token_blacklist")) == 1000
            assert sum(1 for _ in rows) == 999
            left = view.stream("SELECT jti FROM token_blacklist")
            next(left)
        with pytest.raises(MisuseError, match="ended"):
            list(left)
        with pytest.raises(MisuseError, match="ended"):
            view.one(COUNT)

    def test_one_statement_needs_no_view(self, either: Engine) -> None:
        """The first row comes without a block; it cannot write, and its errors are ours."""
        add(either, "a", "b")
        rows = "SELECT jti FROM token_blacklist WHERE jti >= ? ORDER BY jti"
        assert [either.read_one("look", rows, (first,)) for first in ("a", "b", "c")] == [("a",), ("b",), None]
        with pytest.raises(StorageError, match="readonly"):
            either.read_one("sneak", INSERT + " RETURNING jti", ("c",))
        with pytest.raises(StorageError, match="no such table") as refused:
            either.read_one("broken", "SELECT * FROM nowhere")
        assert refused.value.operation == "broken"
        add(either, "d")
        assert count(either) == 3

    def test_cannot_write(self, either: Engine) -> None:
        """A view refuses to change anything."""
        with pytest.raises(StorageError, match="readonly"), either.read("sneak") as view:
            view.one(INSERT + " RETURNING jti", ("a",))
        assert count(either) == 0
        add(either, "b")
        assert count(either) == 1

    def test_an_error_in_the_block_gives_the_connection_back(self, either: Engine) -> None:
        """A failing view leaves the next one and the next write untouched."""
        with pytest.raises(ZeroDivisionError), either.read("broken"):
            raise ZeroDivisionError
        with pytest.raises(StorageError, match="no such table"), either.read("broken") as view:
            view.all("SELECT * FROM nowhere")
        add(either, "a")
        assert count(either) == 1

    def test_views_may_nest_on_a_file(self, engine: Engine) -> None:
        """One thread may have two views, and a transaction beside them."""
        with engine.read("outer") as outer, engine.read("inner") as inner, engine.transaction("write") as tx:
            tx.execute(INSERT, ("a",))
            assert (outer.one(COUNT), inner.one(COUNT), tx.one(COUNT)) == ((0,), (0,), (1,))


class TestWriting:
    """Transactions."""

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_every_exception_rolls_back(self, either: Engine, error: type[BaseException]) -> None:
        """Whatever ends the block, half of it is never there, and the next one works."""
        with pytest.raises(error), either.transaction("half") as tx:
            tx.execute(INSERT, ("a",))
            raise error
        add(either, "b")
        with either.read("look") as view:
            assert view.all("SELECT jti FROM token_blacklist") == [("b",)]

    def test_a_conflict_names_the_operation_and_keeps_nothing(self, either: Engine) -> None:
        """A broken constraint is a ConflictError, and the statements before it are gone too."""
        add(either, "a")
        with pytest.raises(ConflictError) as refused, either.transaction("token.add") as tx:
            tx.execute(INSERT, ("b",))
            tx.execute(INSERT, ("a",))
        assert (refused.value.operation, refused.value.target) == ("token.add", either.target)
        assert isinstance(refused.value.__cause__, sqlite3.IntegrityError)
        assert count(either) == 1

    def test_foreign_keys_hold(self, tmp_path: Path) -> None:
        """A row cannot refer to nothing."""
        with open_engine(tmp_path / "users.db", "users") as engine:
            with pytest.raises(ConflictError), engine.transaction("usage") as tx:
                tx.execute("INSERT INTO usage_events (org_id, event_type) VALUES ('nobody', 'debate')")
            with engine.read("look") as view:
                assert view.one("SELECT count(*) FROM usage_events") == (0,)

    def test_counts_and_returns(self, either: Engine) -> None:
        """Statements say how many rows they changed, and RETURNING rows arrive."""
        with either.transaction("write") as tx:
            assert tx.execute(INSERT, ("a",)) == 1
            assert tx.execute_many(INSERT, ((jti,) for jti in "bcd")) == 3
            assert tx.one(INSERT + " RETURNING jti", ("e",)) == ("e",)
            assert tx.execute("UPDATE token_blacklist SET reason = 'r' RETURNING jti") == 5
            assert tx.execute("DELETE FROM token_blacklist WHERE jti = 'none'") == 0
            assert sorted(tx.all("DELETE FROM token_blacklist WHERE jti > 'c' RETURNING jti")) == [("d",), ("e",)]
            assert tx.execute("CREATE TABLE more (a)") == 0
            next(tx.stream("INSERT INTO more VALUES (1), (2) RETURNING a"))
        with either.read("look") as view:
            assert view.one(COUNT) == (3,)
            assert view.all("SELECT a FROM more") == [(1,), (2,)]

    def test_a_second_transaction_of_the_thread_is_refused(self, either: Engine) -> None:
        """It would wait for itself for ever; the first one goes on."""
        with either.transaction("outer") as tx:
            with pytest.raises(MisuseError, match="already") as refused, either.transaction("inner"):
                pass
            assert "tx=" in refused.value.hint
            tx.execute(INSERT, ("a",))
        assert count(either) == 1

    def test_memory_refuses_a_view_inside_a_transaction(self) -> None:
        """With one connection, a view would show what is not committed: read through the transaction."""
        with open_engine(":memory:", "tokens") as engine, engine.transaction("outer") as tx:
            with pytest.raises(MisuseError, match="already"), engine.read("inner"):
                pass
            assert tx.one(COUNT) == (0,)

    def test_waiting_for_another_thread_is_bounded(self, either: Engine) -> None:
        """A thread that waits too long gets a BusyError and has written nothing."""
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with either.transaction("hold") as tx:
                tx.execute(INSERT, ("held",))
                entered.set()
                leave.wait(PATIENCE_S)

        holder = threading.Thread(target=hold)
        holder.start()
        try:
            assert entered.wait(PATIENCE_S)
            with pytest.raises(BusyError, match="DB_TIMEOUT"), either.transaction("wait") as tx:
                tx.execute(INSERT, ("never",))
        finally:
            leave.set()
            holder.join()
        with either.read("look") as view:
            assert view.all("SELECT jti FROM token_blacklist") == [("held",)]

    def test_waiting_for_another_process_is_bounded(self, engine: Engine, path: Path) -> None:
        """Another program's lock is waited for as long as DB_TIMEOUT says, and then nothing was written."""
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError, match="DB_TIMEOUT"), engine.transaction("wait") as tx:
                tx.execute(INSERT, ("never",))
            other.execute("ROLLBACK")
        add(engine, "later")
        assert count(engine) == 1

    @pytest.mark.parametrize(
        "sql", ["ROLLBACK", "commit", " /* now */ END", "-- now\nBEGIN", "SAVEPOINT a", "RELEASE a", "\ufeffCOMMIT"]
    )
    @pytest.mark.parametrize("method", ["execute", "one", "all", "stream"])
    def test_a_statement_cannot_end_the_transaction(self, either: Engine, sql: str, method: str) -> None:
        """What begins and ends transactions is refused wherever a statement goes, and nothing of the block stays."""
        with pytest.raises(MisuseError, match="ends a transaction"), either.transaction("sneak") as tx:
            tx.execute(INSERT, ("a",))
            getattr(tx, method)(sql)
        assert count(either) == 0

    def test_refuses_work_after_its_end(self, either: Engine) -> None:
        """A transaction that has ended takes no statement."""
        with either.transaction("short") as tx:
            tx.execute(INSERT, ("a",))
        with pytest.raises(MisuseError, match="ended"):
            tx.execute(INSERT, ("b",))
        with pytest.raises(MisuseError, match="ended"):
            tx.execute_many(INSERT, [("b",)])
        assert count(either) == 1

    @pytest.mark.parametrize("value", [2**63, "\udc80", object()])
    def test_values_that_sqlite_cannot_hold_are_the_callers_error(self, either: Engine, value: object) -> None:
        """An int of more than 64 bits, a lone surrogate and an object are refused, and nothing is kept."""
        with pytest.raises(InvalidValueError), either.transaction("write") as tx:
            tx.execute(INSERT, ("a",))
            tx.execute(INSERT, (value,))  # type: ignore[arg-type]  # the wrong type is the test
        assert count(either) == 0

    def test_each_write_reaches_its_durability(self, path: Path) -> None:
        """The default comes from the settings, a transaction may ask for another, and the next one has the default."""
        committed = settings(ARAGORA_DURABILITY="committed")
        with open_engine(path, "tokens", settings=committed) as engine:
            levels = []
            for durability in (None, Durability.DURABLE, None, Durability.COMMITTED):
                with engine.transaction("write", durability=durability) as tx:
                    levels.append(tx.one("PRAGMA synchronous"))
            assert levels == [(1,), (2,), (1,), (1,)]
        with open_engine(path, "tokens") as engine, engine.transaction("write") as tx:
            assert tx.one("PRAGMA synchronous") == (2,)

    def test_many_threads_lose_no_update(self, path: Path) -> None:
        """Reading, adding one and writing in a transaction counts right with eight threads."""

        def work() -> None:
            for _ in range(25):
                with engine.transaction("count") as tx:
                    row = tx.one("SELECT reason FROM token_blacklist")
                    assert row is not None
                    tx.execute("UPDATE token_blacklist SET reason = ?", (str(int(str(row[0])) + 1),))

        with open_engine(path, "tokens", settings=settings(DB_TIMEOUT=str(PATIENCE_S))) as engine:
            add(engine, "n")
            with engine.transaction("start") as tx:
                tx.execute("UPDATE token_blacklist SET reason = '0'")
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with engine.read("look") as view:
                assert view.one("SELECT reason FROM token_blacklist") == ("200",)


class TestSlowQueries:
    """The documented line."""

    def test_a_slow_query_is_logged_with_its_name(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With a threshold of zero everything is slow, and both kinds of block say so."""
        with (
            open_engine(path, "tokens", settings=settings(ARAGORA_SLOW_QUERY_MS="0")) as engine,
            caplog.at_level(logging.WARNING, "aragora_persist.slow"),
        ):
            with engine.transaction("save_cycle") as tx:
                tx.execute(INSERT, ("a",))
            with engine.read("get_cycle", {"cycle": 5}) as view:
                view.one(COUNT)
            engine.read_one("find_cycle", COUNT, context={"cycle": 6})
            engine.write("keep_cycle", lambda tx: tx.execute(INSERT, ("b",)), context={"cycle": 7})
        names = [record.getMessage().split(": ")[1].split(" (")[0] for record in caplog.records]
        assert names == ["save_cycle", "get_cycle [cycle=5]", "find_cycle [cycle=6]", "keep_cycle [cycle=7]"]

    def test_a_fast_query_is_not(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Below the threshold nothing is logged."""
        with (
            open_engine(path, "tokens", settings=settings(ARAGORA_SLOW_QUERY_MS="600000")) as engine,
            caplog.at_level(logging.WARNING, "aragora_persist.slow"),
        ):
            add(engine, "a")
            assert count(engine) == 1
        assert caplog.records == []
