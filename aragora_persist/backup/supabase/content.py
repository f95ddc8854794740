"""What the tables of a Supabase database hold, computed where the rows are: only digests travel.

The digest of a table is equal for equal rows, wherever they lie, and whatever the order of the columns is. It is the
SHA-256, as hexadecimal digits, of these lines, in UTF-8, joined by newlines:

- for each column in the order of the names' code points, its name and type: ``"id" uuid``, quoted as SQL needs it;
- the number of rows;
- two sums over all rows: of the first and of the second 8 bytes of the row's SHA-256, each as a signed integer.

A row's SHA-256 is that of its text in UTF-8: ``row(…)::text`` with the columns in that order, under ``_FORMS``, so that
times, floats and bytes have one text form in every version and time zone. A sum does not depend on an order, and other
than an exclusive or it notices rows that are there twice.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import AccessDeniedError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

    Connection = psycopg.Connection[Any]

SCHEMAS = ("public", "supabase_migrations")
HISTORY = "supabase_migrations.schema_migrations"
LOCK_WAIT_MS = 60_000

_OPERATION = "read tables"
_TOLD = 5
_FORMS: Mapping[str, str] = {
    # Each value has one text.
    "search_path": "",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    # Hidden rows are an error, not fewer rows.
    "row_security": "off",
    # While pg_dump goes on, the transaction of the snapshot has nothing to do.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": str(LOCK_WAIT_MS),
}
_TABLES = """
select format('%%I.%%I', n.nspname, c.relname),
       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'),
       array(select quote_ident(a.attname) from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attname collate "C"),
       array(select format_type(a.atttypid, a.atttypmod) from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attname collate "C")
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = any(%s) and c.relkind = 'r'
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by 1
"""
# `offset 0` keeps the digest from being computed once for each of the two sums.
_DIGEST = """
select count(*),
       coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint), 0)::text,
       coalesce(sum(('x' || substr(h, 17, 16))::bit(64)::bigint), 0)::text
  from (select encode(sha256(convert_to(row({columns})::text, 'UTF8')), 'hex') as h from only {table} offset 0) rows
"""
# Those that something in the schemas is made with, such as a column's type: through its array type, too.
_EXTENSIONS = """
with recursive relations as (
  select oid from pg_class where relnamespace = any(%(schemas)s::regnamespace[])
), used (class, object) as (
  select refclassid, refobjid from pg_depend
   where deptype in ('n', 'a') and (
         classid = 'pg_class'::regclass and objid in (select oid from relations)
      or classid = 'pg_attrdef'::regclass and objid in (
           select oid from pg_attrdef where adrelid in (select oid from relations))
      or classid = 'pg_rewrite'::regclass and objid in (
           select oid from pg_rewrite where ev_class in (select oid from relations))
      or classid = 'pg_trigger'::regclass and objid in (
           select oid from pg_trigger where tgrelid in (select oid from relations))
      or classid = 'pg_policy'::regclass and objid in (
           select oid from pg_policy where polrelid in (select oid from relations))
      or classid = 'pg_constraint'::regclass and objid in (
           select oid from pg_constraint where connamespace = any(%(schemas)s::regnamespace[]))
      or classid = 'pg_proc'::regclass and objid in (
           select oid from pg_proc where pronamespace = any(%(schemas)s::regnamespace[]))
      or classid = 'pg_type'::regclass and objid in (
           select oid from pg_type where typnamespace = any(%(schemas)s::regnamespace[])))
  union
  select d.refclassid, d.refobjid from used join pg_depend d on d.classid = class and d.objid = object
   where d.deptype in ('e', 'i') or class = 'pg_extension'::regclass
)
select e.extname from pg_extension e join used on class = 'pg_extension'::regclass and object = e.oid
 where e.extnamespace <> 'pg_catalog'::regnamespace
 order by 1
"""
_LAST_VERSION = f"select max(version::text) from {HISTORY}"  # noqa: S608 - a constant


@contextmanager
def snapshot(connection: Connection) -> Iterator[str]:
    """Open a read-only transaction and give the name of its snapshot, which other connections may read too.

    Until its end no table is altered or dropped. They are locked before the snapshot is taken: one that is rewritten
    in between would look empty. After an error the connection is to be closed.
    """
    connection.execute("set statement_timeout = 0")  # a role may have one, and a large table takes its time
    tables = _tables(connection)
    connection.execute("begin transaction isolation level repeatable read, read only")
    connection.execute(f"set local lock_timeout = {LOCK_WAIT_MS}")
    for table in tables:
        connection.execute(f"lock table only {table} in access share mode".encode())
    yield str(_one(connection, "select pg_export_snapshot()")[0])
    connection.execute("commit")


def read_content(connection: Connection) -> Content:
    """Return rows and digests of all tables, as the open transaction sees them, and the last applied migration.

    Raises:
        NotFoundError: there is no table.
        AccessDeniedError: the role may not read all of them; the problem names those.

    """
    for name, value in _FORMS.items():
        connection.execute("select set_config(%s, %s, true)", (name, value))
    tables = _tables(connection)
    return Content(
        schema_version=_schema_version(connection) if HISTORY in tables else None,
        foreign_key_violations=0,  # PostgreSQL lets none come about
        tables={table: _digest(connection, table, columns) for table, columns in tables.items()},
    )


def extensions(connection: Connection) -> list[str]:
    """Return the extensions that tables and functions of the schemas need."""
    there = "select array_agg(nspname) from pg_namespace where nspname = any(%s)"
    schemas = connection.execute(there, (list(SCHEMAS),)).fetchall()[0][0]
    return [str(name) for (name,) in connection.execute(_EXTENSIONS.encode(), {"schemas": schemas})]


def has_tables(connection: Connection, schema: str) -> bool:
    """Say whether there is a table in a schema, whoever may read it."""
    return bool(connection.execute(_TABLES, ([schema],)).fetchall())


def _tables(connection: Connection) -> dict[str, list[tuple[str, str]]]:
    found = connection.execute(_TABLES, (list(SCHEMAS),)).fetchall()
    if not found:
        raise NotFoundError(_OPERATION, " and ".join(SCHEMAS), "hold no table", hint="aragora-persist supabase apply")
    if denied := [str(table) for table, readable, _, _ in found if not readable]:
        named = ", ".join(denied[:_TOLD]) + (f" and {len(denied) - _TOLD} more" if len(denied) > _TOLD else "")
        raise AccessDeniedError(
            _OPERATION,
            named,
            "this role may not read it",
            hint="use the database URL of the role postgres, or grant USAGE on the schema and SELECT on its tables",
        )
    return {str(table): list(zip(columns, types, strict=True)) for table, _, columns, types in found}


def _schema_version(connection: Connection) -> int | None:
    version = str(_one(connection, _LAST_VERSION)[0])
    return int(version) if version.isdecimal() else None


def _digest(connection: Connection, table: str, columns: list[tuple[str, str]]) -> TableContent:
    names = ", ".join(f"t.{name}" for name, _ in columns)
    counted = _one(connection, _DIGEST.format(columns=names, table=f"{table} as t"))
    lines = [*(f"{name} {type_}" for name, type_ in columns), *map(str, counted)]
    return TableContent(rows=counted[0], digest=hashlib.sha256("\n".join(lines).encode()).hexdigest())


def _one(connection: Connection, query: str) -> tuple[Any, ...]:
    """Return the one row of a query that always has one."""
    (row,) = connection.execute(query.encode()).fetchall()
    return tuple(row)
