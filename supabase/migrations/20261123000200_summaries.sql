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
  with moments (first_at, last_at) as (
    select least(min(started_at), min(completed_at)), greatest(max(started_at), max(completed_at))
      from public.nomic_cycles where loop_id = p_loop_id
    union all
    select min("timestamp"), max("timestamp") from public.stream_events where loop_id = p_loop_id
    union all
    select min("timestamp"), max("timestamp") from public.agent_metrics where loop_id = p_loop_id
    union all
    select min(created_at), max(created_at) from public.nomic_rollbacks where loop_id = p_loop_id
    union all
    select min(created_at), max(created_at) from public.cycle_evolution where loop_id = p_loop_id
  )
  select
    (select count(distinct cycle_number) from public.nomic_cycles where loop_id = p_loop_id),
    (select count(*) from public.debate_artifacts where loop_id = p_loop_id),
    (select count(*) from public.stream_events where loop_id = p_loop_id),
    (select count(*) from public.nomic_rollbacks where loop_id = p_loop_id),
    (select count(*) from public.cycle_evolution where loop_id = p_loop_id),
    (select count(*) from public.cycle_file_changes where loop_id = p_loop_id),
    (select min(first_at) from moments),
    (select max(last_at) from moments),
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
  -- By cycle first: counting distinct pairs would sort all rows.
  with by_cycle as (
    select
      m.agent_name,
      m.model,
      sum(m.messages_sent) as messages_sent,
      sum(m.proposals_made) as proposals_made,
      sum(m.critiques_given) as critiques_given,
      sum(m.votes_won) as votes_won,
      sum(m.votes_received) as votes_received,
      sum(m.consensus_contributions) as consensus_contributions,
      sum(m.avg_response_time_ms * m.messages_sent) as response_time_ms,
      sum(m.messages_sent) filter (where m.avg_response_time_ms is not null) as timed_messages
    from public.agent_metrics m
    where p_loop_id is null or m.loop_id = p_loop_id
    group by m.agent_name, m.model, m.loop_id, m.cycle
  )
  select
    c.agent_name,
    c.model,
    count(*),
    sum(c.messages_sent)::bigint,
    sum(c.proposals_made)::bigint,
    sum(c.critiques_given)::bigint,
    sum(c.votes_won)::bigint,
    sum(c.votes_received)::bigint,
    sum(c.consensus_contributions)::bigint,
    sum(c.response_time_ms) / nullif(sum(c.timed_messages), 0)::double precision
  from by_cycle c
  group by c.agent_name, c.model
  order by c.agent_name, c.model
$$;
comment on function public.agent_stats(text) is
  'What each agent did with each model, in one loop or in all: distinct cycles, sums, and the mean response time weighted
by the messages sent';

revoke all on function public.loop_summary(text), public.agent_stats(text)
from public, anon, authenticated, service_role;
grant execute on function public.loop_summary(text), public.agent_stats(text) to service_role;
