-- What is stored and what is refused: revisions, natural keys, counts. As the service role, which the services are.
begin;
set local search_path = public, extensions;
select plan(17);
set local role service_role;

insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, revision)
values ('00000000-0000-0000-0000-000000000001', 'l', 1, 'debate', 'proposing', '2026-01-01T00:00:00Z', 5);

prepare stage as select stage from nomic_cycles where loop_id = 'l';
update nomic_cycles set stage = 'older', revision = 4 where loop_id = 'l';
select results_eq('stage', array['proposing'], 'an older revision is dropped');
update nomic_cycles set stage = 'same', revision = 5 where loop_id = 'l';
select results_eq('stage', array['proposing'], 'so is the same one');
update nomic_cycles set stage = 'newer', revision = 6 where loop_id = 'l';
select results_eq('stage', array['newer'], 'a newer one is stored');
select lives_ok(
  $$ insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, revision)
     values ('00000000-0000-0000-0000-000000000001', 'l', 1, 'debate', 'late', '2026-01-01T00:00:00Z', 3)
     on conflict (id) do update set stage = excluded.stage, revision = excluded.revision $$,
  'a late upsert is no error'
);
select results_eq('stage', array['newer'], 'and changes nothing');

select throws_ok(
  $$ insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, revision)
     values (gen_random_uuid(), 'l', 1, 'debate', 'x', now(), 1) $$,
  '23505', null, 'one cycle phase is one row, whatever its id'
);
insert into debate_artifacts
  (id, loop_id, cycle_number, phase, task, agents, transcript, consensus_reached, confidence, revision)
values (gen_random_uuid(), 'l', 1, 'debate', repeat('long ', 10000), '{a}', '[]', true, 1, 1);
select throws_ok(
  $$ insert into debate_artifacts
       (id, loop_id, cycle_number, phase, task, agents, transcript, consensus_reached, confidence, revision)
     values (gen_random_uuid(), 'l', 1, 'debate', repeat('long ', 10000), '{a}', '[]', true, 1, 1) $$,
  '23505', null, 'a task of any length is part of its key'
);
insert into agent_metrics (id, loop_id, cycle, agent_name, "timestamp")
values (gen_random_uuid(), 'l', 1, 'a', '2026-01-01T00:00:00Z');
select throws_ok(
  $$ insert into agent_metrics (id, loop_id, cycle, agent_name, "timestamp")
     values (gen_random_uuid(), 'l', 1, 'a', '2026-01-01T00:00:00Z') $$,
  '23505', null, 'no model is one model'
);
insert into nomic_rollbacks (id, loop_id, cycle_number, phase, reason, severity, created_at)
values (gen_random_uuid(), 'l', 1, 'commit', 'r', 'low', '2026-01-01T00:00:00Z');
select throws_ok(
  $$ insert into nomic_rollbacks (id, loop_id, cycle_number, phase, reason, severity, created_at)
     values (gen_random_uuid(), 'l', 1, 'commit', 'other', 'low', '2026-01-01T00:00:00Z') $$,
  '23505', null, 'no commit is one commit'
);
insert into cycle_evolution (id, loop_id, cycle_number, created_at, revision)
values (gen_random_uuid(), 'l', 1, '2026-01-01T00:00:00Z', 1);
select throws_ok(
  $$ insert into cycle_evolution (id, loop_id, cycle_number, created_at, revision)
     values (gen_random_uuid(), 'l', 1, now(), 2) $$,
  '23505', null, 'a cycle has one evolution'
);
insert into cycle_file_changes (id, loop_id, cycle_number, file_path, change_type, insertions, deletions)
values (gen_random_uuid(), 'l', 1, repeat('deep/', 2000), 'added', null, null);
select throws_ok(
  $$ insert into cycle_file_changes (id, loop_id, cycle_number, file_path, change_type)
     values (gen_random_uuid(), 'l', 1, repeat('deep/', 2000), 'added') $$,
  '23505', null, 'a path changes once in a cycle'
);

select throws_ok(
  $$ insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, revision)
     values (gen_random_uuid(), 'l', 2, 'debate', 'x', now(), 0) $$,
  '23514', null, 'revisions begin at 1'
);
select throws_ok(
  $$ insert into nomic_cycles (id, loop_id, cycle_number, phase, stage, started_at, total_tasks, revision)
     values (gen_random_uuid(), 'l', 2, 'debate', 'x', now(), -1, 1) $$,
  '23514', null, 'tasks are not negative'
);
select throws_ok(
  $$ insert into agent_metrics (id, loop_id, cycle, agent_name, messages_sent, "timestamp")
     values (gen_random_uuid(), 'l', 2, 'a', -1, now()) $$,
  '23514', null, 'messages are not negative'
);
select throws_ok(
  $$ insert into cycle_file_changes (id, loop_id, cycle_number, file_path, change_type, insertions)
     values (gen_random_uuid(), 'l', 2, 'p', 'added', -1) $$,
  '23514', null, 'lines are not negative'
);
select throws_ok(
  $$ update stream_events set agent = 'a' $$, '42501', null, 'an event is a fact: nobody changes it'
);
select throws_ok($$ delete from nomic_cycles $$, '42501', null, 'the services delete nothing');

select * from finish();
rollback;
