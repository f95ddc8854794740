"""Backups of the Supabase half, in the image that takes them, of a real Supabase: each is put back and compared."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from aragora_persist.cloud.schema import apply_schema
from aragora_persist.cloud.schema.folder import load, shipped_folder
from tests.age_identities import make_identity
from tests.schema_databases import Database, new_database
from tests.supabase_backups import BACKUPS, SMALL, BackupBox, Project, Said
from tests.supabase_stack import Engine
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from tests.supabase_stack import LocalSupabase

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

SURROUNDINGS, ODD_TABLES = (
    Path(__file__).with_name(f"{name}.sql").read_text() for name in ("surroundings", "odd_tables")
)
OF_AN_EMPTY_PROJECT = """
create publication supabase_realtime;
-- As projects of before had it.
alter default privileges in schema public grant all on tables to anon, authenticated;
alter default privileges in schema public grant execute on functions to anon;
"""
NEWEST = int(load(shipped_folder())[-1].version)


@pytest.fixture(scope="module")
def box(docker_engine: docker.DockerClient, supabase: LocalSupabase) -> Iterator[BackupBox]:
    """Give the container that backs up."""
    with Engine(docker_engine) as engine:
        yield BackupBox(engine, supabase)


@pytest.fixture
def project(box: BackupBox, database: Database) -> Iterator[Project]:
    """Give a database with the schema, and no backups of it."""
    apply_schema(database.secret)
    yield Project(box, database)
    box.empty()


def test_a_backup_holds_everything_and_brings_it_back(
    project: Project, supabase: LocalSupabase, tmp_path: Path
) -> None:
    """Odd names, types, rows, rights and references, encrypted and drilled, end up in an empty project as they were."""
    project.database.do(SURROUNDINGS + ODD_TABLES)
    recipient = make_identity(tmp_path / "identity")
    text = (tmp_path / "identity").read_text()
    project.box.run("sh", "-c", 'umask 077; printf %s "$1" > /tmp/identity', "write", text, env={})
    keys = {
        "ARAGORA_BACKUP_COMPRESSION": "zstd",
        "ARAGORA_BACKUP_RECIPIENTS": recipient,
        "ARAGORA_BACKUP_IDENTITY_FILE": "/tmp/identity",  # noqa: S108 - the container's own
    }
    entry = project.backed_up(**keys)
    rows = {name: table["rows"] for name, table in entry["tables"].items()}

    assert (entry["database"], entry["schema_version"], entry["method"][:11]) == ("supabase", NEWEST, "pg_dump 17.")
    assert entry["file"].endswith(".dump.zst.age")
    assert rows == {name: project.database.rows(f"select count(*) from only {name}")[0][0] for name in rows}
    assert {name for (name,) in project.database.rows(_TABLES)} == set(rows)
    assert (rows['public."Odd ""one"", with.dots"'], rows["public.without_rows"], rows["public.parted_1"]) == (3, 0, 2)
    project.box.run("rm", f"{BACKUPS}/catalog.jsonl", env={})
    assert f"Listed again: {entry['id']}\n" in project.persist("backups", "--rebuild", **keys).out
    [rebuilt] = project.entries()
    assert [rebuilt[key] for key in _OF_THE_FILE] == [entry[key] for key in _OF_THE_FILE]
    drill = project.persist("drill", "--db", "supabase", "--json", **keys)
    assert drill.code == 0, drill.err
    status = project.persist("status", "--json").document
    assert (status["supabase_backup"]["id"], status["supabase_drill"]["ok"]) == (entry["id"], True)
    assert re.search(rf"^supabase +- +- +.* ago \({entry['id']}\)", project.persist("status").out, re.MULTILINE)
    with new_database(supabase) as empty:
        empty.do(SURROUNDINGS + OF_AN_EMPTY_PROJECT)
        restored = project.persist("supabase", "restore", "--json", **keys, SUPABASE_DB_URL=project.inside(empty))
        assert restored.document == {
            "backup": entry["id"],
            "database": f"127.0.0.1:5432/{empty.name}",
            "tables": len(rows),
            "rows": sum(rows.values()),
            "replaced": [],
        }
        assert _without_defaults(project.sql(empty)) == project.sql()
        assert empty.rows(_FOLLOWED) == project.database.rows(_FOLLOWED)
    _check_a_flipped_bit_is_found(project, entry, keys)


def _check_a_flipped_bit_is_found(project: Project, entry: dict[str, Any], keys: dict[str, str]) -> None:
    """By a drill, and by a restore, which then leaves the project alone."""
    flip = "import sys, mmap; f = open(sys.argv[1], 'r+b'); mmap.mmap(f.fileno(), 0)[-99] ^= 4"
    assert project.box.run("python3", "-c", flip, f"{BACKUPS}/{entry['file']}", env={}).code == 0
    for command in (["drill", "--db", "supabase"], ["supabase", "restore", "--replace"]):
        said = project.persist(*command, **keys)
        assert (said.code, "is damaged" in said.err or "is damaged" in said.out) == (1, True), said
    assert project.database.rows("select count(*) from pg_namespace where nspname like '%replaced%'") == [(0,)]


def test_a_project_with_tables_is_not_overwritten(project: Project) -> None:
    """It is refused and left alone; when it is asked for, what was there is moved aside, to the last row."""
    database = project.database
    database.do("create table public.mine (v int); insert into public.mine values (1)")
    database.do("alter publication supabase_realtime add table public.mine")
    project.backed_up()
    before = project.sql()
    database.do("insert into public.mine values (2); create function public.later() returns int return 1")
    database.do("create view public.later_view as select * from public.mine; create type public.later_type as enum ()")
    refused = project.persist("supabase", "restore")
    assert (refused.code, "--replace" in refused.err) == (1, True)
    assert database.rows("select sum(v) from public.mine") == [(3,)]
    done = project.persist("supabase", "restore", "--replace", "--json").document
    assert project.sql() == before
    public, history = done["replaced"]
    assert database.rows(f'select (select sum(v) from "{public}".later_view), "{public}".later()') == [(3, 1)]
    assert database.rows(f'select count(*) from "{history}".schema_migrations') == [(len(load(shipped_folder())),)]
    assert {table for (table,) in database.rows(_FOLLOWED)} == {
        *("public.mine", "public.nomic_cycles", "public.stream_events")
    }


def test_a_dump_is_a_file_of_its_own_too(project: Project) -> None:
    """`restore supabase --to` gives it, once; elsewhere it is put in without any catalog, and a wrong byte is told."""
    project.backed_up()
    before = project.sql()
    dump = f"{BACKUPS}/copy"
    assert project.persist("restore", "supabase", "--to", dump).code == 0
    again = project.persist("restore", "supabase", "--to", dump)
    assert (again.code, "exists and is not overwritten" in again.err) == (1, True)
    project.database.do("drop schema public cascade; drop schema supabase_migrations cascade; create schema public")
    project.box.run("sh", "-c", f"head -c 30000 {dump} > {dump}.half; rm {BACKUPS}/supabase_* {BACKUPS}/cat*", env={})
    half = project.persist("supabase", "restore", f"{dump}.half")
    assert half.code == 1
    assert project.database.rows("select count(*) from pg_tables where schemaname = 'public'") == [(0,)]
    project.database.do("grant usage on schema public to anon, authenticated, service_role")
    assert project.persist("supabase", "restore", dump).code == 0
    assert _rows_and_tables(project.sql()) == _rows_and_tables(before)


def test_rows_that_come_meanwhile_are_in_all_tables_or_in_none(project: Project) -> None:
    """Two tables that are always written together are together in the backup."""
    project.database.do("create table public.one (v int); create table public.other (v int)")
    stop = Event()

    def write() -> None:
        with psycopg.connect(project.database.url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("with o as (insert into public.one values (1)) insert into public.other values (1)")

    writer = Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: project.database.rows("select count(*) from public.one")[0][0] > 10, "the first rows")
        tables = project.backed_up()["tables"]
    finally:
        stop.set()
        writer.join()
    assert tables["public.one"]["rows"] == tables["public.other"]["rows"] > 10
    assert project.database.rows("select count(*) from public.one")[0][0] > tables["public.one"]["rows"]


def test_what_cannot_be_backed_up_is_told_and_not_listed(project: Project) -> None:
    """The error names what is wrong and no password; nothing is listed, and nothing is left."""
    url = "postgresql://postgres:not-the-one@127.0.0.1"
    for env, told in (
        ({"SUPABASE_DB_URL": f"{url}/postgres"}, "password authentication failed"),
        ({"SUPABASE_DB_URL": f"{url}:6543/postgres"}, "session pooler"),
        ({"SUPABASE_DB_URL": f"{url}/postgres?sslmode=require"}, "SSL"),
        ({"SUPABASE_DB_URL": ""}, "SUPABASE_DB_URL: is not set"),
        ({"ARAGORA_BACKUP_DIR": SMALL}, "No space left on device"),
        ({"TMPDIR": SMALL}, "No space left on device"),
    ):
        said = project.persist("backup", "--db", "supabase", **env)
        assert (said.code, said.out, told in said.err, "way out" in said.err) == (1, "", True, True), said.err
        assert "not-the-one" not in said.err
        assert project.password not in said.err
    assert project.entries() == []
    assert project.box.run("sh", "-c", f"ls -A {BACKUPS} {SMALL} /tmp | grep -e supabase -e pg-", env={}).out == ""


def test_a_dump_that_is_not_whole_is_never_listed(project: Project) -> None:
    """Whether pg_dump is killed, leaves rows out, or says that all is well when it is not."""
    project.database.do(_A_CYCLE)
    cut = 'for last; do case $last in --file=*) truncate -s 40000 "${last#--file=}"; esac; done'
    for script, told in (
        ('ulimit -c 0; ulimit -f 16; exec $real "$@"', "ended by signal 25"),
        ('$real "$@" && kill -9 $$', "ended by signal 9"),
        ('exec $real --exclude-table-data=public.nomic_cycles "$@"', "were dumped: public.nomic_cycles"),
        (f'$real "$@"; {cut}', "end of file"),
    ):
        said = project.persist("backup", "--db", "supabase", **project.box.program("pg_dump", script))
        assert (said.code, said.out, told in said.err) == (1, "", True), said.err
    assert project.entries() == []


def test_a_table_made_with_what_no_backup_holds_is_told(project: Project) -> None:
    """What it lacks is named, since nothing would bring its rows back without that."""
    project.database.do("create schema other; create type other.kind as enum (); create table public.t (v other.kind)")
    said = project.persist("backup", "--db", "supabase")
    told = 'public.t: cannot be tried out, and so not backed up: schema "other" does not exist'
    assert (said.code, said.out, told in said.err, "way out" in said.err) == (1, "", True, True), said.err
    assert project.entries() == []


def test_a_role_without_rights_is_told_by_table(project: Project) -> None:
    """So that whoever runs it knows what to grant; policies that hide rows are refused too."""
    role = f"backup_{project.database.name}"
    project.database.do(
        f"create role {role} login password 'enough'; grant usage on schema public, supabase_migrations to {role};"
        f"grant select on all tables in schema public to {role}; revoke select on public.agent_metrics from {role};"
        f"grant select on supabase_migrations.schema_migrations to {role}"
    )
    url = f"postgresql://{role}:enough@127.0.0.1/{project.database.name}"
    try:
        failed = project.persist("backup", "--db", "supabase", SUPABASE_DB_URL=url)
        assert (failed.code, "public.agent_metrics: this role may not read it" in failed.err) == (1, True), failed.err
        project.database.do(f"grant select on public.agent_metrics to {role}")
        failed = project.persist("backup", "--db", "supabase", SUPABASE_DB_URL=url)
        assert (failed.code, "row-level security" in failed.err) == (1, True), failed.err
    finally:
        project.database.do(f"grant {role} to postgres; drop owned by {role}; drop role {role}")


def test_a_server_that_goes_away_in_the_middle_is_told(project: Project) -> None:
    """Nothing is listed, and no program goes on."""
    failed: list[Said] = []
    run = Thread(target=lambda: failed.append(project.persist("backup", "--db", "supabase")))
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    project.database.do("create table public.parted (v int) partition by list (v)")
    with psycopg.connect(project.database.url) as holder:
        holder.execute("lock table public.parted in access exclusive mode")  # of which only pg_dump takes notice
        run.start()
        wait_until(lambda: project.database.rows(waiting) == [(1,)], "pg_dump to wait")
        project.database.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'aragora-persist'"
        )
        run.join()
    assert (failed[0].code, "way out: is the server running?" in failed[0].err) == (1, True), failed[0].err
    assert project.box.processes("pg_dump") == []
    assert project.entries() == []


def test_a_kill_leaves_no_server_and_no_backup(project: Project) -> None:
    """The server that a dump is tried out in ends with the process that started it, and its folder goes."""
    slow = project.box.program("pg_restore", 'case "$*" in *--jobs*) touch /tmp/begun; sleep 60; esac; exec $real "$@"')
    project.box.start("backup", "--db", "supabase", env={**project.env, **slow})
    project.box.wait_for("test", "-e", "/tmp/begun")  # noqa: S108 - the container's own
    assert project.box.processes("aragora-pg-") != []
    project.box.run("pkill", f"-{signal.SIGKILL.value}", "-f", "aragora_persist backup", env={})
    wait_until(lambda: project.box.processes("aragora-pg-") == [], "the server to end")
    project.box.wait_for("sh", "-c", "! ls -d /tmp/aragora-pg-*")
    assert project.entries() == []


def test_an_older_client_is_refused_with_the_way_out(box: BackupBox) -> None:
    """A dump of a newer server than the client knows would miss what is new."""
    code = "from aragora_persist.backup.supabase.programs import find_programs; find_programs(99)"
    said = box.run("python3", "-c", code, env={})
    assert (said.code, "only of version 17." in said.err, "postgresql-99" in said.err) == (1, True, True)


def test_the_image_can_try_out_vectors(box: BackupBox) -> None:
    """The extension of hosted projects that no PostgreSQL brings along: without it a table with vectors is refused."""
    assert box.run("test", "-e", "/usr/share/postgresql/17/extension/vector.control", env={}).code == 0


_OF_THE_FILE = ("id", "file", "tables", "schema_version", "sha256", "plain_sha256", "recipients")
_TABLES = """
select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'supabase_migrations') and c.relkind = 'r'
"""
_FOLLOWED = """
select format('%I.%I', schemaname, tablename) from pg_publication_tables
 where pubname = 'supabase_realtime' order by 1
"""
_A_CYCLE = """
insert into public.nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, revision)
values (gen_random_uuid(), 'loop', 1, 'design', 'proposing', now(), 1)
"""


def _without_defaults(statements: list[str]) -> list[str]:
    """Leave out what the project grants by default: that is its own."""
    return [
        line for line in statements if not line.startswith(("ALTER DEFAULT PRIVILEGES", "GRANT USAGE ON SCHEMA public"))
    ]


def _rows_and_tables(statements: list[str]) -> list[str]:
    return [line for line in statements if "SCHEMA public" not in line]
