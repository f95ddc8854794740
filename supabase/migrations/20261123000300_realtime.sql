-- What can be followed as it happens. A project has this publication from its start; a bare PostgreSQL has not.

do $$
declare
  followed text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  foreach followed in array array['stream_events', 'nomic_cycles'] loop
    if not exists (
      select from pg_catalog.pg_publication_tables
       where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = followed
    ) then
      execute pg_catalog.format('alter publication supabase_realtime add table public.%I', followed);
    end if;
  end loop;
end;
$$;
