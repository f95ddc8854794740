"""What becomes of what a project has of its own when a backup is put into it: tables, default grants, publications.

Each of these functions is one step of the transaction of ``loading``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.supabase.content import SCHEMAS, has_tables
from aragora_persist.cloud.schema.folder import load_catalog, shipped_folder
from aragora_persist.errors import ConflictError, MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aragora_persist.backup.supabase.content import Connection
    from aragora_persist.backup.verify import Content

_REALTIME = "publication supabase_realtime"
_MOVE = """
do $$ declare one record; begin
  create schema {aside};
  for one in
    select format('alter %s %s set schema {aside}',
                  case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                    when 'f' then 'foreign table' else 'table' end,
                  c.oid::regclass) as statement
      from pg_class c
     where c.relnamespace = '{schema}'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.deptype in ('e', 'a', 'i') and (d.deptype = 'e' or c.relkind = 'S'))
  loop execute one.statement; end loop;
  for one in
    select format('alter routine %s set schema {aside}', p.oid::regprocedure) as statement
      from pg_proc p
     where p.pronamespace = '{schema}'::regnamespace
       and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
                          and d.deptype in ('e', 'i'))
  loop execute one.statement; end loop;
  for one in
    select format('alter type %s set schema {aside}', t.oid::regtype) as statement
      from pg_type t
     where t.typnamespace = '{schema}'::regnamespace and t.typtype in ('e', 'd', 'r', 'c', 'b') and t.typelem = 0
       and (t.typrelid = 0 or (select relkind from pg_class where oid = t.typrelid) = 'c')
       and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid
                          and d.deptype in ('e', 'i'))
  loop execute one.statement; end loop;
end $$
"""

_DEFAULT_GRANTS = """
select format('alter default privileges %%s revoke %%s', place, rights || ' from ' || who),
       format('alter default privileges %%s grant %%s', place, rights || ' to ' || who || granting)
  from (select case when d.defaclnamespace = 0 then '' else format('in schema %%I', n.nspname) end as place,
               format('%%s on %%s', r.privilege_type,
                      case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
                        else 'types' end) as rights,
               case when r.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(r.grantee)) end as who,
               case when r.is_grantable then ' with grant option' else '' end as granting
          from pg_default_acl d
          cross join aclexplode(d.defaclacl) r
          left join pg_namespace n on n.oid = d.defaclnamespace
         where pg_get_userbyid(d.defaclrole) = current_user and r.grantee not in (0, d.defaclrole)
           and d.defaclobjtype in ('r', 'S', 'f', 'T') and (d.defaclnamespace = 0 or n.nspname = any(%s))) as granted
"""
_MEMBERS = """
select quote_ident(p.pubname), format('%%I.%%I', n.nspname, c.relname),
       format('%%I.%%I', regexp_replace(n.nspname, '_replaced_[0-9_]+$', ''), c.relname)
  from pg_publication_rel m
  join pg_publication p on p.oid = m.prpubid and pg_has_role(p.pubowner, 'usage')
  join pg_class c on c.oid = m.prrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = any(%s)
 order by 1, 2
"""


def make_room(connection: Connection, place: str, *, operation: str, replace: bool) -> tuple[str, ...]:
    """Move what is in the schemas aside; return where to."""
    connection.execute("create schema if not exists supabase_migrations")
    taken = [schema for schema in SCHEMAS if has_tables(connection, schema)]
    if not taken:
        return ()
    if not replace:
        problem = f"has tables in {' and '.join(taken)}, which are not overwritten"
        hint = "--replace moves them into schemas of their own first; stop what writes to them before"
        raise ConflictError(operation, place, problem, hint=hint)
    stamp = f"{times.utc_now():%Y%m%d_%H%M%S}"
    aside = []
    for schema in SCHEMAS:
        aside.append(f"{schema}_replaced_{stamp}")
        connection.execute(_MOVE.format(schema=schema, aside=aside[-1]).encode())
    return tuple(aside)


@contextmanager
def without_default_grants(connection: Connection) -> Iterator[None]:
    """Have the project grant nothing on new tables and functions meanwhile: their rights are the dump's alone."""
    defaults = [(str(take), str(give)) for take, give in connection.execute(_DEFAULT_GRANTS, (list(SCHEMAS),))]
    for take, _ in defaults:
        connection.execute(take.encode())
    yield
    for _, give in defaults:
        connection.execute(give.encode())


def withdraw(connection: Connection, aside: Sequence[str]) -> list[tuple[str, str]]:
    """Take tables that were moved aside out of the publications; return which were in which, by their former names."""
    members = connection.execute(_MEMBERS, (list(aside),)).fetchall()
    for publication, table, _ in members:
        connection.execute(f"alter publication {publication} drop table {table}".encode())
    return [(str(publication), str(was)) for publication, _, was in members]


def publish(connection: Connection, content: Content, published: Sequence[tuple[str, str]]) -> None:
    """Put tables into the publications that they were in, and into the one where the migrations have them.

    No dump of single schemas tells of it.
    """
    wanted = dict.fromkeys(published)
    if connection.execute("select 1 from pg_publication where pubname = 'supabase_realtime'").fetchone():
        wanted |= dict.fromkeys(("supabase_realtime", table) for table in _followed(content))
    for publication, table in wanted:
        if table in content.tables:
            connection.execute(f"alter publication {publication} add table {table}".encode())


def _followed(content: Content) -> list[str]:
    """Return the tables that the migrations, up to the last one of the backup, have in their publication."""
    try:
        catalog = load_catalog(shipped_folder(), str(content.schema_version))
    except MigrationError:  # this release does not know that version
        return []
    return [table for table, facts in catalog.items() if _REALTIME in facts]
