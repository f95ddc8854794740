"""What the tables of other programs hold that ours hold too, and where each of their columns goes. Pure.

A table without an entry here is taken column by column where it has the name of one of ours (a database made by hand
from the documentation has all of them), and is carried over as it is where it has not. Leaves out: traces, which are
more than columns (``traces``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FOREIGN_LEDGER = "_schema_versions"
"""Where the public code keeps a version for each of its modules."""

_NOT_COMPARABLE = "hashes of another kind, which nothing here can compare: make new ones"
_PLAIN_SECRET = "a secret that is not kept in plain text"  # noqa: S105 - a reason, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How rows of one of their tables become rows of one of ours."""

    table: str
    into: str
    marks: frozenset[str] = frozenset()
    """Columns that tell their table from another one of this name."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """SQL over their columns for ours; a column that is missing here is theirs of the same name.

    ``:now`` and ``:in_a_year`` are times; ``moment`` gives a time our form, ``sha256`` a token that of its hash."""
    uses: tuple[str, ...] = ()
    """Every column of theirs that the SQL names; where their table lacks one, it is NULL."""
    rows: str = "SELECT * FROM {table}"
    """Their rows, with what the SQL needs besides."""
    join: str = ""
    where: str = ""
    """Which rows have a place in ours."""
    among: str = ""
    """A table of theirs that ``where`` looks into; without it no row has a place."""
    unplaced: str = ""
    """Why the others have none."""
    kept: tuple[str, ...] = ()
    kept_in: str = ""
    """Our JSON column that takes the columns ``kept``, under their own names."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns of theirs that do not come over, and why."""
    beside: tuple[str, ...] = ()
    """Columns of theirs that are kept in a table ``adopted_<table>``, with the key; ``*`` is every column."""


_USERS = (
    Origin(
        table="users",
        into="users",
        columns={
            "locked_until": "COALESCE(lockout_until, locked_until)",
            "failed_login_count": "MAX(COALESCE(failed_login_attempts, 0), COALESCE(failed_login_count, 0))",
            "created_at": "COALESCE(created_at, updated_at)",
            "updated_at": "COALESCE(updated_at, created_at)",
        },
        uses=(
            *("lockout_until", "locked_until", "failed_login_attempts", "failed_login_count"),
            *("created_at", "updated_at"),
        ),
        left_out={"mfa_backup_codes": _NOT_COMPARABLE, "last_failed_login_at": "nothing reads it"},
    ),
    Origin(
        table="users",
        into="api_keys",
        marks=frozenset(("api_key_hash",)),
        columns={
            "id": "lower(hex(randomblob(16)))",
            "user_id": "id",
            "name": "''",
            "prefix": "COALESCE(api_key_prefix, substr(api_key, 1, 12), '')",
            "key_hash": "COALESCE(api_key_hash, sha256(api_key))",
            "created_at": "COALESCE(api_key_created_at, created_at, :now)",
            "expires_at": "COALESCE(api_key_expires_at, :in_a_year)",
        },
        uses=("api_key", "api_key_hash", "api_key_prefix", "api_key_created_at", "api_key_expires_at"),
        where="api_key IS NOT NULL OR api_key_hash IS NOT NULL",
    ),
    Origin(
        table="organizations",
        into="organizations",
        columns={
            "created_at": "COALESCE(created_at, updated_at)",
            "updated_at": "COALESCE(updated_at, created_at)",
        },
        uses=("created_at", "updated_at"),
        kept=("debates_used_this_month", "billing_cycle_start"),
        kept_in="settings",
    ),
    Origin(
        table="usage_events",
        into="usage_events",
        marks=frozenset(("created_at",)),
        columns={"timestamp": "created_at"},
        uses=("created_at",),
    ),
    Origin(
        table="audit_log",
        into="audit_log",
        marks=frozenset(("metadata",)),
        columns={"details": "metadata"},
        uses=("metadata",),
        kept=("old_value", "new_value"),
        kept_in="details",
    ),
    Origin(
        table="oauth_providers",
        into="oauth_identities",
        columns={"subject": "provider_user_id", "created_at": "COALESCE(linked_at, created_at, :now)"},
        uses=("id", "provider_user_id", "linked_at", "created_at"),
        left_out={
            "email": "the user's own is kept",
            "access_token": _PLAIN_SECRET,
            "refresh_token": _PLAIN_SECRET,
        },
    ),
    Origin(
        table="org_invitations",
        into="invitations",
        columns={
            "token_hash": "sha256(token)",
            "role": "COALESCE(role, 'member')",
            "created_at": "COALESCE(created_at, :now)",
            "expires_at": "COALESCE(expires_at, created_at, :now)",
            "accepted_at": "CASE WHEN status = 'accepted' THEN COALESCE(accepted_at, :now) ELSE accepted_at END",
            # An invitation whose time is over opens nothing any more; as pending it would keep a new one out.
            "revoked_at": (
                "CASE WHEN accepted_at IS NOT NULL OR status = 'accepted' THEN NULL "
                "WHEN COALESCE(status, 'pending') <> 'pending' THEN MIN(COALESCE(moment(expires_at), :now), :now) "
                "WHEN moment(COALESCE(expires_at, created_at)) < :now THEN COALESCE(expires_at, created_at) END"
            ),
        },
        uses=("token", "role", "status", "created_at", "expires_at", "accepted_at"),
    ),
    Origin(
        table="share_links",
        into="share_links",
        marks=frozenset(("token",)),
        columns={
            "id": "lower(hex(randomblob(16)))",
            "token_hash": "sha256(token)",
            "allow_comments": "COALESCE(allow_comments, 0)",
            "allow_forking": "COALESCE(allow_forking, 0)",
            "updated_at": "created_at",
        },
        uses=("token", "allow_comments", "allow_forking", "created_at"),
        where="owner_id IS NOT NULL",
        unplaced="links of nobody",
    ),
)

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
        join=", json_each(CASE WHEN json_valid(domain_elos) THEN domain_elos ELSE '{}' END) AS one",
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
    "users": _USERS,
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
