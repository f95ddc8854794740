-- What the functions answer, as the service role.
begin;
set local search_path = public, extensions;
select plan(6);
set local role service_role;

select results_eq(
  $$ select * from loop_summary('nobody') $$,
  $$ values (0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint,
             null::timestamptz, null::timestamptz, null::double precision, null::boolean) $$,
  'a loop without records is one row of nothing'
);

insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, completed_at, success, revision) values
  (gen_random_uuid(), 'l', 1, 'debate', 'x', '2026-01-02', '2026-01-03', false, 1),
  (gen_random_uuid(), 'l', 2, 'debate', 'x', '2026-01-04', '2026-01-05', false, 1),
  (gen_random_uuid(), 'l', 2, 'design', 'x', '2026-01-06', '2026-01-07', true, 1),
  (gen_random_uuid(), 'l', 3, 'debate', 'x', '2026-01-08', null, null, 1),
  (gen_random_uuid(), 'other', 9, 'debate', 'x', '2020-01-01', '2030-01-01', false, 1);
insert into debate_artifacts
  (id, loop_id, cycle_number, phase, task, agents, transcript, consensus_reached, confidence, revision)
select gen_random_uuid(), 'l', n, 'debate', 't', '{}', '[]', n < 4, 1, 1 from generate_series(1, 4) n;
insert into stream_events (id, loop_id, cycle, event_type, event_data, "timestamp")
select gen_random_uuid(), 'l', 1, 'e', '{}', timestamptz '2026-01-01' + n * interval '1 day'
  from generate_series(0, 9) n;
insert into cycle_file_changes (id, loop_id, cycle_number, file_path, change_type)
values (gen_random_uuid(), 'l', 1, 'p', 'added');

select results_eq(
  $$ select cycles, debates, events, rollbacks, evolutions, file_changes from loop_summary('l') $$,
  $$ values (3::bigint, 4::bigint, 10::bigint, 0::bigint, 0::bigint, 1::bigint) $$,
  'cycles are counted once, other records one by one'
);
select results_eq(
  $$ select first_at, last_at, consensus_rate, last_success from loop_summary('l') $$,
  $$ values (timestamptz '2026-01-01', timestamptz '2026-01-10', 0.75::double precision, true) $$,
  'first and last moment, share of consensus, and the newest outcome that is known'
);

insert into agent_metrics
  (id, loop_id, cycle, agent_name, model, phase, messages_sent, votes_won, avg_response_time_ms, "timestamp")
values
  (gen_random_uuid(), 'l', 1, 'a', 'm', 'debate', 1, 2, 100, '2026-01-01'),
  (gen_random_uuid(), 'l', 1, 'a', 'm', 'design', 3, 2, 200, '2026-01-01'),
  (gen_random_uuid(), 'l', 2, 'a', 'm', 'debate', 9, 2, null, '2026-01-01'),
  (gen_random_uuid(), 'o', 2, 'a', 'm', 'debate', 4, 2, 1175, '2026-01-01'),
  (gen_random_uuid(), 'l', 1, 'b', null, null, 0, 0, 50, '2026-01-01');

select results_eq(
  $$ select agent_name, model, cycles, messages_sent, votes_won, avg_response_time_ms from agent_stats('l') $$,
  $$ values ('a', 'm', 2::bigint, 13::bigint, 6::bigint, 175::double precision), ('b', null, 1, 0, 0, null) $$,
  'sums of one loop; the mean is weighted by messages, and what was not measured does not count'
);
select results_eq(
  $$ select cycles, messages_sent, avg_response_time_ms from agent_stats() where agent_name = 'a' $$,
  $$ values (3::bigint, 17::bigint, 675::double precision) $$,
  'all loops, where none is named'
);
select is_empty($$ select * from agent_stats('nobody') $$, 'a loop without metrics has no rows');

select * from finish();
rollback;
