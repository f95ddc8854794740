"""``status``: every database, its backups and the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.record import LATE_S, late
from aragora_persist.backup.names import SUPABASE
from aragora_persist.commands.console import print_json, print_table, read_settings
from aragora_persist.status import Status, collect_status
from aragora_persist.wording import count_text, size_text, span_text

if TYPE_CHECKING:
    from argparse import Namespace

    from aragora_persist.backup.records import Drill
    from aragora_persist.status import BackupStatus, DatabaseStatus, OutboxStatus


def run(arguments: Namespace) -> int:
    """Show the status; whatever it is, showing it is a success."""
    status = collect_status(read_settings(arguments))
    if arguments.json:
        print_json(status.to_json())
    else:
        _print(status)
    return 0


def _print(status: Status) -> None:
    rows = [
        (one.name, _schema(one), _size(one), _backup(one.newest_backup, status), _drill(one.last_drill, status))
        for one in status.databases
    ]
    cloud, drill = status.supabase_backup, status.backups.drills.get(SUPABASE)
    if cloud or drill:
        rows.append((SUPABASE, "-", "-", _backup(cloud, status), _drill(drill, status)))
    print_table(("DATABASE", "SCHEMA", "SIZE", "NEWEST VERIFIED BACKUP", "LAST DRILL"), rows)
    print(f"\nDatabases: {status.nomic_dir}\nBackups:   {status.backup_dir}{_none_there(status)}")
    if status.outbox is not None:
        pending = count_text(status.outbox.pending, "record")
        oldest = (
            f" for up to {span_text(status.outbox.oldest_age_s(status.taken_at))}" if status.outbox.oldest_at else ""
        )
        print(f"Outbox:    {pending} waiting{oldest}, {count_text(status.outbox.dead_letters, 'dead letter')}")
        print(f"Supabase:  {_supabase(status, status.outbox)}")
    for one in status.databases:
        if one.problem:
            print(f"Problem:   {one.name}: {one.problem}" + (f" ({one.hint})" if one.hint else ""))
    if (lag_s := status.backups.offsite_lag_s) is not None:
        held = status.backups.offsite_held_back
        but = f", but for {count_text(held, 'older one')} without encryption (backups --ship)" if held else ""
        sent = "all backups are there" if status.backups.newest else "there is no backup to send"
        said = f"a backup has been waiting for {span_text(lag_s)}" if lag_s else sent
        print(f"Off-site:  {said}{but}")
    if (record := status.litestream) is not None:
        since = record.newest_at and span_text((status.taken_at - record.newest_at).total_seconds())
        print(f"Litestream: {f'newest transaction shipped {since} ago' if since else 'nothing shipped yet'}")
        for problem in late(record, record.databases, LATE_S, status.taken_at):
            print(f"Problem:   {problem}")
    if status.catalog_problem:
        print(f"Problem:   backups: {status.catalog_problem}")


def _none_there(status: Status) -> str:
    """Return where else backups may be: a service beside a sidecar has a backup folder, but not that one's."""
    if status.backups.newest or status.catalog_problem:
        return ""
    return " (no verified backup there; a sidecar's are seen in its container)"


def _supabase(status: Status, outbox: OutboxStatus) -> str:
    if not status.supabase_configured:
        return "not configured"
    if outbox.problem:
        return outbox.problem
    if outbox.last_success_at is None:
        return "nothing delivered yet"
    return f"last delivery {span_text((status.taken_at - outbox.last_success_at).total_seconds())} ago"


def _size(database: DatabaseStatus) -> str:
    return size_text(database.size_bytes + database.wal_size_bytes) if database.present else "-"


def _schema(database: DatabaseStatus) -> str:
    if database.problem:
        return "unreadable"
    if not database.present:
        return "no file yet"
    version = f"{database.schema_version} of {database.schema_latest}"
    return f"{version}, {database.schema_pending} pending" if database.schema_pending else version


def _backup(backup: BackupStatus | None, status: Status) -> str:
    return f"{span_text(backup.age_s(status.taken_at))} ago ({backup.id})" if backup else "-"


def _drill(drill: Drill | None, status: Status) -> str:
    if drill is None:
        return "-"
    ago = f"{span_text((status.taken_at - drill.at).total_seconds())} ago"
    return f"{ago}, in {drill.seconds:.1f} s" if drill.ok else f"failed {ago}: {drill.problem}"
