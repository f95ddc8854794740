-- The seven tables of records, and who may do what with them.
--
-- `id` is made by the client from the natural key, so that sending a record again never makes a second row; the unique
-- constraints on the natural keys hold for whoever writes otherwise. A digest stands in for texts of any length, because
-- an index row holds less than 3 kB. There are no foreign keys: records arrive in any order.
--
-- Mutable kinds carry a `revision`. An update that is not newer than what is stored is dropped without an error, so that
-- a sender that wakes up late never overwrites newer data.

create table public.nomic_cycles (
  id uuid primary key,
  loop_id text not null,
  cycle_number integer not null,
  phase text not null,
  stage text not null,
  started_at timestamptz not null,
  completed_at timestamptz,
  success boolean,
  git_commit text,
  task_description text,
  total_tasks integer not null default 0,
  completed_tasks integer not null default 0,
  error_message text,
  revision bigint not null,
  inserted_at timestamptz not null default now(),
  constraint nomic_cycles_natural_key unique (loop_id, cycle_number, phase),
  constraint nomic_cycles_counts check (total_tasks >= 0 and completed_tasks >= 0),
  constraint nomic_cycles_revision check (revision >= 1)
);
create index nomic_cycles_in_order on public.nomic_cycles (loop_id, started_at, id);
comment on table public.nomic_cycles is 'The state of one phase of one cycle';
comment on column public.nomic_cycles.id is 'Made by the client from loop_id, cycle_number and phase';
comment on column public.nomic_cycles.loop_id is 'The loop that the cycle belongs to';
comment on column public.nomic_cycles.cycle_number is 'The number of the cycle in its loop';
comment on column public.nomic_cycles.phase is 'Such as debate, design, implement, verify, commit';
comment on column public.nomic_cycles.stage is 'Such as proposing, critiquing, voting, executing';
comment on column public.nomic_cycles.started_at is 'When the phase began';
comment on column public.nomic_cycles.completed_at is 'When the phase ended; null while it runs';
comment on column public.nomic_cycles.success is 'How the phase ended; null while that is open';
comment on column public.nomic_cycles.git_commit is 'The commit that came of it';
comment on column public.nomic_cycles.task_description is 'What the cycle works on';
comment on column public.nomic_cycles.total_tasks is 'How many tasks the phase has';
comment on column public.nomic_cycles.completed_tasks is 'How many of them are done';
comment on column public.nomic_cycles.error_message is 'Why the phase failed';
comment on column public.nomic_cycles.revision is 'Grows with every change; an older one never replaces a newer one';
comment on column public.nomic_cycles.inserted_at is 'When the row was first stored here';

create table public.debate_artifacts (
  id uuid primary key,
  loop_id text not null,
  cycle_number integer not null,
  phase text not null,
  task text not null,
  agents text[] not null,
  transcript jsonb not null,
  consensus_reached boolean not null,
  confidence double precision not null,
  winning_proposal text,
  vote_tally jsonb,
  revision bigint not null,
  inserted_at timestamptz not null default now(),
  constraint debate_artifacts_revision check (revision >= 1)
);
create unique index debate_artifacts_natural_key
  on public.debate_artifacts (loop_id, cycle_number, phase, md5(task));
create index debate_artifacts_by_arrival on public.debate_artifacts (loop_id, inserted_at, id);
comment on table public.debate_artifacts is 'One debate with its full transcript';
comment on column public.debate_artifacts.id is 'Made by the client from loop_id, cycle_number, phase and task';
comment on column public.debate_artifacts.loop_id is 'The loop that the cycle belongs to';
comment on column public.debate_artifacts.cycle_number is 'The number of the cycle in its loop';
comment on column public.debate_artifacts.phase is 'The phase that held the debate';
comment on column public.debate_artifacts.task is 'What was debated; a phase may debate several tasks';
comment on column public.debate_artifacts.agents is 'The names of those who took part';
comment on column public.debate_artifacts.transcript is 'Every message, in order: a list of objects';
comment on column public.debate_artifacts.consensus_reached is 'Whether the debate ended in agreement';
comment on column public.debate_artifacts.confidence is 'How sure the agents were of the outcome';
comment on column public.debate_artifacts.winning_proposal is 'The text that won';
comment on column public.debate_artifacts.vote_tally is 'The votes for each proposal: an object';
comment on column public.debate_artifacts.revision is 'Grows with every change; an older one never replaces a newer one';
comment on column public.debate_artifacts.inserted_at is 'When the row was first stored here';

create table public.stream_events (
  id uuid primary key,
  loop_id text not null,
  cycle integer not null,
  event_type text not null,
  event_data jsonb not null,
  agent text,
  "timestamp" timestamptz not null,
  inserted_at timestamptz not null default now()
);
create index stream_events_in_order on public.stream_events (loop_id, "timestamp", id);
-- Who follows a loop asks again and again for what has arrived lately.
create index stream_events_by_arrival on public.stream_events (loop_id, inserted_at, id);
comment on table public.stream_events is 'One event of a loop';
comment on column public.stream_events.id is 'Made by the client from all other fields: two equal events are one, sent twice';
comment on column public.stream_events.loop_id is 'The loop that the cycle belongs to';
comment on column public.stream_events.cycle is 'The number of the cycle in its loop';
comment on column public.stream_events.event_type is 'Such as cycle_start, phase_start, task_complete, error';
comment on column public.stream_events.event_data is 'What the event says: an object';
comment on column public.stream_events.agent is 'The agent that it concerns';
comment on column public.stream_events."timestamp" is 'When it happened';
comment on column public.stream_events.inserted_at is 'When the row was first stored here';

create table public.agent_metrics (
  id uuid primary key,
  loop_id text not null,
  cycle integer not null,
  agent_name text not null,
  model text,
  phase text,
  messages_sent integer not null default 0,
  proposals_made integer not null default 0,
  critiques_given integer not null default 0,
  votes_won integer not null default 0,
  votes_received integer not null default 0,
  consensus_contributions integer not null default 0,
  avg_response_time_ms double precision,
  "timestamp" timestamptz not null,
  inserted_at timestamptz not null default now(),
  constraint agent_metrics_natural_key
    unique nulls not distinct (loop_id, cycle, agent_name, model, phase, "timestamp"),
  constraint agent_metrics_counts check (
    messages_sent >= 0 and proposals_made >= 0 and critiques_given >= 0
    and votes_won >= 0 and votes_received >= 0 and consensus_contributions >= 0
    and avg_response_time_ms >= 0
  )
);
comment on table public.agent_metrics is 'What one agent did in one phase of one cycle, counted at one time';
comment on column public.agent_metrics.id is
  'Made by the client from loop_id, cycle, agent_name, model, phase and timestamp';
comment on column public.agent_metrics.loop_id is 'The loop that the cycle belongs to';
comment on column public.agent_metrics.cycle is 'The number of the cycle in its loop';
comment on column public.agent_metrics.agent_name is 'The agent';
comment on column public.agent_metrics.model is 'The language model behind it';
comment on column public.agent_metrics.phase is 'The phase that was counted; null for the whole cycle';
comment on column public.agent_metrics.messages_sent is 'Messages that it sent';
comment on column public.agent_metrics.proposals_made is 'Proposals that it made';
comment on column public.agent_metrics.critiques_given is 'Critiques that it gave';
comment on column public.agent_metrics.votes_won is 'Votes that its proposals won';
comment on column public.agent_metrics.votes_received is 'Votes that it received';
comment on column public.agent_metrics.consensus_contributions is 'Agreements that it had a part in';
comment on column public.agent_metrics.avg_response_time_ms is 'The mean time of its answers, in milliseconds';
comment on column public.agent_metrics."timestamp" is 'When it was counted';
comment on column public.agent_metrics.inserted_at is 'When the row was first stored here';

create table public.nomic_rollbacks (
  id uuid primary key,
  loop_id text not null,
  cycle_number integer not null,
  phase text not null,
  reason text not null,
  severity text not null,
  rolled_back_commit text,
  preserved_branch text,
  files_affected text[] not null default '{}',
  diff_summary text not null default '',
  error_message text,
  created_at timestamptz not null,
  inserted_at timestamptz not null default now(),
  constraint nomic_rollbacks_natural_key
    unique nulls not distinct (loop_id, cycle_number, phase, rolled_back_commit, created_at)
);
comment on table public.nomic_rollbacks is 'One rollback';
comment on column public.nomic_rollbacks.id is
  'The sender''s own, or made from loop_id, cycle_number, phase, rolled_back_commit and created_at';
comment on column public.nomic_rollbacks.loop_id is 'The loop that the cycle belongs to';
comment on column public.nomic_rollbacks.cycle_number is 'The number of the cycle in its loop';
comment on column public.nomic_rollbacks.phase is 'The phase that was rolled back';
comment on column public.nomic_rollbacks.reason is 'Why it was';
comment on column public.nomic_rollbacks.severity is 'Such as low, medium, high';
comment on column public.nomic_rollbacks.rolled_back_commit is 'The commit that was undone';
comment on column public.nomic_rollbacks.preserved_branch is 'The branch that keeps what was undone';
comment on column public.nomic_rollbacks.files_affected is 'The paths that were touched';
comment on column public.nomic_rollbacks.diff_summary is 'What was undone, in short';
comment on column public.nomic_rollbacks.error_message is 'The error that led to it';
comment on column public.nomic_rollbacks.created_at is 'When it was done';
comment on column public.nomic_rollbacks.inserted_at is 'When the row was first stored here';

create table public.cycle_evolution (
  id uuid primary key,
  loop_id text not null,
  cycle_number integer not null,
  debate_artifact_id uuid,
  winning_proposal_summary text,
  files_changed text[] not null default '{}',
  git_commit text,
  rollback_id uuid,
  created_at timestamptz not null,
  revision bigint not null,
  inserted_at timestamptz not null default now(),
  constraint cycle_evolution_natural_key unique (loop_id, cycle_number),
  constraint cycle_evolution_revision check (revision >= 1)
);
comment on table public.cycle_evolution is 'What a cycle did to the code base';
comment on column public.cycle_evolution.id is 'The sender''s own, or made from loop_id and cycle_number';
comment on column public.cycle_evolution.loop_id is 'The loop that the cycle belongs to';
comment on column public.cycle_evolution.cycle_number is 'The number of the cycle in its loop';
comment on column public.cycle_evolution.debate_artifact_id is 'The debate that it came of; that row may arrive later';
comment on column public.cycle_evolution.winning_proposal_summary is 'What was done, in short';
comment on column public.cycle_evolution.files_changed is 'The paths that were changed';
comment on column public.cycle_evolution.git_commit is 'The commit that holds it';
comment on column public.cycle_evolution.rollback_id is 'The rollback that this cycle made; that row may arrive later';
comment on column public.cycle_evolution.created_at is 'When it was done';
comment on column public.cycle_evolution.revision is 'Grows with every change; an older one never replaces a newer one';
comment on column public.cycle_evolution.inserted_at is 'When the row was first stored here';

create table public.cycle_file_changes (
  id uuid primary key,
  loop_id text not null,
  cycle_number integer not null,
  file_path text not null,
  change_type text not null,
  insertions integer default 0,
  deletions integer default 0,
  inserted_at timestamptz not null default now(),
  constraint cycle_file_changes_counts check (insertions >= 0 and deletions >= 0)
);
create unique index cycle_file_changes_natural_key
  on public.cycle_file_changes (loop_id, cycle_number, md5(file_path));
comment on table public.cycle_file_changes is 'One path that a cycle changed';
comment on column public.cycle_file_changes.id is 'Made by the client from loop_id, cycle_number and file_path';
comment on column public.cycle_file_changes.loop_id is 'The loop that the cycle belongs to';
comment on column public.cycle_file_changes.cycle_number is 'The number of the cycle in its loop';
comment on column public.cycle_file_changes.file_path is 'The path, from the root of the repository';
comment on column public.cycle_file_changes.change_type is 'Such as added, modified, deleted, renamed';
comment on column public.cycle_file_changes.insertions is 'Lines added; null for a binary file';
comment on column public.cycle_file_changes.deletions is 'Lines removed; null for a binary file';
comment on column public.cycle_file_changes.inserted_at is 'When the row was first stored here';

create function public.keep_newest_revision() returns trigger
  language plpgsql
  set search_path = ''
as $$
begin
  if new.revision <= old.revision then
    return null;
  end if;
  return new;
end;
$$;
comment on function public.keep_newest_revision() is 'Drops an update whose revision is not above the stored one';

create trigger keep_newest_revision before update on public.nomic_cycles
  for each row execute function public.keep_newest_revision();
create trigger keep_newest_revision before update on public.debate_artifacts
  for each row execute function public.keep_newest_revision();
create trigger keep_newest_revision before update on public.cycle_evolution
  for each row execute function public.keep_newest_revision();

-- Older projects grant everything on new tables by default, newer ones nothing, not even to the service role: so both
-- are said. Row level security without a policy shuts out every role that does not bypass it.
alter table public.nomic_cycles enable row level security;
alter table public.debate_artifacts enable row level security;
alter table public.stream_events enable row level security;
alter table public.agent_metrics enable row level security;
alter table public.nomic_rollbacks enable row level security;
alter table public.cycle_evolution enable row level security;
alter table public.cycle_file_changes enable row level security;

revoke all on
  public.nomic_cycles, public.debate_artifacts, public.stream_events, public.agent_metrics,
  public.nomic_rollbacks, public.cycle_evolution, public.cycle_file_changes
from public, anon, authenticated, service_role;
grant select, insert on
  public.nomic_cycles, public.debate_artifacts, public.stream_events, public.agent_metrics,
  public.nomic_rollbacks, public.cycle_evolution, public.cycle_file_changes
to service_role;
grant update on public.nomic_cycles, public.debate_artifacts, public.cycle_evolution to service_role;
revoke all on function public.keep_newest_revision() from public, anon, authenticated, service_role;
