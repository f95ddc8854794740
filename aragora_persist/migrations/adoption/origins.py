"""What the tables of other programs hold that ours hold too, and where each of their columns goes. Pure.

A table without an entry here is taken column by column where it has the name of one of ours (a database made by hand
from the documentation has all of them), and is carried over as it is where it has not. Leaves out: traces, which are
more than columns (``traces``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.adoption.origin import Origin
from aragora_persist.migrations.adoption.origins_users import USERS

if TYPE_CHECKING:
    from collections.abc import Mapping

FOREIGN_LEDGER = "_schema_versions"
"""Where the public code keeps a version for each of its modules."""

_ELO = (
    Origin(
        table="ratings",
        into="ratings",
        marks=frozenset(("elo",)),
        columns={"rating": "elo", "domain": "''", "updated_at": "COALESCE(updated_at, :now)"},
        uses=("elo", "updated_at"),
        beside=(
            *("domain_elos", "debates_count", "critiques_accepted", "critiques_total"),
            *("calibration_correct", "calibration_total", "calibration_brier_sum"),
        ),
    ),
    Origin(
        table="ratings",
        into="ratings",
        marks=frozenset(("elo", "domain_elos")),
        columns={
            "rating": "one.value",
            "domain": "one.key",
            "wins": "0",
            "losses": "0",
            "draws": "0",
            "updated_at": "COALESCE(updated_at, :now)",
        },
        uses=("domain_elos", "updated_at"),
        join=(
            ", json_each(CASE WHEN json_valid(domain_elos) "
            "THEN CASE json_type(domain_elos) WHEN 'object' THEN domain_elos ELSE '{}' END ELSE '{}' END) AS one"
        ),
        where="one.key <> ''",
    ),
    Origin(
        table="matches",
        into="matches",
        marks=frozenset(("participants", "elo_changes")),
        columns={"domain": "COALESCE(domain, '')", "played_at": "COALESCE(created_at, :now)"},
        uses=("domain", "created_at"),
        where="debate_id IS NOT NULL",
        unplaced="matches of no debate",
        beside=("*",),
    ),
    Origin(
        table="elo_history",
        into="elo_history",
        marks=frozenset(("elo",)),
        columns={
            "domain": "''",
            "rating_before": "before",
            "rating_after": "elo",
            "recorded_at": "COALESCE(created_at, :now)",
        },
        uses=("elo", "created_at"),
        rows=(
            "SELECT *, LAG(elo, 1, 1500.0) OVER (PARTITION BY agent_name ORDER BY id) AS before, "
            "ROW_NUMBER() OVER (PARTITION BY debate_id, agent_name ORDER BY id) AS place FROM {table}"
        ),
        where="place = 1 AND debate_id IN (SELECT debate_id FROM matches)",
        among="matches",
        unplaced="changes of no match, or of one a second time",
        beside=("*",),
    ),
)

_MEMORY = (
    Origin(
        table="continuum_memory",
        into="memories",
        columns={
            "surprise": "surprise_score",
            "stability": "consolidation_score",
            "access_count": "update_count",
            "tier_changed_at": "last_promotion_at",
            "created_at": "COALESCE(created_at, updated_at, :now)",
            "updated_at": "COALESCE(updated_at, created_at, :now)",
        },
        uses=(
            *("surprise_score", "consolidation_score", "update_count", "last_promotion_at"),
            *("created_at", "updated_at"),
        ),
        kept=("red_line_reason", "expires_at"),
        kept_in="metadata",
        beside=("semantic_centroid",),
    ),
    Origin(
        table="continuum_memory",
        into="red_line_events",
        marks=frozenset(("red_line",)),
        columns={
            "id": "NULL",
            "memory_id": "id",
            "action": "'marked'",
            "reason": "COALESCE(NULLIF(red_line_reason, ''), 'adopted')",
            "recorded_at": "COALESCE(updated_at, created_at, :now)",
        },
        uses=("red_line", "red_line_reason"),
        where="red_line = 1",
    ),
    Origin(
        table="continuum_memory_archive",
        into="memory_archive",
        columns={
            "importance": "COALESCE(importance, 0.5)",
            "surprise": "surprise_score",
            "stability": "consolidation_score",
            "access_count": "update_count",
            "reason": "COALESCE(archive_reason, 'archived')",
            "created_at": "COALESCE(created_at, archived_at, :now)",
            "archived_at": "COALESCE(archived_at, :now)",
        },
        uses=(
            *("importance", "surprise_score", "consolidation_score", "update_count", "archive_reason"),
            *("created_at", "archived_at"),
        ),
        beside=("semantic_centroid", "updated_at"),
    ),
    Origin(
        table="tier_transitions",
        into="tier_transitions",
        marks=frozenset(("created_at",)),
        columns={"reason": "COALESCE(reason, '')", "moved_at": "COALESCE(created_at, :now)"},
        uses=("reason", "created_at"),
        beside=("surprise_score",),
    ),
)

_POSITIONS = (
    Origin(
        table="positions",
        into="positions",
        columns={"created_at": "COALESCE(created_at, resolved_at, :now)"},
        uses=("created_at", "resolved_at"),
    ),
    Origin(
        table="detected_flips",
        into="flips",
        columns={
            "from_position_id": "original_position_id",
            "to_position_id": "new_position_id",
            "kind": "COALESCE(flip_type, 'contradiction')",
            "similarity": "COALESCE(similarity_score, 0)",
            "detected_at": "COALESCE(detected_at, :now)",
        },
        uses=("original_position_id", "new_position_id", "flip_type", "similarity_score", "detected_at"),
        rows=(
            "SELECT *, ROW_NUMBER() OVER (PARTITION BY original_position_id, new_position_id ORDER BY id) AS place "
            "FROM {table}"
        ),
        where=(
            "place = 1 AND original_position_id IN (SELECT id FROM positions) "
            "AND new_position_id IN (SELECT id FROM positions)"
        ),
        among="positions",
        unplaced="flips of positions that are not in this database, or of the same two a second time",
        beside=("*",),
    ),
)

ORIGINS: Mapping[str, tuple[Origin, ...]] = {
    "users": USERS,
    "elo": _ELO,
    "memory": _MEMORY,
    "positions": _POSITIONS,
}

OTHERS: Mapping[str, frozenset[str]] = {
    "memories": frozenset(("agent_name", "memory_type")),
    "matches": frozenset(("match_id", "tournament_id")),
    "webhook_deliveries": frozenset(("delivery_id", "payload")),
}
"""Tables of theirs that have the name of one of ours, and these columns, and hold something else."""
