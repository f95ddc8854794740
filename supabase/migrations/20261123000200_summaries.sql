-- What the service asks of many rows at once, answered where the rows are.

create function public.loop_summary(p_loop_id text)
  returns table (
    cycles bigint,
    debates bigint,
    events bigint,
    rollbacks bigint,
    evolutions bigint,
    file_changes bigint,
    first_at timestamptz,
    last_at timestamptz,
    consensus_rate double precision,
    last_success boolean
  )
  language sql
  stable
  security invoker
  set search_path = ''
as $$
  with moments (at) as (
    select started_at from public.nomic_cycles where loop_id = p_loop_id
    union all
    select completed_at from public.nomic_cycles where loop_id = p_loop_id
    union all
    select min("timestamp") from public.stream_events where loop_id = p_loop_id
    union all
    select max("timestamp") from public.stream_events where loop_id = p_loop_id
    union all
    select "timestamp" from public.agent_metrics where loop_id = p_loop_id
    union all
    select created_at from public.nomic_rollbacks where loop_id = p_loop_id
    union all
    select created_at from public.cycle_evolution where loop_id = p_loop_id
  )
  select
    (select count(distinct cycle_number) from public.nomic_cycles where loop_id = p_loop_id),
    (select count(*) from public.debate_artifacts where loop_id = p_loop_id),
    (select count(*) from public.stream_events where loop_id = p_loop_id),
    (select count(*) from public.nomic_rollbacks where loop_id = p_loop_id),
    (select count(*) from public.cycle_evolution where loop_id = p_loop_id),
    (select count(*) from public.cycle_file_changes where loop_id = p_loop_id),
    (select min(at) from moments),
    (select max(at) from moments),
    (select avg(consensus_reached::integer)::double precision
       from public.debate_artifacts where loop_id = p_loop_id),
    (select success
       from public.nomic_cycles
      where loop_id = p_loop_id and success is not null
      order by cycle_number desc, started_at desc, id desc
      limit 1)
$$;
comment on function public.loop_summary(text) is
  'One loop in one row: distinct cycles, counts of the other records, the first and last moment of any of them, the share
of debates that reached consensus, and how the newest phase with an outcome ended';

create function public.agent_stats(p_loop_id text default null)
  returns table (
    agent_name text,
    model text,
    cycles bigint,
    messages_sent bigint,
    proposals_made bigint,
    critiques_given bigint,
    votes_won bigint,
    votes_received bigint,
    consensus_contributions bigint,
    avg_response_time_ms double precision
  )
  language sql
  stable
  security invoker
  set search_path = ''
as $$
  select
    m.agent_name,
    m.model,
    count(distinct (m.loop_id, m.cycle)),
    sum(m.messages_sent),
    sum(m.proposals_made),
    sum(m.critiques_given),
    sum(m.votes_won),
    sum(m.votes_received),
    sum(m.consensus_contributions),
    sum(m.avg_response_time_ms * m.messages_sent)
      / nullif(sum(m.messages_sent) filter (where m.avg_response_time_ms is not null), 0)
  from public.agent_metrics m
  where p_loop_id is null or m.loop_id = p_loop_id
  group by m.agent_name, m.model
  order by m.agent_name, m.model
$$;
comment on function public.agent_stats(text) is
  'What each agent did with each model, in one loop or in all: distinct cycles, sums, and the mean response time weighted
by the messages sent';

revoke all on function public.loop_summary(text), public.agent_stats(text)
from public, anon, authenticated, service_role;
grant execute on function public.loop_summary(text), public.agent_stats(text) to service_role;
