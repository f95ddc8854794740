-- Tables beside those of the migrations, with all that is hard to dump, to compare or to put back. They refer to what
-- `surroundings.sql` makes.

create type public.mood as enum ('sad', 'ok');
create domain public.positive as int check (value > 0);
create type public.pair as (a int, "b c" text);
create table public."Odd ""one"", with.dots" (
  id bigint generated always as identity primary key, "Z" jsonb, a timestamptz, b bytea, c numeric, d double precision,
  e real, f text[], g int[][], h text, i interval, j money, k public.mood, l public.positive, m public.pair,
  n public.pair[], o inet, p tsrange, q uuid default extensions.gen_random_uuid(), r bit varying (9), s extensions.citext,
  u tsvector, v time with time zone, w date, x text collate "C", y int generated always as (l * 2) stored, z "char",
  aa regclass, bb char(7), cc int4multirange
);
insert into public."Odd ""one"", with.dots"
  ("Z", a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, r, s, u, v, w, x, z, aa, bb, cc)
values
  ('{"b": 1, "a": [1.50, null, "\u00e9"]}', '2020-01-01 00:00:00.123456+05', '\x00ff', 'NaN', 'NaN', '-Infinity',
   '{a, NULL, "x,y", "q\"", ""}', '{{1, 2}, {3, 4}}', E'tab\t line\n back\\slash ü 😀 \\.', '1 mon -3 days 04:05:06.7',
   '12.34', 'ok', 3, '(1,"x y")', array[(1, 'a')::public.pair, null], '10.0.0.0/8', '[2020-01-01,infinity)', '101', 'Hi',
   'a b', '12:00+02', 'infinity', 'z', 'q', 'public.nomic_cycles', 'ab', '{[1,3),[5,7)}'),
  (null, '-infinity', '', 'Infinity', -0.0, 1e-40, '{}', null, '', '0', null, null, null, null, null, null, 'empty', null,
   '', null, null, '0044-03-15 BC', null, null, null, null, null),
  (null, null, null, 1e300::numeric + 0.1, 0.1::float8 + 0.2, 3.4e38, null, null, E'\\.', null, '-1', null, null, null,
   null, '::1', null, null, null, null, null, null, null, null, null, null, null);
create table public.extended (v elsewhere.hstore[], w public.ltree);
create index on public.extended using gist (w);
insert into public.extended values (array['a=>1'::elsewhere.hstore], null);
create table public.without_columns ();
insert into public.without_columns default values;
create table public.without_rows (id int primary key);
create table public.parted (id int, t text) partition by list (id);
create table public.parted_1 partition of public.parted for values in (1);
create table public.parted_2 partition of public.parted for values in (2);
insert into public.parted values (1, 'a'), (2, 'b'), (1, 'a');
create table public.parent (id int);
create table public.child (x int) inherits (public.parent);
insert into public.child values (2, 3);
create table public.twice (v text, gone int);
insert into public.twice select 'same' from generate_series(1, 3);
alter table public.twice drop column gone;
create unlogged table public.unlogged (v int);
create sequence public.lone;
select nextval('public.lone');
create view public.seen as select * from public.twice;
create materialized view public.counted as select count(*) from public.twice;
grant select on public.twice to authenticated with grant option;
create policy own on public.nomic_cycles for select to authenticated, "anon" using (loop_id = 'x');

-- What refers to things that no backup of these schemas holds.
create table public.profiles (id uuid primary key references auth.users, maker uuid default auth.uid());
insert into public.profiles values ('00000000-0000-0000-0000-000000000001');
create policy ours on public.profiles using (auth.is_ours());
