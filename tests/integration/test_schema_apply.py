"""The applier against a real PostgreSQL: what it leaves behind, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.cloud.schema import apply_schema, inspect_schema
from aragora_persist.cloud.schema.catalog import differences, read_catalog
from aragora_persist.cloud.schema.catalog_files import stale
from aragora_persist.cloud.schema.folder import load, load_catalog, shipped_folder
from aragora_persist.errors import (
    AccessDeniedError,
    BusyError,
    MigrationError,
    NotFoundError,
    SchemaTooNewError,
    UnreachableError,
)
from aragora_persist.settings import Secret
from tests.schema_databases import Database, new_database, write_migrations
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.supabase_stack import LocalSupabase

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

SHIPPED = tuple(file.title for file in load(shipped_folder()))
ONE = "create table public.one (id int);"
TWO = "create table public.two (id int);"


@pytest.fixture(scope="module")
def applied(supabase: LocalSupabase) -> Iterator[Database]:
    """Give a database with the schema; whoever changes it rolls back."""
    with new_database(supabase) as database:
        apply_schema(database.secret)
        yield database


def tables(database: Database) -> set[str]:
    """Return the tables in `public`."""
    return {str(name) for (name,) in database.rows("select tablename from pg_tables where schemaname = 'public'")}


def test_the_catalogs_are_what_the_migrations_make(supabase: LocalSupabase) -> None:
    """At every version."""
    assert stale(Secret(supabase.db_url), shipped_folder()) == []


def test_everything_is_applied_once(database: Database) -> None:
    """Looking before changes nothing; the second run finds nothing to do."""
    before = inspect_schema(database.secret)
    nothing_yet = database.rows("select to_regnamespace('supabase_migrations') is null")
    told: list[str] = []

    assert (before.applied, before.pending, nothing_yet) == ((), SHIPPED, [(True,)])
    assert apply_schema(database.secret, on_applied=told.append) == SHIPPED == tuple(told)
    assert apply_schema(database.secret) == ()
    after = inspect_schema(database.secret)
    assert (after.applied, after.pending, after.edited, after.unknown, after.drift) == (SHIPPED, (), (), (), ())


def test_a_file_that_fails_leaves_nothing_and_those_before_it_stay(database: Database, tmp_path: Path) -> None:
    """The error names file and line; the corrected file goes on from there."""
    bad = f"{TWO}\ninsert into public.two values (1);\n-- here\nselect 1 /\n  0;\n"
    folder = write_migrations(tmp_path, first=ONE, second=bad, third="create table public.three ();")

    with pytest.raises(MigrationError, match=r"_second.sql line 4: division by zero; nothing of this file was kept"):
        apply_schema(database.secret, folder=folder)

    assert tables(database) == {"one"}
    assert database.history() == [("20300101000001", "first")]
    write_migrations(tmp_path, first=ONE, second=TWO)
    assert apply_schema(database.secret, folder=folder) == ("20300101000002_second", "20300101000003_third")
    assert tables(database) == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("sql", "error", "text"),
    [
        (
            "create table public.one (\n  id int,\n  x nonsense);",
            MigrationError,
            'line 3: type "nonsense" does not exist',
        ),
        ("create index concurrently i on pg_class (oid);", MigrationError, "write it without CONCURRENTLY"),
        ("grant select on pg_class to nobody_here;", MigrationError, "is this the database of a Supabase project"),
        ("alter table pg_catalog.pg_class add x int;", AccessDeniedError, "use the database URL of the role postgres"),
    ],
)
def test_what_postgresql_refuses_is_told_with_the_way_out(
    database: Database, tmp_path: Path, sql: str, error: type[Exception], text: str
) -> None:
    """And nothing of it is kept, the history's table not either."""
    with pytest.raises(error, match=text):
        apply_schema(database.secret, folder=write_migrations(tmp_path, first=sql))

    assert tables(database) == set()
    assert database.rows("select to_regnamespace('supabase_migrations') is null") == [(True,)]


def test_of_two_appliers_one_works(database: Database, tmp_path: Path) -> None:
    """Each file is applied by one of them, and both end well."""
    texts = {f"m{number}": f"select pg_sleep(.05); create table public.t{number} ();" for number in range(6)}
    folder = write_migrations(tmp_path, **texts)
    together = Barrier(3)

    def apply() -> tuple[str, ...]:
        together.wait()
        return apply_schema(database.secret, folder=folder)

    with ThreadPoolExecutor(3) as pool:
        done = [title for run in [pool.submit(apply) for _ in range(3)] for title in run.result()]

    assert sorted(done) == sorted(path.stem for path in (folder / "migrations").iterdir())
    assert len(tables(database)) == 6


def test_a_killed_applier_leaves_whole_files(database: Database, tmp_path: Path) -> None:
    """A kill -9 in the middle of the second: the first stays, of the second nothing does, and the next run goes on."""
    folder = write_migrations(tmp_path, first=ONE, second=f"{TWO} select pg_advisory_xact_lock(42);")
    code = (
        "import sys; from pathlib import Path; from aragora_persist.settings import Secret\n"
        "from aragora_persist.cloud.schema import apply_schema\n"
        "apply_schema(Secret(sys.stdin.read()), folder=Path(sys.argv[1]))"
    )
    with psycopg.connect(database.url, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(42)")
        with subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE, text=True) as applier:
            assert applier.stdin
            applier.stdin.write(database.url)
            applier.stdin.close()
            waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 42"
            wait_until(lambda: database.rows(waits) == [(1,)], "the second file to be under way")
            applier.send_signal(signal.SIGKILL)
            applier.wait(PATIENCE_S)

    gone = "select count(*) from pg_stat_activity where application_name = 'aragora-persist' and datname = %r"
    wait_until(lambda: database.rows(gone % database.name) == [(0,)], "the server to see that its client is gone")
    assert (tables(database), database.history()) == ({"one"}, [("20300101000001", "first")])
    assert apply_schema(database.secret, folder=folder) == ("20300101000002_second",)
    assert tables(database) == {"one", "two"}


def test_a_table_that_somebody_holds_is_busy(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is bounded, and whoever waits behind the applier goes on."""
    monkeypatch.setattr("aragora_persist.cloud.schema.apply._LOCK_TIMEOUT", "set local lock_timeout = '100ms'")
    folder = write_migrations(tmp_path, first=ONE, second="alter table public.one add x int;")
    apply_schema(database.secret, folder=write_migrations(tmp_path / "before", first=ONE))

    with psycopg.connect(database.url) as holder:
        holder.execute("select * from public.one")
        with pytest.raises(BusyError, match="canceling statement due to lock timeout"):
            apply_schema(database.secret, folder=folder)

    assert database.history() == [("20300101000001", "first")]
    assert apply_schema(database.secret, folder=folder) == ("20300101000002_second",)


def test_a_connection_that_breaks_is_told_as_such(database: Database, tmp_path: Path) -> None:
    """Nothing of the file was kept, and another run does it."""
    text = f"{ONE} select pg_terminate_backend(pg_backend_pid());"

    with pytest.raises(UnreachableError, match=r"the connection broke: terminating .*run it again"):
        apply_schema(database.secret, folder=write_migrations(tmp_path, first=text))

    assert tables(database) == set()
    assert apply_schema(database.secret, folder=write_migrations(tmp_path, first=ONE)) == ("20300101000001_first",)


def test_what_fails_at_the_commit_names_its_file(database: Database, tmp_path: Path) -> None:
    """A deferred constraint, for example."""
    text = (
        "create table public.one (id int primary key, other int references one deferrable initially deferred);"
        "insert into public.one values (1, 2);"
    )

    with pytest.raises(MigrationError, match=r"_first.sql: insert or update on table .one. violates foreign key"):
        apply_schema(database.secret, folder=write_migrations(tmp_path, first=text))

    assert tables(database) == set()


def test_a_setting_of_one_file_does_not_reach_the_next(database: Database, tmp_path: Path) -> None:
    """Dumps set an empty search path, for example."""
    folder = write_migrations(tmp_path, first="select set_config('search_path', '', false)", second="create table t ()")

    assert len(apply_schema(database.secret, folder=folder)) == 2
    assert tables(database) == {"t"}


def test_edited_unknown_and_late_files_are_refused(database: Database, tmp_path: Path) -> None:
    """Before anything is applied, also when nothing is pending."""
    folder = write_migrations(tmp_path, first=ONE, second=TWO)
    [first, second] = sorted((folder / "migrations").iterdir())
    apply_schema(database.secret, folder=folder)

    second.write_text("create table public.two (id bigint);")
    with pytest.raises(MigrationError, match=r"20300101000002_second: was applied to .*, and is another text now"):
        apply_schema(database.secret, folder=folder)

    second.unlink()
    with pytest.raises(SchemaTooNewError, match="has migrations that this release does not: 20300101000002_second"):
        apply_schema(database.secret, folder=folder)

    second.write_text(TWO)
    first.with_name("20300101000000_older.sql").write_text("create table public.older ();")
    with pytest.raises(MigrationError, match="20300101000000_older: is older than 20300101000002_second"):
        apply_schema(database.secret, folder=folder)

    assert tables(database) == {"one", "two"}
    assert inspect_schema(database.secret, folder=folder).late == ("20300101000000_older",)


@pytest.mark.parametrize(
    ("by_hand", "line"),
    [
        (
            "alter table nomic_cycles add extra integer",
            "public.nomic_cycles: column extra integer is there, no migration makes it",
        ),
        ("alter table nomic_cycles drop stage", "public.nomic_cycles: column stage text not null is missing"),
        (
            "alter table nomic_cycles alter git_commit set not null",
            "public.nomic_cycles: column git_commit is text not null, the migrations make it text",
        ),
        (
            "alter table cycle_evolution drop constraint cycle_evolution_natural_key",
            "public.cycle_evolution: constraint cycle_evolution_natural_key UNIQUE (loop_id, cycle_number) is missing",
        ),
        (
            "create index by_hand on stream_events (agent)",
            "public.stream_events: index by_hand CREATE INDEX by_hand ON public.stream_events USING btree (agent) is ",
        ),
        ("drop trigger keep_newest_revision on nomic_cycles", "public.nomic_cycles: trigger keep_newest_revision "),
        ("alter table nomic_cycles disable trigger all", "public.nomic_cycles: trigger keep_newest_revision is "),
        ("create rule nothing as on delete to nomic_cycles do instead nothing", "public.nomic_cycles: rule nothing "),
        (
            "alter table agent_metrics disable row level security",
            "public.agent_metrics: row level security is disabled, the migrations make it enabled",
        ),
        (
            "create policy everyone on agent_metrics for select to anon using (true)",
            "public.agent_metrics: policy everyone permissive for select to anon using (true) is there, ",
        ),
        (
            "grant select on agent_metrics to anon",
            "public.agent_metrics: grant of SELECT to anon is there, no migration makes it",
        ),
        (
            "grant update (model) on agent_metrics to public",
            "public.agent_metrics: grant of UPDATE (model) to PUBLIC is there, no migration makes it",
        ),
        (
            "revoke insert on agent_metrics from service_role",
            "public.agent_metrics: grant of INSERT to service_role is missing",
        ),
        (
            "alter table agent_metrics set unlogged",
            "public.agent_metrics: table is unlogged, the migrations make it logged",
        ),
        ("alter publication supabase_realtime drop table stream_events", "public.stream_events: publication "),
        ("drop table cycle_file_changes", "public.cycle_file_changes: is missing"),
        (
            "alter function loop_summary(text) security definer",
            "public.loop_summary(p_loop_id text): definition is not the one that the migrations make",
        ),
        (
            "create function agent_stats(p_loop_id integer) returns integer language sql return 1",
            "public.agent_stats(p_loop_id integer): is there, no migration makes it",
        ),
        (
            "grant execute on function agent_stats(text) to anon",
            "public.agent_stats(p_loop_id text): grant of EXECUTE to anon is there, no migration makes it",
        ),
    ],
)
def test_drift_is_named(applied: Database, by_hand: str, line: str) -> None:
    """Whatever was changed by hand, one line says so."""
    with psycopg.connect(applied.url) as connection:
        connection.execute(by_hand.encode())
        drift = differences(load_catalog(shipped_folder(), SHIPPED[-1][:14]), read_catalog(connection))
        connection.rollback()

    assert len(drift) == 1
    assert drift[0].startswith(line)


def test_nothing_is_applied_over_drift(database: Database, tmp_path: Path) -> None:
    """It is named; undone by hand, the next run goes on."""
    shipped = shipped_folder()
    folder = write_migrations(tmp_path)
    for path in (*(shipped / "migrations").iterdir(), *(shipped / "catalog").iterdir()):
        (folder / path.relative_to(shipped)).write_text(path.read_text())
    apply_schema(database.secret, folder=folder)
    # A project may hold more than this schema; that is none of its business.
    database.do("create table public.theirs (id int); create function public.mine() returns int language sql return 1")
    assert inspect_schema(database.secret, folder=folder).drift == ()
    database.do("alter table nomic_cycles add extra integer")
    write_migrations(folder, next=ONE)

    with pytest.raises(MigrationError, match=r"column extra integer is there, no migration makes it .*undo it by hand"):
        apply_schema(database.secret, folder=folder)

    assert "one" not in tables(database)
    database.do("alter table nomic_cycles drop extra")
    assert apply_schema(database.secret, folder=folder) == ("20300101000001_next",)


def test_a_file_without_its_catalog_is_not_applied(database: Database, tmp_path: Path) -> None:
    """Whoever wrote it is told how to make that."""
    folder = write_migrations(tmp_path, first=ONE)
    (folder / "catalog" / "20300101000001.json").unlink()

    with pytest.raises(MigrationError, match=r"20300101000001.json: is missing or damaged \(make catalog"):
        apply_schema(database.secret, folder=folder)

    assert tables(database) == set()


def test_refused_logins_and_missing_rights_are_told_apart(supabase: LocalSupabase, database: Database) -> None:
    """Each with its way out, and none with the password."""
    word = supabase.passwords["postgres"]
    wrong = Secret(database.url.replace(word, "hunter2"))
    authenticator = Secret(
        database.url.replace("postgres:" + word, "authenticator:" + supabase.passwords["authenticator"])
    )

    with pytest.raises(AccessDeniedError, match="password authentication failed") as denied:
        apply_schema(wrong)
    with pytest.raises(NotFoundError, match='database "nowhere" does not exist'):
        apply_schema(Secret(database.url.replace(database.name, "nowhere")))
    with pytest.raises(AccessDeniedError, match=r"permission denied .*role postgres"):
        apply_schema(authenticator)

    assert "hunter2" not in f"{denied.value}{denied.value.__cause__}"
    assert database.rows("select to_regnamespace('supabase_migrations') is null") == [(True,)]


def test_postgrest_is_told_to_read_the_schema_again(database: Database, tmp_path: Path) -> None:
    """With each file, when it is committed."""
    with psycopg.connect(database.url, autocommit=True) as listener:
        listener.execute("listen pgrst")
        apply_schema(database.secret, folder=write_migrations(tmp_path, first=ONE))

        assert "reload schema" in [notice.payload for notice in listener.notifies(timeout=PATIENCE_S, stop_after=1)]
