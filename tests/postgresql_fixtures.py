"""One PostgreSQL server for the tests of a run, of the tier's own image; each database is a new schema in it."""

from __future__ import annotations

import secrets
from collections import defaultdict
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.supabase_stack import (
    ROLES_WITH_PASSWORDS,
    Engine,
    connects,
    data_mounted,
    database_url,
    mounted,
    password_files,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest_plugins = ("tests.image_fixtures",)


# Making a schema anew takes a tenth of a second; this is a fiftieth of that.
_EMPTY = """
DO $$
DECLARE kept record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR kept IN SELECT oid::regclass AS name, relkind FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'S') AND relname <> 'schema_version'
    LOOP
        IF kept.relkind = 'r' THEN
            EXECUTE format('DELETE FROM %s', kept.name);
        ELSE
            EXECUTE format('ALTER SEQUENCE %s RESTART', kept.name);
        END IF;
    END LOOP;
END $$
"""


class PostgresqlServer:
    """A running server."""

    def __init__(self, engine: Engine) -> None:
        self._free: defaultdict[str, list[str]] = defaultdict(list)
        passwords = {role: secrets.token_urlsafe(24) for role in ROLES_WITH_PASSWORDS}
        files = engine.secret_files("db", "postgres", password_files(passwords))
        container = engine.container(
            "db",
            "postgres",
            ports={"5432/tcp": ("127.0.0.1", None)},
            volumes={**mounted(files), **data_mounted(engine.volume("data"))},
        )
        container.start()
        self.password = passwords["postgres"]
        self.address = database_url(container, "postgres", self.password)
        wait_until(lambda: connects(self.address), "the server to answer", every_s=0.02)
        admin_address = database_url(container, "supabase_admin", passwords["supabase_admin"])
        self.admin = psycopg.connect(admin_address, autocommit=True)
        self.do("ALTER SYSTEM SET fsync = off")  # what it holds is needed no longer than it runs
        self.do("SELECT pg_reload_conf()")

    def new_schema(self) -> str:
        """Return a name that no schema has."""
        return f"test_{secrets.token_hex(6)}"

    def take_schema(self, database: str) -> str:
        """Return the name of a schema that is empty, or not there yet, for a database of this name."""
        free = self._free[database]
        return free.pop() if free else self.new_schema()

    def give_schema(self, database: str, schema: str) -> None:
        """Take the schema back for the next test, as it was when it was new."""
        self.do(_EMPTY.format(schema=schema))
        self._free[database].append(schema)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return what a query of the superuser answers."""
        return self.admin.execute(sql.encode()).fetchall()

    def do(self, sql: str) -> None:
        """Run a statement as the superuser."""
        self.admin.execute(sql.encode())

    def do_as_user(self, sql: str) -> None:
        """Run statements as the user of the address, who then owns what they make."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(sql.encode())


@pytest.fixture(scope="session")
def postgresql(docker_engine: docker.DockerClient) -> Iterator[PostgresqlServer]:
    """Give a running server."""
    with Engine(docker_engine) as engine:
        server = PostgresqlServer(engine)
        yield server
        server.admin.close()


@pytest.fixture
def schema(postgresql: PostgresqlServer) -> Iterator[str]:
    """Give the name of a schema that is not there, and drop it in the end."""
    name = postgresql.new_schema()
    yield name
    postgresql.do(f"DROP SCHEMA IF EXISTS {name} CASCADE")
