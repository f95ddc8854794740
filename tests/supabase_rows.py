"""Records of all seven kinds, and what a Supabase makes of them: row by row, against what was enqueued last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from aragora_persist import times
from aragora_persist.cloud.models import (
    MODELS,
    AgentMetrics,
    CloudModel,
    CycleEvolution,
    CycleFileChange,
    DebateArtifact,
    NomicCycle,
    NomicRollback,
    StreamEvent,
)
from aragora_persist.cloud.rows import to_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aragora_persist.cloud.models import Record

_START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
_TIMES = {model.TABLE: set(model.TIMES) for model in MODELS}
Rows = dict[tuple[str, str], dict[str, Any]]
"""Rows without ``inserted_at``, by table and id, with their times in the one text form."""


def models(number: int, *, state: int = 0, loop: str = "loop") -> list[CloudModel]:
    """Return one record of each kind; ``state`` changes what is mutable of them and nothing else."""
    at = _START + timedelta(seconds=number)
    text = f"Vorschlag {number}: „größer“ ≠ 'kleiner' \\ \" \n\t😀"
    rollback = NomicRollback(
        None, loop, number, "verify", text, "high", "abc123", None, ["a b", 'c"d', "e,{f}"], text, created_at=at
    )
    return [
        NomicCycle(loop, number, "debate", f"stage {state}", at, total_tasks=state, success=state % 2 == 0),
        DebateArtifact(
            *(loop, number, "debate", text, ["claude", "gemini"]),
            *([{"agent": "claude", "text": text, "round": state}], state > 0, state / 8),
            vote_tally={"claude": state, "nobody": None},
        ),
        StreamEvent(loop, number, "message", {"text": text, "deep": [{"x": [1.5, None, True]}]}, "claude", at),
        AgentMetrics(loop, number, "claude", "opus", "debate", number, avg_response_time_ms=12.25, timestamp=at),
        rollback,
        CycleEvolution(
            *(None, loop, number),
            winning_proposal_summary=f"state {state}",
            files_changed=[f"file {n}" for n in range(state)],
            rollback_id=rollback.id,
            created_at=at,
        ),
        CycleFileChange(loop, number, f"ä b/{number}.py", "modified", number, None),
    ]


def expected(records: Iterable[Record]) -> Rows:
    """Return the rows that these records, with their revisions known, should become."""
    rows: Rows = {}
    for record in records:
        rows[record.table, record.key] = _normal(record.table, to_row(record))
    return rows


def stored(db_url: str) -> Rows:
    """Return every row of the seven tables."""
    rows: Rows = {}
    with psycopg.connect(db_url, row_factory=dict_row) as connection:
        for table in _TIMES:
            for found in connection.execute(f"SELECT to_jsonb(t) - 'inserted_at' AS row FROM {table} AS t".encode()):
                row = found["row"]
                rows[table, row["id"]] = _normal(table, row)
    return rows


def compare(want: Rows, have: Rows) -> dict[str, int]:
    """Count what is missing, what is there beside what was sent, and what is there in another state."""
    return {
        "rows": len(want),
        "lost": len(want.keys() - have.keys()),
        "doubled": len(have.keys() - want.keys()),
        "stale": sum(have[place] != row for place, row in want.items() if place in have),
    }


def _normal(table: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: times.to_text(times.from_text(value)) if name in _TIMES[table] and value is not None else value
        for name, value in row.items()
    }
