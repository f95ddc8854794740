"""The history of applied migrations, in the table of the Supabase CLI, so that either may go on where the other ended.

Leaves out: what follows from it (`plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import psycopg

    from aragora_persist.cloud.schema.folder import MigrationFile

# Not to_regclass(): its cache may miss what was committed while this transaction waited for a lock.
_EXISTS = """
select exists (select from pg_tables where schemaname = 'supabase_migrations' and tablename = 'schema_migrations')
"""
# As one value, because a table that an older CLI made lacks columns.
_READ = "select to_jsonb(m) from supabase_migrations.schema_migrations m order by m.version"
_CREATE = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text
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
    exists = connection.execute(_EXISTS).fetchone()
    if not exists or not exists[0]:
        return []
    rows = [row for (row,) in connection.execute(_READ)]
    return [Applied(row["version"], row.get("name") or "", _statements(row.get("statements"))) for row in rows]


def create(connection: psycopg.Connection[Any]) -> None:
    """Make the table as the Supabase CLI would, where it is not there."""
    connection.execute(_CREATE)


def add(connection: psycopg.Connection[Any], file: MigrationFile) -> None:
    """Record one migration as applied."""
    connection.execute(_INSERT, (file.version, file.name, [statement.text for statement in file.statements]))


def _statements(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)
