-- What a project has beside what is backed up, and what tables in it refer to.

create schema extensions;
create extension citext with schema extensions;
create extension pgcrypto with schema extensions;
create schema elsewhere;
create extension hstore with schema elsewhere;
create extension ltree with schema public;
create schema auth;
create function auth.uid() returns uuid language sql as 'select null::uuid';
create function auth.is_ours() returns boolean language sql as 'select true';
create table auth.users (id uuid primary key, name text);
insert into auth.users values ('00000000-0000-0000-0000-000000000001', 'ann');
