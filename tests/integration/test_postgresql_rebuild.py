"""``safe_add_column`` and ``rebuild_table`` in migrations on a real PostgreSQL: the same rules as with SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import (
    ConflictError,
    InvalidValueError,
    MigrationError,
    NotFoundError,
    PersistError,
    UnsupportedError,
)
from aragora_persist.migrations.folder import load
from aragora_persist.settings import Secret
from aragora_persist.storage.postgresql.connecting import Server
from aragora_persist.storage.postgresql.opening import migrated

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgresql_fixtures import PostgresqlServer

pytest_plugins = ("tests.postgresql_fixtures",)
pytestmark = pytest.mark.engine

TEAMS = "CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)"
USERS = """
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT UNIQUE, team_id INTEGER REFERENCES teams(id), chief TEXT REFERENCES users(id)
)
"""
KEYS = "CREATE TABLE keys (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE)"
INDEX = "CREATE INDEX idx_users_team ON users(team_id, email DESC) WHERE email IS NOT NULL"
ROWS = (
    "INSERT INTO teams (name) VALUES ('one'), ('two'), ('three')",
    "DELETE FROM teams WHERE id = 3",
    "INSERT INTO users VALUES ('a', 'a@x', 1, NULL), ('b', NULL, 2, 'a'), ('c', 'c@x', 2, 'a')",
    "INSERT INTO keys VALUES (1, 'a'), (2, 'c')",
)
NEW_USERS = USERS.replace("email TEXT", "role TEXT NOT NULL DEFAULT 'member', email TEXT").replace(
    "REFERENCES users(id)", "REFERENCES users(id) ON DELETE SET NULL"
)
NEW_TEAMS = "CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL CHECK (length(name) > 0))"


class Migrations:
    """A folder of migrations, and a schema on a server that they are applied to."""

    def __init__(self, server: PostgresqlServer, schema: str, folder: Path) -> None:
        self.server = server
        self.schema = schema
        self._folder = folder
        folder.mkdir()

    def apply(self, *statements: str) -> None:
        """Add a migration of these Python statements, and bring the schema up to date."""
        version = len(list(self._folder.iterdir())) + 1
        lines = [
            "from aragora_persist.storage.schema import rebuild_table, safe_add_column",
            "def upgrade(conn):",
            *(f"    {statement}" for statement in statements),
        ]
        (self._folder / f"{version:03d}_step.py").write_text("\n".join(lines) + "\n")
        place = Server(Secret(self.server.address), self.schema, 5)
        with place.connect("migrate") as connection, connection.transaction():
            migrated(connection, place, load(self._folder))

    def execute(self, *statements: str) -> None:
        """Add a migration that runs these statements."""
        self.apply(*(f"conn.execute({statement!r})" for statement in statements))

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return what a query answers; ``{s}`` is the schema."""
        return self.server.rows(sql.format(s=self.schema))

    def state(self) -> list[str]:
        """Return every column, constraint, index and sequence with its name, whatever their order."""
        parts = (
            (
                "SELECT table_name, column_name, data_type, collation_name, column_default, is_nullable, is_identity "
                "FROM information_schema.columns WHERE table_schema = '{s}'"
            ),
            (
                "SELECT conname, conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint "
                "WHERE connamespace = '{s}'::regnamespace"
            ),
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{s}'",
            "SELECT relname FROM pg_class WHERE relnamespace = '{s}'::regnamespace AND relkind = 'S'",
        )
        return sorted(str(row).replace(self.schema, "") for part in parts for row in self.rows(part))


@pytest.fixture
def migrations(postgresql: PostgresqlServer, schema: str, tmp_path: Path) -> Migrations:
    """Give three tables that refer to each other, with rows."""
    found = Migrations(postgresql, schema, tmp_path / "migrations")
    found.execute(TEAMS, USERS, KEYS, INDEX, *ROWS)
    return found


def test_a_column_is_added_once(migrations: Migrations) -> None:
    """The second time it is there; a default fills the rows."""
    add = "safe_add_column(conn, 'users', 'visits', 'INTEGER', '7')"
    migrations.apply(
        f"assert {add}", f"assert not {add}", "assert safe_add_column(conn, 'users', 'note', 'TEXT', 'NULL')"
    )
    migrations.apply(f"assert not {add}")
    assert migrations.rows("SELECT DISTINCT visits, note FROM {s}.users") == [(7, None)]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("safe_add_column(conn, 'users', 'team_id', 'TEXT')", ConflictError),
        ("safe_add_column(conn, 'nothing', 'a', 'TEXT')", NotFoundError),
        ("safe_add_column(conn, 'users', 'a', 'VARCHAR(10)')", UnsupportedError),
        ("rebuild_table(conn, 'nothing', 'CREATE TABLE nothing (id TEXT)')", NotFoundError),
        ("rebuild_table(conn, 'users', 'CREATE TABLE user (id TEXT)')", InvalidValueError),
        ("rebuild_table(conn, 'users', 'CREATE TABLE users (id TEXT) STRICT')", UnsupportedError),
        ("rebuild_table(conn, 'users', 'CREATE TABLE users (id TEXT, team_id INTEGER, email TEXT)')", ConflictError),
        (f"rebuild_table(conn, 'teams', {NEW_TEAMS!r}, 'SELECT id, name, 1 AS size FROM teams')", InvalidValueError),
        (f"rebuild_table(conn, 'teams', {NEW_TEAMS!r}, 'SELECT id, name FROM teams LIMIT 1')", ConflictError),
        (f"rebuild_table(conn, 'users', {NEW_USERS!r}, 'SELECT id FROM users')", ConflictError),
        (f"rebuild_table(conn, 'teams', {NEW_TEAMS!r}, 'SELECT id, NULL AS name FROM teams')", MigrationError),
    ],
)
def test_refusals_change_nothing(migrations: Migrations, call: str, error: type[PersistError]) -> None:
    """What SQLite refuses, and what has no translation, is refused here, and the schema is as it was."""
    before = migrations.state()
    with pytest.raises(error):
        migrations.apply(call)
    assert migrations.state() == before
    assert migrations.rows("SELECT count(*) FROM {s}.users") == [(3,)]


def test_a_table_is_rebuilt(migrations: Migrations, postgresql: PostgresqlServer, tmp_path: Path) -> None:
    """It is as if it had been made so at once, down to the names; rows and the rows that refer to them are there."""
    migrations.apply(
        f"assert rebuild_table(conn, 'users', {NEW_USERS!r}) == 3",
        f"assert rebuild_table(conn, 'teams', {NEW_TEAMS!r}) == 2",
    )
    fresh = Migrations(postgresql, postgresql.new_schema(), tmp_path / "fresh")
    try:
        fresh.execute(NEW_TEAMS, NEW_USERS, KEYS, INDEX)
        assert migrations.state() == fresh.state()
    finally:
        postgresql.do(f"DROP SCHEMA {fresh.schema} CASCADE")
    users = "SELECT id, role, email, team_id, chief FROM {s}.users ORDER BY id"
    assert migrations.rows(users) == [
        ("a", "member", "a@x", 1, None),
        ("b", "member", None, 2, "a"),
        ("c", "member", "c@x", 2, "a"),
    ]
    assert migrations.rows("SELECT id FROM {s}.keys ORDER BY id") == [(1,), (2,)]
    migrations.execute("INSERT INTO teams (name) VALUES ('next')", "DELETE FROM users WHERE id = 'a'")
    assert migrations.rows("SELECT max(id) FROM {s}.teams") == [(4,)]
    assert migrations.rows("SELECT id FROM {s}.keys") == [(2,)]


def test_a_select_says_what_is_copied(migrations: Migrations) -> None:
    """By name, from the old table; rows are left out by a WHERE of its own."""
    copy = "SELECT upper(id) AS id, team_id, email, NULL AS chief FROM users WHERE email IS NOT NULL;"
    migrations.execute("DELETE FROM keys")
    migrations.apply(f"assert rebuild_table(conn, 'users', {NEW_USERS!r}, {copy!r}) == 2")
    rows = migrations.rows("SELECT id, role, team_id, chief FROM {s}.users ORDER BY id")
    assert rows == [("A", "member", 1, None), ("C", "member", 2, None)]


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE VIEW {s}.named AS SELECT id FROM {s}.teams", "view named"),
        ("GRANT SELECT ON {s}.teams TO anon", "grants"),
        ("CREATE POLICY mine ON {s}.teams USING (true)", "policy mine"),
    ],
)
def test_what_was_made_by_hand_is_not_lost(migrations: Migrations, made: str, named: str) -> None:
    """A migration cannot know of it, and cannot make it again."""
    migrations.server.do_as_user(made.format(s=migrations.schema))
    with pytest.raises(UnsupportedError, match=named):
        migrations.apply(f"rebuild_table(conn, 'teams', {NEW_TEAMS!r})")
    assert migrations.rows("SELECT count(*) FROM {s}.teams") == [(2,)]


def test_the_grants_that_every_table_gets_are_no_obstacle(migrations: Migrations) -> None:
    """The new table has them as well."""
    schema = migrations.schema
    migrations.server.do_as_user(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO anon")
    migrations.execute("CREATE TABLE notes (id TEXT PRIMARY KEY)")
    migrations.apply("rebuild_table(conn, 'notes', 'CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT)')")
    [(granted,)] = migrations.rows("SELECT has_table_privilege('anon', '{s}.notes', 'SELECT')")
    assert granted
