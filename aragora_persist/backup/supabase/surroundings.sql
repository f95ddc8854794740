-- What the dumps of a project may refer to and do not hold: roles, schemas, and of the schema `auth` what tables and
-- policies commonly use. Made in the scratch server in which a dump is tried out; nothing there is ever called.

create role postgres;
create role supabase_admin;
create role anon;
create role authenticated;
create role service_role;
create role authenticator;
create role dashboard_user;

create schema extensions;
create schema auth;

create function auth.uid() returns uuid language sql stable as 'select null::uuid';
create function auth.role() returns text language sql stable as 'select null::text';
create function auth.email() returns text language sql stable as 'select null::text';
create function auth.jwt() returns jsonb language sql stable as 'select null::jsonb';

-- Its rows are not there: a key that refers to them is made, not checked.
create table auth.users (id uuid primary key);
