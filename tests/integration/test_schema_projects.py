"""Applying to projects that are older than this schema, or were set up in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.cloud.schema import apply_schema, inspect_schema
from aragora_persist.cloud.schema.folder import load, shipped_folder
from tests.schema_databases import write_migrations

if TYPE_CHECKING:
    from pathlib import Path

    from tests.schema_databases import Database

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

SHIPPED = tuple(file.title for file in load(shipped_folder()))
FOLLOWED = {"stream_events", "nomic_cycles"}


def as_superuser(database: Database, sql: str) -> None:
    """Do what the makers of the project have done."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(sql.encode())


@pytest.mark.parametrize(
    "columns",
    [
        "version text primary key",
        "version text primary key, statements text[]",
        "version bigint primary key, statements text[], name text",
        "version text primary key, name text, created_by text, statements text[], rollback text[]",
    ],
)
def test_a_history_of_other_columns_is_gone_on_with(database: Database, tmp_path: Path, columns: str) -> None:
    """Older releases of the Supabase CLI stored less of a migration, hosted projects store more."""
    folder = write_migrations(tmp_path, theirs="select 1", ours="create table public.one (id int);")
    database.do(
        f"create schema supabase_migrations; create table supabase_migrations.schema_migrations ({columns});"
        " insert into supabase_migrations.schema_migrations (version) values (20300101000001)"
    )

    assert apply_schema(database.secret, folder=folder) == ("20300101000002_ours",)
    after = inspect_schema(database.secret, folder=folder)
    assert (after.applied, after.pending) == (("20300101000001_theirs", "20300101000002_ours"), ())
    assert [name for _, name in database.history()] == [None, "ours"]


@pytest.mark.parametrize("reach", ["all tables", "tables in schema public"])
def test_a_project_that_publishes_everything_is_no_drift(database: Database, reach: str) -> None:
    """It was so before this schema came, and nobody is kept from anything."""
    as_superuser(database, f"create publication supabase_realtime for {reach}")

    assert apply_schema(database.secret) == SHIPPED
    assert inspect_schema(database.secret).drift == ()
    published = {name for (name,) in database.rows("select tablename from pg_publication_tables")}
    assert published >= FOLLOWED


def test_a_project_that_grants_by_default_grants_nothing_here(database: Database) -> None:
    """Tables, functions and sequences of older projects are everybody's as soon as they are made."""
    everybody = "anon, authenticated, service_role"
    for kind in ("tables", "functions", "sequences"):
        database.do(f"alter default privileges in schema public grant all on {kind} to {everybody}")

    assert apply_schema(database.secret) == SHIPPED
    assert inspect_schema(database.secret).drift == ()
    rights = database.rows(
        "select grantee, table_name, privilege_type from information_schema.role_table_grants"
        " where table_schema = 'public' and grantee in ('anon', 'authenticated', 'PUBLIC')"
    )
    assert rights == []
