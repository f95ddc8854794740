"""What a stack is told of its backups: how they are packed, how long they are kept, what is proved, and where they go.

Pure. Leaves out: the secrets that belong to it (``settings``), and whether a bucket or a folder is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra.values import invalid, one_of, text_or_empty, texts, whole, yes

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEEP = {"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0}
"""The rules besides the age, each with the least that it may be."""

KEYS = (
    *("backupIntervalSeconds", "supabaseBackupIntervalSeconds", "backupRetentionDays"),
    *(f"backupKeep{rule.capitalize()}" for rule in _KEEP),
    *("backupCompression", "backupRecipients", "backupObjectiveSeconds"),
    *("drillIntervalSeconds", "drillObjectiveSeconds"),
    *("offsiteUrl", "offsiteEndpoint", "offsiteRegion", "offsiteAccessKeyId", "offsiteAllowHttp"),
    *("litestream", "litestreamUrl"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsiteSettings:
    """A store on another machine: the bucket ``url`` of an S3-compatible server, or a folder of the engine's host."""

    url: str
    endpoint: str
    region: str
    access_key_id: str
    allow_http: bool

    @property
    def folder(self) -> str:
        """The folder on the engine's host; '' for a bucket or nothing."""
        return urlsplit(self.url).path if self.url.startswith("file:") else ""

    @property
    def in_a_bucket(self) -> bool:
        """Whether it is reached over the network, with a key."""
        return self.url.startswith("s3:")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """All of it; an objective of 0 follows from its interval."""

    interval_s: int
    supabase_interval_s: int
    retention_days: int
    keep: Mapping[str, int]
    compression: str
    recipients: tuple[str, ...]
    objective_s: int
    drill_interval_s: int
    drill_objective_s: int
    offsite: OffsiteSettings
    litestream: bool
    """Whether every transaction is shipped."""
    litestream_url: str
    """Where to; '' is beside the backups."""

    @property
    def uses_a_bucket(self) -> bool:
        """Whether something of the stack ships to an S3-compatible server."""
        return self.offsite.in_a_bucket or bool(self.litestream and self.litestream_url)


def read_backup_settings(config: Mapping[str, object]) -> BackupSettings:
    """Return the validated settings; numbers and structures may also be given as their JSON text.

    Raises:
        InvalidValueError: a value breaks its rule; ``target`` is the key, the hint a command that mends it.

    """
    offsite = _offsite(config)
    found = BackupSettings(
        interval_s=whole(config, "backupIntervalSeconds", least=5),
        supabase_interval_s=whole(config, "supabaseBackupIntervalSeconds", least=5),
        retention_days=whole(config, "backupRetentionDays", least=1),
        keep={rule: whole(config, f"backupKeep{rule.capitalize()}", least=least) for rule, least in _KEEP.items()},
        compression=one_of(config, "backupCompression", "zstd", "none"),
        recipients=texts(config, "backupRecipients", _RECIPIENT, f"'[age1{'q' * 58}]'"),
        objective_s=whole(config, "backupObjectiveSeconds", least=0),
        drill_interval_s=whole(config, "drillIntervalSeconds", least=5),
        drill_objective_s=whole(config, "drillObjectiveSeconds", least=0),
        offsite=offsite,
        litestream=yes(config, "litestream"),
        litestream_url=_bucket(config, "litestreamUrl"),
    )
    if found.uses_a_bucket and not offsite.access_key_id:
        raise invalid("offsiteAccessKeyId", "is empty, and the bucket asks for it", "KEY_ID")
    return found


def _offsite(config: Mapping[str, object]) -> OffsiteSettings:
    url = text_or_empty(config, "offsiteUrl")
    if url.startswith("file:"):
        folder = PurePosixPath(urlsplit(url).path)
        if urlsplit(url).netloc or not folder.is_absolute() or ".." in folder.parts or folder == PurePosixPath("/"):
            raise invalid("offsiteUrl", f"{url!r} is not a folder such as file:///srv/offsite", "file:///srv/offsite")
    else:
        _bucket(config, "offsiteUrl")
    return OffsiteSettings(
        url=url,
        endpoint=text_or_empty(config, "offsiteEndpoint"),
        region=text_or_empty(config, "offsiteRegion"),
        access_key_id=text_or_empty(config, "offsiteAccessKeyId"),
        allow_http=yes(config, "offsiteAllowHttp"),
    )


def _bucket(config: Mapping[str, object], key: str) -> str:
    """Return the URL of a bucket and a folder in it; '' for none."""
    url = text_or_empty(config, key)
    parts = urlsplit(url)
    if url and (parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment):
        raise invalid(key, f"{url!r} is not such as s3://bucket/prefix", "s3://bucket/prefix")
    return url
