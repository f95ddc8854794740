"""What Litestream is told: which databases it ships where, what it keeps for how long, and the keys to it. Pure.

Leaves out: starting it (``program``, ``sidecar``).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from aragora_persist.backup.offsite.location import Folder, location
from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aragora_persist.backup.offsite.location import Bucket
    from aragora_persist.settings import Settings

SHIPS_EVERY_S = 1
"""How often it looks for new transactions: what a moment is exact to."""

EXACT_H = 6
"""For how many hours moments stay as exact as that; then what was shipped within 30 seconds is one step."""

_VARIABLE = "ARAGORA_LITESTREAM_URL"
_DAY_H = 24
_TRUNCATE_PAGES = 16_000
"""With pages of 4 KiB, a log of 64 MB that readers keep from being reused is emptied by force, at the price of a new
full copy: far below ``LITESTREAM_BYTES`` of the checkpointer, and far from what happens without such readers."""
_STOP_S = 25
_OTHERS = ("AWS_", "LITESTREAM_", "ARAGORA_", "SUPABASE_")


def replica_place(settings: Settings) -> Folder | Bucket:
    """Return where Litestream ships to; each database has a folder of its name there.

    Raises:
        InvalidValueError: the URL, or a setting of the off-site server, is missing or could never work.

    """
    if not settings.litestream_url:
        hint = "where transactions are shipped, such as s3://BUCKET/PREFIX, or file:///FOLDER"
        raise InvalidValueError("litestream", _VARIABLE, "is not set", hint=hint)
    try:
        return location(seen_as_offsite(settings))
    except InvalidValueError as error:
        if error.target != "ARAGORA_OFFSITE_URL":
            raise
        raise InvalidValueError("litestream", _VARIABLE, error.problem, hint=error.hint) from None


def seen_as_offsite(settings: Settings) -> Settings:
    """Return the settings with which the off-site client reads what Litestream ships: same server, same keys."""
    return replace(settings, offsite_url=settings.litestream_url)


def configuration(databases: Mapping[str, Path], settings: Settings, *, socket: Path | None = None) -> str:
    """Return the text of Litestream's configuration file. It holds no secret: those are in its ``environment``.

    ``databases`` are the resolved paths of the databases by their names; ``socket`` is where it answers questions about
    itself.
    """
    return json.dumps(
        {
            "dbs": [
                {
                    "path": str(path),
                    "monitor-interval": f"{SHIPS_EVERY_S}s",
                    "truncate-page-n": _TRUNCATE_PAGES,
                    "replica": _replica(name, settings),
                }
                for name, path in databases.items()
            ],
            "snapshot": {"interval": f"{_DAY_H}h", "retention": f"{settings.backup_retention_days * _DAY_H}h"},
            "l0-retention": f"{EXACT_H}h",
            # Each look lists everything that is kept, which servers charge for.
            "l0-retention-check-interval": "5m",
            "shutdown-sync-timeout": f"{_STOP_S}s",
            "shutdown-timeout": f"{_STOP_S}s",
            **({"socket": {"enabled": True, "path": str(socket), "permissions": 0o600}} if socket else {}),
        },
        indent=1,
        ensure_ascii=False,
    )


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of Litestream: ``base`` without what is meant for other programs, with the keys.

    AWS_CA_BUNDLE among it would make it fail: its client cannot combine it with its own connections.
    """
    place = replica_place(settings)
    kept = {name: text for name, text in base.items() if not name.startswith(_OTHERS) and name != "LOG_LEVEL"}
    if isinstance(place, Folder):
        return kept
    return {
        **kept,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": place.access_key_id,
        "AWS_SECRET_ACCESS_KEY": place.secret_access_key.reveal(),
    }


def _replica(database: str, settings: Settings) -> dict[str, object]:
    place = replica_place(settings)
    if isinstance(place, Folder):
        where: dict[str, object] = {"type": "file", "path": str(place.path / database)}
    else:
        path = "/".join(part for part in (place.prefix, database) if part)
        where = {"type": "s3", "bucket": place.name, "path": path, "region": place.region}
        if settings.offsite_endpoint:
            where |= {"endpoint": place.endpoint, "force-path-style": True}
    # Where a file of its own is lost before it was shipped, it begins anew with a full copy instead of standing still.
    return {**where, "sync-interval": f"{SHIPS_EVERY_S}s", "auto-recover": True}
