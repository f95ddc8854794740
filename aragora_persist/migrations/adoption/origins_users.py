"""Where the columns of the public code's accounts, organizations, audit log, usage and share links go. Pure."""

from __future__ import annotations

from aragora_persist.migrations.adoption.origin import Origin

_NOT_COMPARABLE = "hashes of another kind, which nothing here can compare: make new ones"
_PLAIN_SECRET = "a secret that is not kept in plain text"  # noqa: S105 - a reason, no secret

USERS = (
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
