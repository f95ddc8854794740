-- Who may do what: every role of the REST interface, every table, every verb.
begin;
set local search_path = public, extensions;
select plan(109);

create temporary table kinds (name text primary key, mutable boolean not null) on commit drop;
insert into kinds values
  ('nomic_cycles', true), ('debate_artifacts', true), ('stream_events', false), ('agent_metrics', false),
  ('nomic_rollbacks', false), ('cycle_evolution', true), ('cycle_file_changes', false);

-- 1: nothing else is exposed.
select set_eq(
  $$ select tablename::text from pg_tables where schemaname = 'public' $$,
  $$ select name from kinds $$,
  'the schema has the seven tables'
);

-- 7 × 2: row level security shuts out whoever does not bypass it.
select ok(relrowsecurity, format('row level security is on: %s', name))
  from kinds join pg_class on oid = format('public.%I', name)::regclass;
select is_empty(format($$ select * from pg_policies where tablename = %L $$, name), format('no policy: %s', name))
  from kinds;

-- 7 × 3: all rights of each role.
select table_privs_are('public', name, role, privileges, format('rights of %s on %s', role, name))
  from kinds
  cross join (values ('anon'), ('authenticated'), ('service_role')) as roles (role)
  cross join lateral (
    select case
      when role <> 'service_role' then '{}'
      when mutable then array['SELECT', 'INSERT', 'UPDATE']
      else array['SELECT', 'INSERT']
    end
  ) as granted (privileges);

-- 3 × 3: functions.
select function_privs_are('public', name, arguments, role, privileges, format('rights of %s on %s()', role, name))
  from (values
    ('loop_summary', array['text'], true),
    ('agent_stats', array['text'], true),
    ('keep_newest_revision', array[]::text[], false)
  ) as functions (name, arguments, callable)
  cross join (values ('anon'), ('authenticated'), ('service_role')) as roles (role)
  cross join lateral (
    select case when callable and role = 'service_role' then array['EXECUTE'] else '{}' end
  ) as granted (privileges);

-- 2 × 7 × 4: asked for it, the server refuses.
create function pg_temp.verbs(table_name text) returns table (statement text) language sql as $$
  values (format('select * from public.%I', table_name)), (format('insert into public.%I default values', table_name)),
         (format('update public.%I set id = id', table_name)), (format('delete from public.%I', table_name))
$$;
grant select on kinds to anon, authenticated;
set local role anon;
select throws_ok(statement, '42501', null, format('anon: %s', statement))
  from kinds cross join lateral pg_temp.verbs(name);
set local role authenticated;
select throws_ok(statement, '42501', null, format('authenticated: %s', statement))
  from kinds cross join lateral pg_temp.verbs(name);
reset role;

-- 7 + 1: no role but the owner's may do more.
select is_empty(
  format($$
    select grantee from information_schema.table_privileges
     where table_schema = 'public' and table_name = %L and grantee not in ('postgres', 'service_role')
  $$, name),
  format('nobody else has rights on %s', name)
) from kinds;
select set_eq(
  $$ select tablename::text from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public' $$,
  array['nomic_cycles', 'stream_events'],
  'what can be followed'
);

select * from finish();
rollback;
