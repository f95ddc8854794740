"""Entries of the catalog, for tests to which most of what an entry says does not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aragora_persist.backup.records import BackupEntry
from aragora_persist.backup.verify import Content

if TYPE_CHECKING:
    from datetime import datetime


def entry_of(id_: str, created_at: datetime, **more: Any) -> BackupEntry:  # noqa: ANN401 - its fields, whatever they are
    """Return the entry of a backup, whose database is what its id begins with."""
    entry = BackupEntry(
        id=id_,
        database=id_.partition("_")[0],
        file=f"{id_}.db",
        created_at=created_at,
        duration_s=1.0,
        size_bytes=1,
        sha256="0" * 64,
        plain_size_bytes=1,
        plain_sha256="0" * 64,
        content=Content(schema_version=1, foreign_key_violations=0, tables={}),
        method="reflink",
        package_version="0.2.0",
    )
    return replace(entry, **more)
