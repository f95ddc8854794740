"""What is wrong on this machine, each finding with its way out.

A pure read, like ``status``, which it builds on; over the network it asks a configured Supabase and nobody else. Leaves
out: whether the contents of a database are sound (a backup is verified page by page and row by row, so a fresh one says
so), and whether the schema of Supabase is complete (``supabase status``).
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aragora_persist.backup.archive import check
from aragora_persist.backup.encryption import RECIPIENTS_VARIABLE, fingerprints, readable_by
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.problems import tell_alike
from aragora_persist.errors import AccessDeniedError, PersistError, SchemaOutdatedError
from aragora_persist.settings import Settings
from aragora_persist.status import DatabaseStatus, Status, collect_status
from aragora_persist.storage.sqlite.connecting import has_wal_reset_bug
from aragora_persist.storage.sqlite.files import refuse_network
from aragora_persist.wording import count_text, size_text, span_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LEAST_FREE_BYTES = 64 * 2**20
_LARGEST_WAL_BYTES = 64 * 2**20
_ANSWER_S = 5.0
_SINGLE_LABEL = re.compile(r"[a-z0-9_-]+", re.IGNORECASE)
_NO_ROW = "00000000-0000-0000-0000-000000000000"


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``way_out`` is '' where nothing is wrong."""

    subject: str
    level: Level
    detail: str
    way_out: str = ""


def examine(nomic_dir: str | None = None) -> list[Finding]:
    """Look at everything and return what was found, good and bad."""
    findings = [_sqlite()]
    try:
        settings = Settings.from_env(nomic_dir=nomic_dir)
    except PersistError as error:
        return [
            *findings,
            Finding("environment", Level.PROBLEM, f"{error.target}: {error.problem}", "correct or unset it"),
        ]
    status = collect_status(settings)
    findings += [_environment(settings), *_folder(settings), *_space(settings, status)]
    for database in status.databases:
        findings += _database(database)
    return [*findings, *_backups(settings, status), *_keys(settings), *_supabase(settings, status), *_sync(status)]


def _sqlite() -> Finding:
    version = f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}"
    if not has_wal_reset_bug():
        return Finding("versions", Level.OK, version)
    detail = f"{version}: two processes that write one database at once can, very rarely, corrupt it (WAL-reset bug)"
    return Finding(
        "versions", Level.WARNING, detail, "use SQLite 3.51.3 or newer, or one writing process for each file"
    )


def _environment(settings: Settings) -> Finding:
    if bool(settings.supabase_url) != (settings.supabase_key is not None):
        missing = "SUPABASE_KEY" if settings.supabase_url else "SUPABASE_URL"
        return Finding("environment", Level.WARNING, f"{missing} is not set, the other half is", f"set {missing}")
    url = urlsplit(settings.supabase_url)
    host = url.hostname or ""
    # A name without a dot is one of this machine, or of a network of containers on it.
    is_elsewhere = not _SINGLE_LABEL.fullmatch(host) and host not in {"127.0.0.1", "::1"}
    if url.scheme == "http" and is_elsewhere:
        return Finding(
            "environment", Level.WARNING, "SUPABASE_URL sends the key without encryption", "use an https:// address"
        )
    return Finding("environment", Level.OK, f"every variable can be read; databases in {settings.nomic_dir}")


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.nomic_dir
    existing = _nearest_existing(folder)
    if not existing.is_dir():
        yield Finding("folder", Level.PROBLEM, f"{existing} is not a folder", "set NOMIC_DIR to another place")
        return
    try:
        refuse_network(existing / "database")
    except PersistError as error:
        yield Finding("folder", Level.PROBLEM, f"{existing} {error.problem}", error.hint)
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        detail = f"{existing} cannot be written to by this user"
        yield Finding("folder", Level.PROBLEM, detail, f"chown it to user id {os.geteuid()}, or set NOMIC_DIR")
    elif existing != folder:
        yield Finding("folder", Level.OK, f"{folder} is not there yet and can be made")
    elif others := _others_rights(folder):
        yield Finding("folder", Level.WARNING, f"{folder} is open to other users ({others})", f"chmod 700 {folder}")
    else:
        yield Finding("folder", Level.OK, f"{folder} can be written to by this user alone")


def _space(settings: Settings, status: Status) -> Iterator[Finding]:
    needed = max(_LEAST_FREE_BYTES, *(one.size_bytes + one.wal_size_bytes for one in status.databases))
    for name, folder in (("databases", settings.nomic_dir), ("backups", settings.backup_dir)):
        free = shutil.disk_usage(_nearest_existing(folder)).free
        detail = f"{size_text(free)} free for {name}"
        if free < _LEAST_FREE_BYTES:
            yield Finding("disk", Level.PROBLEM, detail, f"free some space, or move {folder}")
        elif free < needed:
            detail += f", less than a copy of the largest database ({size_text(needed)})"
            yield Finding("disk", Level.WARNING, detail, f"free some space, or move {folder}")
        else:
            yield Finding("disk", Level.OK, detail)


def _database(database: DatabaseStatus) -> Iterator[Finding]:
    name, path = database.name, database.path
    if database.problem:
        yield Finding(name, Level.PROBLEM, database.problem, database.hint)
        return
    if not database.present:
        yield Finding(name, Level.OK, "no file yet; the first store that opens it makes it")
        return
    findings = []
    if not os.access(path, os.R_OK | os.W_OK):
        way_out = f"chown it to user id {os.geteuid()}: {path}"
        findings.append(Finding(name, Level.PROBLEM, "cannot be written to by this user", way_out))
    if others := _others_rights(path):
        findings.append(Finding(name, Level.WARNING, f"is open to other users ({others})", f"chmod 600 {path}"))
    if database.schema_pending:
        detail = f"has schema {database.schema_version} of {database.schema_latest}"
        findings.append(Finding(name, Level.PROBLEM, detail, f"aragora-persist migrate --db {name}"))
    if database.wal_size_bytes > _LARGEST_WAL_BYTES:
        detail = f"its write-ahead log has {size_text(database.wal_size_bytes)}"
        findings.append(Finding(name, Level.WARNING, detail, "look for a reader that never ends its transaction"))
    yield from findings or [
        Finding(name, Level.OK, f"has schema {database.schema_version} of {database.schema_latest}")
    ]


def _backups(settings: Settings, status: Status) -> Iterator[Finding]:
    if status.catalog_problem:
        yield Finding("backups", Level.PROBLEM, status.catalog_problem, "aragora-persist backups --check")
    limit_s = settings.backup_objective_s
    late = False
    for one in status.databases:
        if not one.present:
            continue
        if one.newest_backup is None:
            detail = f"{one.name} has no verified backup in {status.backup_dir}"
        elif (age_s := one.newest_backup.age_s(status.taken_at)) > limit_s:
            detail = f"the newest verified backup of {one.name} is {span_text(age_s)} old"
        else:
            continue
        late = True
        yield Finding("backups", Level.WARNING, detail, f"aragora-persist backup --db {one.name}")
    for one in status.databases:
        if (drill := one.last_drill) and not drill.ok:
            detail = f"the last drill of {one.name} failed: {drill.problem}"
            yield Finding("backups", Level.PROBLEM, detail, f"aragora-persist drill --db {one.name}")
    if (lag_s := status.backups.offsite_lag_s or 0.0) > limit_s:
        detail = f"the oldest backup that is not off-site has been waiting for {span_text(lag_s)}"
        yield Finding("backups", Level.WARNING, detail, "aragora-persist backups --ship")
    if not late and not status.catalog_problem:
        yield Finding("backups", Level.OK, f"every database that exists has a young one in {status.backup_dir}")


def _keys(settings: Settings) -> Iterator[Finding]:
    """Look at what backups are encrypted with, before one is needed."""
    keys, identity_file = settings.backup_recipients, settings.backup_identity_file
    try:
        check(compression=settings.backup_compression, recipients=keys)
        readable = readable_by(identity_file) if identity_file else ()
    except PersistError as error:
        yield Finding("backups", Level.PROBLEM, f"{error.target}: {error.problem}", error.hint)
        return
    if keys and identity_file and not {*readable} & {*fingerprints(keys)}:
        detail = f"none of the identities in {identity_file} reads what is encrypted to {RECIPIENTS_VARIABLE}"
        yield Finding("backups", Level.WARNING, detail, "add the public key of one of them, or name another file")


def _supabase(settings: Settings, status: Status) -> Iterator[Finding]:
    key = settings.supabase_key
    if not settings.supabase_url or key is None:
        sent = "is not configured here; another process sends to it"
        waits = "is not configured: records for it wait on this machine"
        yield Finding("supabase", Level.OK, sent if status.supabase_configured else waits)
        return
    errors: list[PersistError] = []
    try:
        with CloudConnection(settings.supabase_url, key, timeout_s=_ANSWER_S, attempts=1) as connection:
            for model in MODELS:
                try:
                    connection.find(model.TABLE, _NO_ROW, ("id",), operation="doctor")
                except (AccessDeniedError, SchemaOutdatedError) as error:
                    errors.append(error)
    except PersistError as error:  # the other tables would take as long to say the same
        errors.append(error)
    for problem, way_out in tell_alike(errors):
        yield Finding("supabase", Level.PROBLEM, problem, way_out)
    if not errors:
        yield Finding("supabase", Level.OK, f"answers at {connection.host}, takes the key and has every table")


def _sync(status: Status) -> Iterator[Finding]:
    outbox = status.outbox
    if outbox is None:
        return
    if outbox.problem:
        yield Finding("sync", Level.PROBLEM, f"records wait: {outbox.problem}", "aragora-persist sync --status")
    if outbox.dead_letters:
        detail = f"{count_text(outbox.dead_letters, 'record')} refused by Supabase"
        way_out = "aragora-persist sync --status tells why; sync --redrive sends them again"
        yield Finding("sync", Level.WARNING, detail, way_out)


def _nearest_existing(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())


def _others_rights(path: Path) -> str:
    mode = path.stat().st_mode
    return stat.filemode(mode)[1:] if mode & 0o077 else ""
