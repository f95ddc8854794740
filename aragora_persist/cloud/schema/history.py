"""The history of applied migrations, in the table of the Supabase CLI, so that either may go on where the other ended.

Leaves out: what follows from it (`plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import psycopg

    from aragora_persist.cloud.schema.folder import MigrationFile

# Not to_regclass(): its cache may miss what was committed while this transaction waited for a lock.
_COLUMNS = """
select attname from pg_attribute
 where attrelid = (select oid from pg_class
                    where relnamespace = (select oid from pg_namespace where nspname = 'supabase_migrations')
                      and relname = 'schema_migrations')
   and attnum > 0 and not attisdropped
"""
# Older releases of the Supabase CLI made it with `version` alone, and newer ones add what is missing, as is done here.
_READ = """
select h.version::text, to_jsonb(h) ->> 'name', to_jsonb(h) -> 'statements'
  from supabase_migrations.schema_migrations h order by 1
"""
_CREATE = """
create schema if not exists supabase_migrations;
create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text)
"""
_COMPLETE = """
alter table supabase_migrations.schema_migrations
  add column if not exists statements text[], add column if not exists name text
"""
_INSERT = "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)"


class Applied(NamedTuple):
    """One applied migration; ``statements`` is None where whoever applied it did not store them."""

    version: str
    name: str
    statements: tuple[str, ...] | None

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.version}_{self.name}" if self.name else self.version


def read(connection: psycopg.Connection[Any]) -> list[Applied]:
    """Return what was applied, in the order of the versions; nothing where there is no history yet."""
    if not _columns(connection):
        return []
    return [
        Applied(version, name or "", None if statements is None else tuple(statements))
        for version, name, statements in connection.execute(_READ)
    ]


def add(connection: psycopg.Connection[Any], file: MigrationFile) -> None:
    """Record one migration as applied, in a table as the Supabase CLI makes it."""
    columns = _columns(connection)
    if not columns:
        connection.execute(_CREATE)
    elif not columns >= {"statements", "name"}:
        connection.execute(_COMPLETE)
    connection.execute(_INSERT, (file.version, file.name, [statement.text for statement in file.statements]))


def _columns(connection: psycopg.Connection[Any]) -> set[str]:
    return {str(name) for (name,) in connection.execute(_COLUMNS)}
