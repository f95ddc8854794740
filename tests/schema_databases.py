"""Databases of their own on the run's Supabase, and folders with migrations, for tests of the schema."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from aragora_persist.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.supabase_stack import LocalSupabase


class Database:
    """One database: its URL, as the role that owns it, and as the superuser."""

    def __init__(self, supabase: LocalSupabase, name: str) -> None:
        self.name = name
        self.url = supabase.db_url.rpartition("/")[0] + f"/{name}"
        self.admin_url = supabase.admin_db_url.rpartition("/")[0] + f"/{name}"

    @property
    def secret(self) -> Secret:
        """The URL as the applier takes it."""
        return Secret(self.url)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query answers; what it changed stays."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode()).fetchall()

    def do(self, sql: str) -> None:
        """Run statements as the owner, as someone does by hand."""
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.encode())

    def history(self) -> list[tuple[Any, ...]]:
        """Return version and name of what was applied."""
        return self.rows("select version, name from supabase_migrations.schema_migrations order by version")


@contextmanager
def new_database(supabase: LocalSupabase) -> Iterator[Database]:
    """Make an empty database, and drop it at the end."""
    name = f"schema_test_{secrets.token_hex(4)}"
    with psycopg.connect(supabase.db_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template template0".encode())
        try:
            yield Database(supabase, name)
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


def write_migrations(folder: Path, **texts: str) -> Path:
    """Write migrations ``one``, ``two``, … in their order, with catalogs that expect nothing; return the folder."""
    for part in ("migrations", "catalog"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, (name, text) in enumerate(texts.items(), start=1):
        version = 20300101000000 + number
        (folder / "migrations" / f"{version}_{name}.sql").write_text(text)
        (folder / "catalog" / f"{version}.json").write_text("{}")
    return folder
