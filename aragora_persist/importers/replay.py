"""Imports a debate's trace file: the replay into its store, what follows from it on its way to Supabase.

The events become stream events, what was said the transcript of a debate artifact, and the counts for each agent its
metrics, all in the loop ``replay:<trace_id>``. The replay is saved first, then the records are enqueued together with a
note that they were, so that an import that was killed between the two is completed by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.cloud.models import AgentMetrics, DebateArtifact, StreamEvent
from aragora_persist.cloud.outbox import prepare
from aragora_persist.errors import DamagedError, InvalidValueError, NotFoundError
from aragora_persist.importers import ledger
from aragora_persist.storage.replays import trace as traces

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from aragora_persist.cloud.models import CloudModel
    from aragora_persist.cloud.outbox import Outbox
    from aragora_persist.storage.replay_store import ReplayStore
    from aragora_persist.storage.replays.trace import Trace, TraceEvent

MAX_BYTES = 64 << 20
"""The largest file that is taken by default: reading one needs about ten times its size in memory."""

_OPERATION = "import replay"
_PHASE = "debate"
_CYCLE = 1
_SPOKEN = frozenset({"message", "agent_proposal", "agent_critique", "agent_synthesis"})


@dataclass(frozen=True, slots=True)
class ReplayImport:
    """What an import did: the replay, whether it was new to the store, and the records that were new."""

    trace_id: str
    loop_id: str
    events: int
    is_new: bool
    debates: int
    stream_events: int
    agent_metrics: int


def import_replay(
    file: str | os.PathLike[str],
    store: ReplayStore,
    outbox: Outbox,
    *,
    accept_bad_checksum: bool = False,
    max_bytes: int = MAX_BYTES,
) -> ReplayImport:
    """Import one trace file; importing it again changes nothing.

    Raises:
        NotFoundError: there is no such file.
        InvalidValueError: the file is too large, no UTF-8, no JSON, or breaks the format; nothing was written.
        DamagedError: the checksum is not that of the events, and ``accept_bad_checksum`` is off; nothing was written.
        ConflictError: another content was imported under the same trace id, and stays.

    """
    trace = _parse(Path(file), max_bytes, accept_bad_checksum=accept_bad_checksum)
    loop_id = f"replay:{trace.trace_id}"
    records = [model.to_record() for model in _models(trace, loop_id)]
    is_new = store.save(trace)
    # Before the transaction: a large trace takes seconds, and the writer is everybody's.
    prepared, digest = prepare(records), trace.digest()
    with outbox.transaction(_OPERATION) as tx:
        noted = ledger.note_replay(tx, trace.trace_id, digest)
        if noted:
            outbox.enqueue(prepared, tx=tx)
    tables = [record.table for record in records] if noted else []
    return ReplayImport(
        trace_id=trace.trace_id,
        loop_id=loop_id,
        events=len(trace.events),
        is_new=is_new,
        debates=tables.count(DebateArtifact.TABLE),
        stream_events=tables.count(StreamEvent.TABLE),
        agent_metrics=tables.count(AgentMetrics.TABLE),
    )


def _parse(file: Path, max_bytes: int, *, accept_bad_checksum: bool) -> Trace:
    """Read a trace file; errors name it."""
    text = _read(file, max_bytes)
    try:
        return traces.parse(text, accept_bad_checksum=accept_bad_checksum)
    except (InvalidValueError, DamagedError) as error:
        raise type(error)(_OPERATION, f"{file}: {error.target}", error.problem, hint=error.hint) from None


def _read(file: Path, max_bytes: int) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise NotFoundError(_OPERATION, file, "there is no such file") from error
    except OSError as error:
        raise InvalidValueError(_OPERATION, file, f"cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise InvalidValueError(_OPERATION, file, f"is larger than {max_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(_OPERATION, file, f"is not UTF-8 at byte {error.start}") from error


def _models(trace: Trace, loop_id: str) -> Iterator[CloudModel]:
    spoken = [event for event in trace.events if event.event_type in _SPOKEN]
    result = trace.final_result
    yield DebateArtifact(
        loop_id=loop_id,
        cycle_number=_CYCLE,
        phase=_PHASE,
        task=trace.task,
        agents=list(trace.agents),
        transcript=[_said(event) for event in spoken],
        consensus_reached=bool(result.get("consensus_reached")),
        confidence=float(result.get("confidence") or 0),
        winning_proposal=result.get("final_answer"),
        vote_tally=_votes(trace),
    )
    for position, event in enumerate(trace.events):
        yield StreamEvent(
            loop_id=loop_id,
            cycle=_CYCLE,
            event_type=event.event_type,
            # The position tells two events apart that agree in everything else.
            event_data={**event.document, "trace_position": position},
            agent=event.agent,
            timestamp=event.timestamp,
        )
    speakers = dict.fromkeys([*trace.agents, *(event.agent for event in spoken if event.agent)])
    for agent in speakers:
        yield _metrics(trace, loop_id, agent, [event for event in spoken if event.agent == agent])


def _said(event: TraceEvent) -> dict[str, object]:
    """Return an event as a message of the transcript."""
    return {
        "event_id": event.event_id,
        "type": event.event_type,
        "agent": event.agent,
        "round": event.round_num,
        "timestamp": times.to_text(event.timestamp),
        "content": event.content,
    }


def _votes(trace: Trace) -> dict[str, object] | None:
    """Return the votes of the last consensus check that lists any."""
    checks = [event.content.get("votes") for event in trace.events if event.event_type == "consensus_check"]
    return next((votes for votes in reversed(checks) if isinstance(votes, dict)), None)


def _metrics(trace: Trace, loop_id: str, agent: str, spoken: list[TraceEvent]) -> AgentMetrics:
    kinds = [event.event_type for event in spoken]
    durations = [event.duration_ms for event in spoken if event.duration_ms is not None]
    return AgentMetrics(
        loop_id=loop_id,
        cycle=_CYCLE,
        agent_name=agent,
        phase=_PHASE,
        messages_sent=len(spoken),
        proposals_made=kinds.count("agent_proposal"),
        critiques_given=kinds.count("agent_critique"),
        consensus_contributions=kinds.count("agent_synthesis"),
        avg_response_time_ms=fmean(durations) if durations else None,
        timestamp=trace.completed_at or trace.started_at,
    )
