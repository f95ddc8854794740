"""The connection against a real Supabase whose rights, schema or rows are not as they should be.

Each error is clear, and the way out that it names works.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import MODELS, CloudModel, CycleFileChange, StreamEvent
from aragora_persist.cloud.pages import Query
from aragora_persist.cloud.rows import to_row
from aragora_persist.errors import AccessDeniedError, RejectedError, SchemaOutdatedError, UnreachableError
from aragora_persist.settings import Secret
from tests.supabase_rows import models
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.supabase_stack import LocalSupabase

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.supabase_fixtures",)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RECORDS = models(1)
FORKING = """
import os, sys
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.settings import Secret
connection = CloudConnection(sys.argv[1], Secret(sys.stdin.read()))
ask = lambda text: next(connection.call("loop_summary", {"p_loop_id": text}, operation="test"))
before = ask("loop")
child = os.fork()
for _ in range(50):
    assert ask("loop") == before
connection.close()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def database(supabase: LocalSupabase) -> Iterator[psycopg.Connection]:
    """Give the empty database to its superuser; what a test changes of the schema, it changes back."""
    supabase.empty()
    with psycopg.connect(supabase.admin_db_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def connection(database: psycopg.Connection, supabase: LocalSupabase) -> Iterator[CloudConnection]:
    """Give a connection to that Supabase."""
    assert database.info.dbname
    with CloudConnection(supabase.url, Secret(supabase.service_key)) as opened:
        yield opened


def row_of(model: CloudModel) -> dict[str, object]:
    """Return the row of a record."""
    return to_row(model.to_record(1 if model.MUTABLE else None))


def count(database: psycopg.Connection, table: str) -> int:
    """Return how many rows a table has."""
    found = database.execute(f"select count(*) from {table}".encode()).fetchone()
    assert found
    return int(found[0])


def summary(connection: CloudConnection) -> list[dict[str, Any]]:
    """Ask a function of the database."""
    return next(connection.call("loop_summary", {"p_loop_id": "loop"}, operation="test"))


def some(table: str, column: str = "id") -> Query:
    """Return a query for the records of a loop."""
    return Query(table=table, columns=(column,), equal={"loop_id": "loop"}, order="inserted_at")


@pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.TABLE)
def test_the_grant_that_a_write_misses_is_named(
    model: CloudModel, connection: CloudConnection, database: psycopg.Connection
) -> None:
    """As the statement that gives it, which is enough to go on."""
    assert {type(record) for record in RECORDS} == set(MODELS)
    database.execute(f"revoke all on {model.TABLE} from service_role".encode())
    with pytest.raises(AccessDeniedError) as denied:
        connection.write(model.TABLE, [row_of(model)])
    statement = denied.value.hint.removeprefix("run this in the project's database: ")
    database.execute(statement.encode())
    connection.write(model.TABLE, [row_of(model)])

    assert denied.value.target == model.TABLE
    assert count(database, model.TABLE) == 1
    if model.MUTABLE:
        assert connection.merge(model.TABLE, row_of(model))


def test_the_grant_that_a_read_misses_is_named(connection: CloudConnection, database: psycopg.Connection) -> None:
    """Of a table, and of a function."""
    calls: dict[str, Callable[[], object]] = {
        "revoke select on stream_events from service_role": lambda: connection.page(
            some("stream_events"), operation="test"
        ),
        "revoke execute on function loop_summary(text) from service_role": lambda: summary(connection),
    }
    for revoke, call in calls.items():
        database.execute(revoke.encode())
        with pytest.raises(AccessDeniedError) as denied:
            call()
        database.execute(denied.value.hint.removeprefix("run this in the project's database: ").encode())
        call()

        assert denied.value.hint.endswith("TO service_role;")


def test_a_wrong_key_is_told(supabase: LocalSupabase) -> None:
    """An unknown one, a publishable one, and a token that the project did not sign."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJlc2lnbmF0dXJl"
    for key, hint in (
        ("sb_secret_unknown_unknown", "not a service key"),
        (supabase.publishable_key, "publishable"),
        (token, "not a service key"),
    ):
        with CloudConnection(supabase.url, Secret(key)) as connection:
            with pytest.raises(AccessDeniedError, match=hint) as denied:
                connection.write("stream_events", [row_of(RECORDS[2])])
            with pytest.raises(AccessDeniedError, match=hint):
                summary(connection)
        assert key not in str(denied.value)


def test_a_schema_that_was_not_applied_is_told(connection: CloudConnection, database: psycopg.Connection) -> None:
    """A table, a column or a function that is missing: with the command that brings it, after which the call works."""
    for gone, back, call in (
        (
            "alter table stream_events rename to gone",
            "alter table gone rename to stream_events",
            lambda: connection.write("stream_events", [row_of(RECORDS[2])]),
        ),
        (
            "alter table stream_events rename agent to gone",
            "alter table stream_events rename gone to agent",
            lambda: connection.write("stream_events", [row_of(RECORDS[2])]),
        ),
        (
            "alter table stream_events rename agent to gone",
            "alter table stream_events rename gone to agent",
            lambda: connection.page(some("stream_events", "agent"), operation="test"),
        ),
        (
            "alter function loop_summary(text) rename to gone",
            "alter function gone(text) rename to loop_summary",
            lambda: summary(connection),
        ),
    ):
        database.execute(gone.encode())
        try:
            with pytest.raises(SchemaOutdatedError, match="aragora-persist supabase apply") as outdated:
                call()
        finally:
            database.execute(back.encode())

        def is_back(call: Any = call) -> bool:  # noqa: ANN401 - one of the calls above
            try:
                call()
            except SchemaOutdatedError:
                return False
            return True

        wait_until(is_back, "the interface to see the change")
        assert outdated.value.operation in {"supabase.write", "test"}


def test_an_interface_that_is_away_is_told_and_comes_back(supabase: LocalSupabase, connection: CloudConnection) -> None:
    """Nothing was lost meanwhile, and the same connection goes on."""
    supabase.stop_rest()
    try:
        with pytest.raises(UnreachableError, match="503") as unreachable:
            connection.write("stream_events", [row_of(RECORDS[2])])
    finally:
        supabase.start_rest()
    connection.write("stream_events", [row_of(RECORDS[2])])

    assert unreachable.value.target == supabase.url.removeprefix("http://")
    assert len(connection.page(some("stream_events"), operation="test")[0]) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_a_host_that_is_not_there_is_told(url: str) -> None:
    """By its name, and with what happened."""
    with CloudConnection(url, Secret("key"), attempts=2) as connection, pytest.raises(UnreachableError) as unreachable:
        summary(connection)

    assert unreachable.value.target == url.removeprefix("http://")
    assert "no connection: " in unreachable.value.problem


def test_a_server_that_is_no_supabase_is_told(supabase: LocalSupabase) -> None:
    """One that speaks HTTP, and one that does not."""
    port = supabase.db_url.rpartition(":")[2].partition("/")[0]
    for url, said in ((f"{supabase.url}/elsewhere", "404"), (f"http://127.0.0.1:{port}", "the connection broke off")):
        with CloudConnection(url, Secret(supabase.service_key), attempts=2) as connection:
            with pytest.raises(UnreachableError, match=said) as unreachable:
                summary(connection)
            assert "check SUPABASE_URL" in unreachable.value.hint


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cycle": "secret words"}, "22P02"),
        ({"cycle": 2**31}, "22003"),
        ({"cycle": None}, "23502"),
        ({"id": "secret words"}, "22P02"),
        ({"timestamp": "secret words"}, "22007"),
        ({"timestamp": "2026-13-45T00:00:00Z"}, "22008"),
    ],
)
def test_a_row_that_is_refused_takes_its_batch_along(
    change: dict[str, object], code: str, connection: CloudConnection, database: psycopg.Connection
) -> None:
    """All of it or none; with PostgreSQL's code, and without what the row holds."""
    good = [row_of(StreamEvent("loop", number, "error", {}, timestamp=NOON)) for number in range(3)]
    with pytest.raises(RejectedError, match=code) as rejected:
        connection.write("stream_events", [*good, row_of(RECORDS[2]) | change])

    assert count(database, "stream_events") == 0
    assert "secret" not in str(rejected.value)
    connection.write("stream_events", good)
    assert count(database, "stream_events") == 3


def test_another_row_with_the_same_natural_key_is_refused(
    connection: CloudConnection, database: psycopg.Connection
) -> None:
    """Under another id it would be a second row of the same thing."""
    row = row_of(RECORDS[0])
    connection.write("nomic_cycles", [row])
    with pytest.raises(RejectedError, match="23505"):
        connection.write("nomic_cycles", [row | {"id": row_of(RECORDS[2])["id"]}])

    assert count(database, "nomic_cycles") == 1


def test_rows_of_different_columns_go_together(connection: CloudConnection, database: psycopg.Connection) -> None:
    """What one of them lacks has its default; a null would be refused."""
    full, short = (
        row_of(CycleFileChange("loop", 1, "a", "added", 7, 7)),
        row_of(CycleFileChange("loop", 1, "b", "added")),
    )
    del short["insertions"]
    connection.write("cycle_file_changes", [full, short])

    found = database.execute("select insertions from cycle_file_changes order by file_path").fetchall()
    assert found == [(7,), (0,)]


def test_a_batch_of_the_costliest_json_does_not_end_the_database(
    connection: CloudConnection, database: psycopg.Connection
) -> None:
    """Brackets take it hundreds of times as much memory as they are long, and it has as little as `up` gives it."""
    events = [StreamEvent("loop", number, "message", {"x": [[]] * 80_000}, timestamp=NOON) for number in range(16)]
    connection.write("stream_events", [row_of(event) for event in events])

    assert count(database, "stream_events") == 16


def test_a_batch_that_takes_too_long_goes_in_halves(connection: CloudConnection, database: psycopg.Connection) -> None:
    """Here a trigger ends each statement of more than three rows as the server's limit of time does."""
    rows = [row_of(StreamEvent("loop", number, "error", {}, timestamp=NOON)) for number in range(50)]
    database.execute(
        "create function too_long() returns trigger language plpgsql as $$ begin"
        " if (select count(*) from made) > 3 then raise exception 'canceling' using errcode = '57014'; end if;"
        " return null; end $$"
    )
    database.execute(
        "create trigger too_long after insert on stream_events referencing new table as made"
        " for each statement execute function too_long()"
    )
    try:
        connection.write("stream_events", rows)
    finally:
        database.execute("drop function too_long cascade")

    assert count(database, "stream_events") == 50


def test_one_row_that_takes_too_long_may_do_better_later(
    connection: CloudConnection, database: psycopg.Connection
) -> None:
    """It is no fault of the row."""
    database.execute(
        "create function too_long() returns trigger language plpgsql as"
        " $$ begin raise exception 'canceling' using errcode = '57014'; end $$"
    )
    database.execute("create trigger too_long before insert on stream_events execute function too_long()")
    try:
        with pytest.raises(UnreachableError, match="too long"):
            connection.write("stream_events", [row_of(RECORDS[2])])
    finally:
        database.execute("drop function too_long cascade")


def test_the_server_may_cut_pages_off(connection: CloudConnection) -> None:
    """It gives at most 1000 rows, whatever was asked for, and does not say so."""
    connection.write(
        "stream_events", [row_of(StreamEvent("loop", number, "error", {}, timestamp=NOON)) for number in range(2100)]
    )
    query = Query(
        table="stream_events", columns=("cycle",), equal={"loop_id": "loop"}, order="timestamp", page_rows=5000
    )
    pages = list(connection.pages(query, operation="test"))

    assert [len(page) for page in pages] == [1000, 1000, 100]
    assert sorted(row["cycle"] for page in pages for row in page) == list(range(2100))


def test_deeply_nested_json_is_stored_or_refused(connection: CloudConnection, database: psycopg.Connection) -> None:
    """Near the depth at which Python gives up, what passes is stored and what does not is refused for good."""
    outcomes = []
    for depth in range(940, 1000, 5):
        nested: dict[str, Any] = {}
        for _ in range(depth):
            nested = {"": nested}
        try:
            row = row_of(StreamEvent("loop", depth, "error", {}, timestamp=NOON)) | {"event_data": nested}
            connection.write("stream_events", [row])
        except RejectedError:
            outcomes.append("refused")
        else:
            outcomes.append("stored")

    assert outcomes == sorted(outcomes, reverse=True)
    assert count(database, "stream_events") == outcomes.count("stored")


def test_a_filter_that_is_too_long_is_refused(connection: CloudConnection) -> None:
    """By the gateway, or before it is sent."""
    for length in (50_000, 70_000):
        query = Query(table="stream_events", columns=("cycle",), equal={"loop_id": "x" * length}, order="timestamp")
        with pytest.raises(RejectedError, match="414"):
            connection.page(query, operation="test")


def test_a_forked_process_opens_connections_of_its_own(supabase: LocalSupabase) -> None:
    """On shared ones, each of both would read the other's answers."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, supabase.url],
        check=False,
        input=supabase.service_key,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_runs_in_the_background(connection: CloudConnection) -> None:
    """No thread refreshes a session that there is none of."""
    before = set(threading.enumerate())
    assert summary(connection)

    assert set(threading.enumerate()) == before
