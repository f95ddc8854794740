-- What a new cluster gets before it is one: roles and rights as hosted Supabase has them. Run by supabase_admin in
-- single-user mode, where a statement ends at an empty line.

-- Not a superuser, as hosted: what works here works there.
CREATE ROLE postgres LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS;

ALTER DATABASE postgres OWNER TO postgres;

CREATE ROLE anon NOLOGIN NOINHERIT;

CREATE ROLE authenticated NOLOGIN NOINHERIT;

CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;

CREATE ROLE authenticator LOGIN NOINHERIT;

GRANT anon, authenticated, service_role TO authenticator;

GRANT anon, authenticated, service_role, authenticator TO postgres WITH ADMIN OPTION;

GRANT pg_monitor, pg_read_all_data, pg_signal_backend TO postgres;

ALTER ROLE anon SET statement_timeout = '3s';

ALTER ROLE authenticated SET statement_timeout = '8s';

ALTER ROLE service_role SET statement_timeout = '8s';

ALTER ROLE authenticator SET statement_timeout = '8s';

ALTER ROLE authenticator SET lock_timeout = '8s';

ALTER ROLE postgres SET search_path = "$user", public, extensions;

-- No table of `public` is anyone's by itself: a migration says to whom it grants what.
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;

CREATE SCHEMA extensions AUTHORIZATION postgres;

GRANT USAGE ON SCHEMA extensions TO anon, authenticated, service_role;

-- The linter of the Supabase CLI wants it, and only a superuser may create it.
CREATE EXTENSION plpgsql_check WITH SCHEMA extensions;

CREATE PUBLICATION supabase_realtime;

ALTER PUBLICATION supabase_realtime OWNER TO postgres;

-- PostgREST learns of a changed schema by itself.
CREATE FUNCTION extensions.notify_pgrst() RETURNS event_trigger LANGUAGE plpgsql SET search_path = ''
  AS $$ BEGIN NOTIFY pgrst, 'reload schema'; END $$;

CREATE EVENT TRIGGER pgrst_ddl_watch ON ddl_command_end
  WHEN TAG IN (
    'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE VIEW',
    'ALTER VIEW', 'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE',
    'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE', 'CREATE RULE', 'COMMENT'
  )
  EXECUTE FUNCTION extensions.notify_pgrst();

CREATE EVENT TRIGGER pgrst_drop_watch ON sql_drop
  WHEN TAG IN (
    'DROP SCHEMA', 'DROP TABLE', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP FOREIGN TABLE', 'DROP FUNCTION',
    'DROP TRIGGER', 'DROP TYPE', 'DROP RULE'
  )
  EXECUTE FUNCTION extensions.notify_pgrst();

