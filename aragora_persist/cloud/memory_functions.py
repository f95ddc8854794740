"""What the database's functions answer, over tables in memory. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Tables = Mapping[str, Mapping[str, dict[str, Any]]]

_MOMENTS = {
    "nomic_cycles": ("started_at", "completed_at"),
    "stream_events": ("timestamp",),
    "agent_metrics": ("timestamp",),
    "nomic_rollbacks": ("created_at",),
    "cycle_evolution": ("created_at",),
}
_SUMS = (
    *("messages_sent", "proposals_made", "critiques_given", "votes_won", "votes_received"),
    "consensus_contributions",
)


def loop_summary(tables: Tables, loop_id: str | None) -> list[dict[str, Any]]:
    """Return one loop in one row."""
    of_loop = {name: [row for row in table.values() if row["loop_id"] == loop_id] for name, table in tables.items()}
    cycles, debates = of_loop["nomic_cycles"], of_loop["debate_artifacts"]
    moments = [row[name] for table, names in _MOMENTS.items() for row in of_loop[table] for name in names if row[name]]
    ended = [row for row in cycles if row["success"] is not None]
    newest = max(ended, key=lambda row: (row["cycle_number"], row["started_at"], row["id"]), default={"success": None})
    return [
        {
            "cycles": len({row["cycle_number"] for row in cycles}),
            "debates": len(debates),
            "events": len(of_loop["stream_events"]),
            "rollbacks": len(of_loop["nomic_rollbacks"]),
            "evolutions": len(of_loop["cycle_evolution"]),
            "file_changes": len(of_loop["cycle_file_changes"]),
            "first_at": min(moments, default=None),
            "last_at": max(moments, default=None),
            "consensus_rate": sum(row["consensus_reached"] for row in debates) / len(debates) if debates else None,
            "last_success": newest["success"],
        }
    ]


def agent_stats(tables: Tables, loop_id: str | None) -> list[dict[str, Any]]:
    """Return what each agent did with each model, in the order of their names; no model comes last."""
    groups: defaultdict[tuple[str, bool, str], list[dict[str, Any]]] = defaultdict(list)
    for row in tables["agent_metrics"].values():
        if loop_id is None or row["loop_id"] == loop_id:
            groups[row["agent_name"], row["model"] is None, row["model"] or ""].append(row)
    return [_stats(rows) for _, rows in sorted(groups.items())]


def _stats(rows: list[dict[str, Any]]) -> dict[str, Any]:
    timed = [row for row in rows if row["avg_response_time_ms"] is not None]
    messages = sum(row["messages_sent"] for row in timed)
    spent_ms = sum(row["avg_response_time_ms"] * row["messages_sent"] for row in timed)
    return {
        "agent_name": rows[0]["agent_name"],
        "model": rows[0]["model"],
        "cycles": len({(row["loop_id"], row["cycle"]) for row in rows}),
        **{name: sum(row[name] for row in rows) for name in _SUMS},
        "avg_response_time_ms": spent_ms / messages if messages else None,
    }


FUNCTIONS: dict[str, Callable[[Tables, str | None], list[dict[str, Any]]]] = {
    "loop_summary": loop_summary,
    "agent_stats": agent_stats,
}
