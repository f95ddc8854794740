"""The database image: what a new cluster holds, what a start refuses, and what a kill leaves."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.cloud.schema.apply import apply_schema, inspect_schema
from aragora_persist.settings import Secret
from tests.supabase_stack import (
    DATABASE_FOLDER,
    ROLES_WITH_PASSWORDS,
    Engine,
    connects,
    data_mounted,
    database_url,
    mounted,
    password_files,
)
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker
    from docker.models.containers import Container

pytest_plugins = ("tests.image_fixtures",)
pytestmark = pytest.mark.engine

# Whatever a password holds, it is a password.
PASSWORDS = {role: f'{role}\'s \\ "$word" -- ü;' for role in ROLES_WITH_PASSWORDS}
KILLS_AFTER_S = (0.2, 0.5, 0.9, 0.3)
"""Most of them fall into a first start, the last into a later one."""


@pytest.fixture
def engine(docker_engine: docker.DockerClient) -> Iterator[Engine]:
    """Give what makes containers and volumes, and takes them away."""
    with Engine(docker_engine) as made:
        yield made


@pytest.fixture(scope="module")
def database(docker_engine: docker.DockerClient) -> Iterator[_Database]:
    """Give a running database for the tests that leave it as it was."""
    with Engine(docker_engine) as made:
        running = _Database(made, "db")
        running.start()
        yield running


class _Database:
    """A database on a volume; several may be made on one."""

    def __init__(
        self,
        engine: Engine,
        part: str,
        *,
        volume: str | None = None,
        files: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        self.volume = volume or engine.volume(part)
        self.client = engine.client
        self._engine = engine
        self._files = engine.secret_files(part, "postgres", password_files(PASSWORDS) if files is None else files)
        self.container: Container = engine.container(
            part,
            "postgres",
            ports={"5432/tcp": ("127.0.0.1", None)},
            volumes={**mounted(self._files), **data_mounted(self.volume)},
            **more,
        )

    def url(self, role: str = "supabase_admin", password: str | None = None) -> str:
        return database_url(self.container, role, PASSWORDS[role] if password is None else password)

    def start(self) -> None:
        """Start, and wait until it answers; fail with its last words when it ends instead."""
        self.container.start()

        def decided() -> bool:
            self.container.reload()
            return self.container.status == "exited" or connects(self.url())

        wait_until(decided, "the database to answer")
        assert self.container.status == "running", self.log()

    def refuses(self) -> str:
        """Start, wait for its end, and return what it said."""
        self.container.start()
        assert self.container.wait(timeout=PATIENCE_S)["StatusCode"] == 1, self.log()
        return self.log()

    def write_secrets(self, files: Mapping[str, str]) -> None:
        self._engine.write_secret_files(self._files, "postgres", files)

    def run(self, *command: str) -> str:
        code, output = self.container.exec_run(list(command))
        assert isinstance(output, bytes)
        assert code == 0, output.decode()
        return output.decode()

    def log(self) -> str:
        return self.container.logs().decode()

    def query(self, sql: str, role: str = "supabase_admin") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(role)) as connection:
            return connection.execute(sql.encode()).fetchall()

    def execute(self, sql: str, role: str = "supabase_admin") -> None:
        with psycopg.connect(self.url(role)) as connection:
            connection.execute(sql.encode())


def test_roles_and_rights_are_as_hosted(database: _Database) -> None:
    """What works with these roles here works there, and nothing is anybody's by itself."""
    attributes = "rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin, rolinherit"
    found = {
        str(name): "".join("+" if each else "-" for each in flags)
        for name, *flags in database.query(f"SELECT rolname, {attributes} FROM pg_roles WHERE rolname !~ '^pg_'")
    }
    assert found == {
        "supabase_admin": "+++++++",
        "postgres": "-++++++",
        "authenticator": "-----+-",
        "anon": "-------",
        "authenticated": "-------",
        "service_role": "-+-----",
    }
    limits = database.query("SELECT rolname, rolconfig FROM pg_roles WHERE rolconfig IS NOT NULL ORDER BY rolname")
    assert limits == [
        ("anon", ["statement_timeout=3s"]),
        ("authenticated", ["statement_timeout=8s"]),
        ("authenticator", ["statement_timeout=8s", "lock_timeout=8s"]),
        ("postgres", ['search_path="$user", public, extensions']),
        ("service_role", ["statement_timeout=8s"]),
    ]
    assert database.query("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'postgres'") == [
        ("postgres",)
    ]
    assert database.query("SELECT * FROM pg_default_acl") == []
    assert database.query("SELECT pubname, pg_get_userbyid(pubowner) FROM pg_publication") == [
        ("supabase_realtime", "postgres")
    ]
    assert database.query("SHOW wal_level") == [("logical",)]
    assert database.query("SHOW data_checksums") == [("on",)]


def test_a_new_table_is_nobody_s_until_it_is_granted(database: _Database) -> None:
    """Without a grant not even service_role reads it; with one it does, whatever row security says."""
    database.execute(
        "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1); ALTER TABLE kept ENABLE ROW LEVEL SECURITY;",
        "postgres",
    )
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.query(f"SET ROLE {role}; SELECT * FROM kept", "authenticator")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.query("SELECT * FROM kept", "authenticator")
    database.execute("GRANT SELECT ON kept TO service_role, anon", "postgres")
    with psycopg.connect(database.url("authenticator")) as connection:
        counts = {}
        for role in ("anon", "service_role"):
            connection.execute(f"SET ROLE {role}".encode())
            counts[role] = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert counts == {"anon": (0,), "service_role": (1,)}
    database.execute("DROP TABLE kept")


def test_the_owner_of_the_schema_works_without_being_a_superuser(database: _Database) -> None:
    """`postgres` makes extensions that the tests and linters of a schema want, and reads no file of the server."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("CREATE EXTENSION pgtap WITH SCHEMA extensions")
        connection.execute("CREATE EXTENSION IF NOT EXISTS plpgsql_check")
        assert connection.execute("SELECT plan(1)").fetchall() == [("1..1",)]
        connection.rollback()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.query("SELECT pg_read_file('/etc/passwd')", "postgres")


def test_nobody_connects_without_a_password(database: _Database) -> None:
    """Over TCP every role needs its own; roles without one do not get in; an empty one is none."""
    assert [role for role in ROLES_WITH_PASSWORDS if connects(database.url(role))] == list(ROLES_WITH_PASSWORDS)
    for role in (*ROLES_WITH_PASSWORDS, "anon", "service_role"):
        assert not connects(database_url(database.container, role, "wrong"))
        assert not connects(database_url(database.container, role, ""))


def test_a_changed_password_holds_from_the_next_start_on(engine: Engine) -> None:
    """The secret files decide, not the volume: the new one opens, the old one no longer does, and data stays."""
    database = _Database(engine, "db")
    database.start()
    database.execute("CREATE TABLE kept AS SELECT 1 AS n")
    database.write_secrets({"authenticator_password": "another\n"})
    database.container.kill()
    database.start()
    assert connects(database.url("authenticator", "another"))
    assert not connects(database.url("authenticator"))
    assert database.query("SELECT n FROM kept") == [(1,)]


def test_passwords_show_nowhere(engine: Engine) -> None:
    """Neither the log, nor an argument, nor an environment holds one, also where all statements are logged."""
    database = _Database(engine, "db")
    database.start()
    database.execute("ALTER DATABASE postgres SET log_statement = 'all'")
    with psycopg.connect(database.url(), autocommit=True) as connection:
        for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_min_messages = 'debug2'"):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    database.container.kill()
    database.start()
    assert not connects(database.url("authenticator", "wrong"))
    everywhere = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    seen = database.run("bash", "-c", everywhere) + database.log() + str(database.container.attrs)
    assert "ALTER SYSTEM" in seen
    assert [role for role, password in PASSWORDS.items() if password in seen] == []
    assert "SCRAM-SHA-256" not in seen


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"supabase_admin_password": "x"}, "/run/secrets/aragora/postgres_password cannot be read"),
        ({**password_files(PASSWORDS), "authenticator_password": ""}, "authenticator_password is empty"),
        ({**password_files(PASSWORDS), "postgres_password": "a\nb"}, "password of postgres has more than one line"),
    ],
)
def test_a_start_without_its_secrets_is_refused(engine: Engine, files: dict[str, str], problem: str) -> None:
    """It says which one it misses, and has touched nothing."""
    database = _Database(engine, "db", files=files)
    assert problem in database.refuses()
    looks = _Database(engine, "looks", volume=database.volume, entrypoint=["ls", "-A", DATABASE_FOLDER])
    looks.container.start()
    looks.container.wait(timeout=PATIENCE_S)
    assert looks.log() == ""


def test_a_volume_of_another_major_is_refused_and_the_way_out_works(engine: Engine) -> None:
    """The message names both versions; its commands bring everything into a new volume; the old one is as it was."""
    old = _Database(engine, "old")
    old.start()
    apply_schema(Secret(old.url("postgres")))
    old.execute("CREATE TABLE public.kept AS SELECT n, 'zeile ü' AS text FROM generate_series(1, 100) n", "postgres")
    old.container.stop()
    _in_volume(engine, old.volume, "echo 15 > cluster/PG_VERSION")
    said = old.refuses()
    assert "holds a cluster of PostgreSQL 15, this image runs PostgreSQL 17; nothing was changed" in said
    _in_volume(engine, old.volume, "echo 17 > cluster/PG_VERSION")
    old.start()
    dump, restore = (shlex.split(line) for line in said.splitlines() if line.startswith("  docker exec"))
    assert (dump[:3], dump[-2:]) == (["docker", "exec", "OLD"], [">", "dump.sql"])
    assert (restore[:4], restore[-2:]) == (["docker", "exec", "--interactive", "NEW"], ["<", "dump.sql"])
    new = _Database(engine, "new")
    new.start()
    new.run("bash", "-c", f"{shlex.join(restore[4:-2])} << 'END OF DUMP'\n{old.run(*dump[3:-2])}\nEND OF DUMP\n")
    rows = "SELECT n, text FROM public.kept ORDER BY n"
    assert new.query(rows) == old.query(rows)
    state = inspect_schema(Secret(new.url("postgres")))
    assert (state.pending, state.edited, state.unknown, state.drift) == ((), (), (), ())


def test_a_volume_of_something_else_is_refused(engine: Engine) -> None:
    """An empty cluster is never made beside data that it does not know."""
    database = _Database(engine, "db")
    _in_volume(engine, database.volume, "mkdir data && echo 17 > data/PG_VERSION")
    assert "holds no cluster of this image, but /var/lib/postgresql/data" in database.refuses()
    assert _in_volume(engine, database.volume, "find . -type f") == "./data/PG_VERSION\n"


def test_a_start_that_cannot_set_a_password_is_refused(engine: Engine) -> None:
    """A role that is not there ends it: nobody is let in with a password of before."""
    first = _Database(engine, "first")
    first.start()
    first.container.stop()
    environment = {"POSTGRES_USER": "nobody", "POSTGRES_PASSWORD": "a password"}
    second = _Database(engine, "second", volume=first.volume, environment=environment)
    said = second.refuses()
    assert 'role "nobody" does not exist' in said
    assert "a password" not in said


def test_a_setting_of_the_volume_keeps_nobody_out(engine: Engine) -> None:
    """A start sets the passwords whatever was set for all sessions: read-only for example, while a disk was full."""
    database = _Database(engine, "db")
    database.start()
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET password_encryption = 'md5'")
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    database.write_secrets({"authenticator_password": "another"})
    database.container.kill()
    database.start()
    assert connects(database.url("authenticator", "another"))


def test_a_volume_has_one_server(engine: Engine) -> None:
    """A second container on the volume is refused while the first one runs, and starts after it."""
    first = _Database(engine, "first")
    first.start()
    second = _Database(engine, "second", volume=first.volume)
    assert "another container runs on this volume" in second.refuses()
    assert first.query("SELECT 1") == [(1,)]
    first.container.kill()
    second.start()
    assert second.query("SELECT 1") == [(1,)]


def test_a_stop_ends_sessions_and_leaves_a_clean_cluster(engine: Engine) -> None:
    """The engine's stop signal reaches the server itself, which does not wait for its clients."""
    database = _Database(engine, "db")
    database.start()
    with psycopg.connect(database.url()) as idle:
        idle.execute("SELECT 1")
        database.container.stop(timeout=int(PATIENCE_S))
        assert database.container.wait()["StatusCode"] == 0
        idle.close()
    assert "database system is shut down" in database.log()


def test_it_runs_without_any_right(database: _Database) -> None:
    """Its own user, a root that cannot be written, and healthy as its image defines it."""
    # The engine can lose what a command says that ends at once.
    wait_until(lambda: database.run("id", "-u").strip() == "10001", "its own user")
    assert database.run("bash", "-c", "touch /x 2>&1 || true").endswith("Read-only file system\n")
    check = database.client.images.get(database.container.attrs["Image"]).attrs["Config"]["Healthcheck"]
    assert database.run(*check["Test"][1:]) == ""


def test_a_first_start_may_be_killed_at_any_instant(engine: Engine) -> None:
    """After any kill the next start makes a whole cluster: in the midst of making it, and at all times around that."""
    database = _Database(engine, "db")
    _kill_in_the_midst(database, ".unfinished")
    for delay in KILLS_AFTER_S:
        database.container.start()
        time.sleep(delay)  # no condition to wait for: any instant has to do
        database.container.kill()
        database.container.wait(timeout=PATIENCE_S)
    assert _is_whole(database)


def test_without_the_temporary_folder_a_kill_leaves_half_a_cluster(engine: Engine) -> None:
    """The test above would notice: a cluster that is made under its own name does not come up after a kill."""
    unprotected = """
        sed -e 's|^readonly unfinished=.*|readonly unfinished=/var/lib/postgresql/cluster|' -e '/^  mv /d' \
          /usr/local/bin/start-postgres > /tmp/start && exec bash /tmp/start"""
    database = _Database(engine, "db", entrypoint=["bash", "-c", unprotected])
    _kill_in_the_midst(database, "cluster")
    assert not _is_whole(database)


def test_a_start_can_be_stopped(engine: Engine) -> None:
    """The engine need not kill it: it ends by itself when told to, also before there is a server, and starts again."""
    database = _Database(engine, "db")
    _begin(database, ".unfinished")
    database.container.stop(timeout=int(PATIENCE_S))
    assert database.container.wait(timeout=PATIENCE_S)["StatusCode"] in {143, 0}
    assert _is_whole(database)


def _begin(database: _Database, folder: str) -> None:
    """Start, and wait only until there is a part of a cluster in a folder of the volume."""
    begun = ["test", "-e", f"{DATABASE_FOLDER}/{folder}/PG_VERSION"]
    database.container.start()
    wait_until(lambda: database.container.exec_run(begun).exit_code == 0, "the making of the cluster to begin")


def _kill_in_the_midst(database: _Database, folder: str) -> None:
    _begin(database, folder)
    database.container.kill()
    database.container.wait(timeout=PATIENCE_S)


def _is_whole(database: _Database) -> bool:
    """Start the database once more and look for the last thing that a first start makes."""
    try:
        database.start()
        made = database.query("SELECT count(*) FROM pg_event_trigger")
    except (AssertionError, psycopg.OperationalError):
        return False
    return made == [(2,)] and all(connects(database.url(role)) for role in ROLES_WITH_PASSWORDS)


def _in_volume(engine: Engine, volume: str, script: str) -> str:
    """Run a script in the volume of a database that does not run; return what it said."""
    container = engine.container(
        f"script-{time.monotonic_ns()}",
        "postgres",
        entrypoint=["bash", "-euc", script],
        working_dir=DATABASE_FOLDER,
        volumes=data_mounted(volume),
    )
    container.start()
    assert container.wait(timeout=PATIENCE_S)["StatusCode"] == 0, container.logs()
    return container.logs().decode()
