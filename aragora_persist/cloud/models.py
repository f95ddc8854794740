"""The records that go to Supabase: the documented models, their tables and their keys.

Every record carries a key that the client makes from the record itself (a version 5 UUID of its natural key), so that
sending it again never makes a second row. *Immutable* kinds are facts: the first one stays. *Mutable* kinds change
under a ``revision`` that only grows: an older one never overwrites a newer one.

Pure but for the default timestamps. Leaves out: how records travel (the outbox, the client), and the sets of known
phases and stages, which are open.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

from aragora_persist import times
from aragora_persist.errors import InvalidValueError

_NAMESPACE = uuid.UUID("9c151cf9-5259-4029-81df-2972b37628a0")
"""Never changed: every key in every Supabase project depends on it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row on its way to a Supabase table.

    ``payload`` holds the columns but ``id`` (the key) and ``revision``. ``revision`` is 0 for an immutable kind; for a
    mutable one None stands for "newer than all before", which the outbox turns into a number.
    """

    table: str
    key: str
    payload: dict[str, object]
    revision: int | None


@dataclass
class CloudModel:
    """What all models share: a table, a natural key and the way into a record."""

    TABLE: ClassVar[str]
    NATURAL_KEY: ClassVar[tuple[str, ...]]
    MUTABLE: ClassVar[bool] = False
    TIMES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.TIMES:
            setattr(self, name, _aware(getattr(self, name)))

    def key(self) -> str:
        """Return the key of this record, the same for the same natural key, here and on every other machine."""
        natural = [self.TABLE, *(_plain(getattr(self, name)) for name in self.NATURAL_KEY)]
        try:
            text = json.dumps(natural, sort_keys=True, allow_nan=False, separators=(",", ":"))
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidValueError("make record", self.TABLE, f"the natural key is not JSON: {error}") from error
        return str(uuid.uuid5(_NAMESPACE, text))

    def to_record(self, revision: int | None = None) -> Record:
        """Return the row for Supabase, as this object is now.

        Raises:
            InvalidValueError: the natural key is not JSON, an ``id`` is no UUID, or the revision is not one: immutable
                kinds have none, those of mutable kinds begin at 1.

        """
        payload = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        key = payload.pop("id", None)
        if revision is not None and (not self.MUTABLE or revision < 1):
            rule = "revisions begin at 1" if self.MUTABLE else "is an immutable kind and has no revision"
            raise InvalidValueError("make record", self.TABLE, rule)
        return Record(
            self.TABLE,
            self.key() if key is None else _uuid_text(key, self.TABLE),
            payload,
            revision if self.MUTABLE else 0,
        )


def _aware(moment: datetime | None) -> datetime | None:
    """Return the moment with a zone; a naive one means UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _plain(value: object) -> object:
    """Return a field's value as JSON has it."""
    return times.to_text(value if value.tzinfo else value.replace(tzinfo=UTC)) if isinstance(value, datetime) else value


def _uuid_text(key: object, table: str) -> str:
    try:
        return str(uuid.UUID(str(key)))
    except ValueError as error:
        raise InvalidValueError(
            "make record", f"{table}.id", f"{key!r} is not a UUID", hint="pass None to have it made"
        ) from error


@dataclass
class NomicCycle(CloudModel):
    """The state of one phase of one cycle."""

    TABLE: ClassVar[str] = "nomic_cycles"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle_number", "phase")
    MUTABLE: ClassVar[bool] = True
    TIMES: ClassVar[tuple[str, ...]] = ("started_at", "completed_at")

    loop_id: str
    cycle_number: int
    phase: str
    stage: str
    started_at: datetime
    completed_at: datetime | None = None
    success: bool | None = None
    git_commit: str | None = None
    task_description: str | None = None
    total_tasks: int = 0
    completed_tasks: int = 0
    error_message: str | None = None


@dataclass
class DebateArtifact(CloudModel):
    """One debate with its full transcript. The task is part of its key: a phase may debate several."""

    TABLE: ClassVar[str] = "debate_artifacts"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle_number", "phase", "task")
    MUTABLE: ClassVar[bool] = True

    loop_id: str
    cycle_number: int
    phase: str
    task: str
    agents: list[str]
    transcript: list[dict[str, Any]]
    consensus_reached: bool
    confidence: float
    winning_proposal: str | None = None
    vote_tally: dict[str, Any] | None = None


@dataclass
class StreamEvent(CloudModel):
    """One event. Two that agree in every field, the microsecond included, are one event sent twice."""

    TABLE: ClassVar[str] = "stream_events"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle", "event_type", "event_data", "agent", "timestamp")
    TIMES: ClassVar[tuple[str, ...]] = ("timestamp",)

    loop_id: str
    cycle: int
    event_type: str
    event_data: dict[str, Any]
    agent: str | None = None
    timestamp: datetime = field(default_factory=times.utc_now)


@dataclass
class AgentMetrics(CloudModel):
    """What one agent did in one phase of one cycle, counted at one time."""

    TABLE: ClassVar[str] = "agent_metrics"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle", "agent_name", "model", "phase", "timestamp")
    TIMES: ClassVar[tuple[str, ...]] = ("timestamp",)

    loop_id: str
    cycle: int
    agent_name: str
    model: str | None = None
    phase: str | None = None
    messages_sent: int = 0
    proposals_made: int = 0
    critiques_given: int = 0
    votes_won: int = 0
    votes_received: int = 0
    consensus_contributions: int = 0
    avg_response_time_ms: float | None = None
    timestamp: datetime = field(default_factory=times.utc_now)


@dataclass
class NomicRollback(CloudModel):
    """One rollback. ``id`` None is replaced by the record's key, so that an evolution can name it."""

    TABLE: ClassVar[str] = "nomic_rollbacks"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle_number", "phase", "rolled_back_commit", "created_at")
    TIMES: ClassVar[tuple[str, ...]] = ("created_at",)

    id: str | None
    loop_id: str
    cycle_number: int
    phase: str
    reason: str
    severity: str
    rolled_back_commit: str | None = None
    preserved_branch: str | None = None
    files_affected: list[str] = field(default_factory=list)
    diff_summary: str = ""
    error_message: str | None = None
    created_at: datetime = field(default_factory=times.utc_now)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.id is None:
            self.id = self.key()


@dataclass
class CycleEvolution(CloudModel):
    """What a cycle did to the code base; ``rollback_id`` names the rollback that this cycle made, if it made one."""

    TABLE: ClassVar[str] = "cycle_evolution"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle_number")
    MUTABLE: ClassVar[bool] = True
    TIMES: ClassVar[tuple[str, ...]] = ("created_at",)

    id: str | None
    loop_id: str
    cycle_number: int
    debate_artifact_id: str | None = None
    winning_proposal_summary: str | None = None
    files_changed: list[str] = field(default_factory=list)
    git_commit: str | None = None
    rollback_id: str | None = None
    created_at: datetime = field(default_factory=times.utc_now)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.id is None:
            self.id = self.key()


@dataclass
class CycleFileChange(CloudModel):
    """One path that a cycle changed; the counts are None for a binary file."""

    TABLE: ClassVar[str] = "cycle_file_changes"
    NATURAL_KEY: ClassVar[tuple[str, ...]] = ("loop_id", "cycle_number", "file_path")

    loop_id: str
    cycle_number: int
    file_path: str
    change_type: str
    insertions: int | None = 0
    deletions: int | None = 0


MODELS: tuple[type[CloudModel], ...] = (
    NomicCycle,
    DebateArtifact,
    StreamEvent,
    AgentMetrics,
    NomicRollback,
    CycleEvolution,
    CycleFileChange,
)
"""Every kind of record, in the order in which the documentation lists their tables."""
