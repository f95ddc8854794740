"""What stands in a database's schema `public`, as facts that can be compared and read.

A catalog maps an object, a table or a function, to its facts, and each fact to its definition. Expected catalogs are
committed beside the migrations (`catalog_files` writes them). Leaves out: views, types and sequences, of which the
migrations make none; comments; the order of columns; and what other roles than those of the REST interface may do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

    Catalog = dict[str, dict[str, str]]

# With an empty search path PostgreSQL writes every name in full, whoever asks.
_BARE_NAMES = "set local search_path = ''"

_FACTS = """
with tables as (
  select c.*, format('public.%I', c.relname) as object
    from pg_class c
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
), functions as (
  select p.*, format('public.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as object
    from pg_proc p
   where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')
), rights (object, owner, of, given) as (
  select object, relowner, '', coalesce(relacl, acldefault('r', relowner)) from tables
  union all
  select object, proowner, '', coalesce(proacl, acldefault('f', proowner)) from functions
  union all
  select object, relowner, format(' (%I)', a.attname), a.attacl
    from tables t join pg_attribute a on a.attrelid = t.oid and not a.attisdropped
), facts (object, fact, definition) as (
  select object, 'table', case relpersistence when 'p' then 'logged' else 'unlogged' end from tables
  union all
  select object, 'row level security',
         case when relrowsecurity then 'enabled' else 'disabled' end
         || case when relforcerowsecurity then ', for the owner too' else '' end
    from tables
  union all
  select object, format('column %I', a.attname),
         format_type(a.atttypid, a.atttypmod)
         || case when a.attnotnull then ' not null' else '' end
         || case when a.attidentity <> '' then ' generated as identity' else '' end
         || case when a.attgenerated <> '' then ' generated as ' when d.oid is not null then ' default ' else '' end
         || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    from tables t
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  union all
  -- PostgreSQL 18 lists NOT NULL (n) as a constraint too; it is told with the column.
  select object, format('constraint %I', c.conname), pg_get_constraintdef(c.oid)
    from tables t join pg_constraint c on c.conrelid = t.oid and c.contype not in ('n', 't')
  union all
  select object, format('index %I', x.relname),
         pg_get_indexdef(i.indexrelid) || case when i.indisvalid then '' else ' (invalid)' end
    from tables t
    join pg_index i on i.indrelid = t.oid
    join pg_class x on x.oid = i.indexrelid
   where not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
  union all
  select object, format('trigger %I', g.tgname),
         pg_get_triggerdef(g.oid) || case g.tgenabled when 'O' then '' when 'D' then ' (disabled)' else ' (replica)' end
    from tables t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
  union all
  select object, format('rule %I', r.rulename), pg_get_ruledef(r.oid)
    from tables t join pg_rewrite r on r.ev_class = t.oid
  union all
  select object, format('policy %I', p.policyname),
         concat_ws(' ', lower(p.permissive), 'for', lower(p.cmd), 'to', array_to_string(p.roles, ', '),
                   'using (' || p.qual || ')', 'with check (' || p.with_check || ')')
    from tables t join pg_policies p on p.schemaname = 'public' and p.tablename = t.relname
  union all
  select object, 'publication supabase_realtime',
         case when r.prpubid is null then 'with every table' else
           concat_ws(' ', case when r.prattrs is null then null else 'of ' || array_to_string(p.attnames, ', ') end,
                     'where ' || p.rowfilter)
         end
    from tables t
    join pg_publication_tables p
      on p.pubname = 'supabase_realtime' and p.schemaname = 'public' and p.tablename = t.relname
    join pg_publication b on b.pubname = p.pubname
    left join pg_publication_rel r on r.prpubid = b.oid and r.prrelid = t.oid
  union all
  select object, 'definition', pg_get_functiondef(oid) from functions
  union all
  select object, format('grant of %s%s to %s', r.privilege_type, g.of, coalesce(who.rolname, 'PUBLIC')),
         case when r.is_grantable then 'with grant option' else '' end
    from rights g
    cross join aclexplode(g.given) r
    left join pg_roles who on who.oid = r.grantee
   where r.grantee = 0 or who.rolname in ('anon', 'authenticated', 'service_role')
)
select object, fact, definition from facts order by object, fact
"""


_EVERY_TABLE = ("publication supabase_realtime", "with every table")
"""A project may publish all that it has: that is its own choice, and serves those that are to be published."""


def read_catalog(connection: psycopg.Connection[Any]) -> Catalog:
    """Return the facts of every table and function in `public`, of others' too; to be called in a transaction."""
    connection.execute(_BARE_NAMES)
    catalog: Catalog = {}
    for object_, fact, definition in connection.execute(_FACTS):
        catalog.setdefault(object_, {})[fact] = definition
    return catalog


def differences(expected: Mapping[str, Mapping[str, str]], live: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """Return what is not as expected, one line each; tables and functions of other names are nobody's business here."""
    ours = {_name(object_) for object_ in expected}
    lines: list[str] = []
    for object_ in sorted(expected.keys() | live.keys()):
        if object_ not in live:
            lines.append(f"{object_}: is missing")
        elif object_ in expected:
            lines += _different_facts(object_, expected[object_], live[object_])
        elif _name(object_) in ours:
            lines.append(f"{object_}: is there, no migration makes it")
    return tuple(lines)


def _name(object_: str) -> str:
    """Return the name without arguments: another function of the same name would make calls of ours ambiguous."""
    return object_.partition("(")[0]


def _different_facts(object_: str, expected: Mapping[str, str], live: Mapping[str, str]) -> Iterator[str]:
    for fact in sorted(expected.keys() | live.keys()):
        if (fact, live.get(fact)) == _EVERY_TABLE:
            continue
        if fact not in expected:
            yield f"{object_}: {fact}{_shown(live[fact])} is there, no migration makes it"
        elif fact not in live:
            yield f"{object_}: {fact}{_shown(expected[fact])} is missing"
        elif live[fact] != expected[fact]:
            if "\n" in live[fact] + expected[fact]:
                yield f"{object_}: {fact} is not the one that the migrations make"
            else:
                was, should_be = (one[fact] or "plain" for one in (live, expected))
                yield f"{object_}: {fact} is {was}, the migrations make it {should_be}"


def _shown(definition: str) -> str:
    return f" {definition}" if definition else ""
