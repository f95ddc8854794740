"""The service's state as Prometheus metrics. Pure.

Leaves out: latencies and request counts of stores; those belong to the processes that use the stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.record import families
from aragora_persist.backup.metrics import backup_families
from aragora_persist.exposition import Family, exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.service.state import ServiceState
    from aragora_persist.status import DatabaseStatus, OutboxStatus


def metrics_text(state: ServiceState) -> str:
    """Return every metric of the service; one without a sample is left out."""
    return exposition(_families(state))


def _families(state: ServiceState) -> Iterator[Family]:
    yield Family("info", "gauge", "Always 1; the label tells the version.", [({"version": state.status.version}, 1)])
    yield Family("ready", "gauge", "1 when every database is open and migrated.", [({}, state.ready)])
    yield Family(
        "start_time_seconds", "gauge", "When the service started, in Unix time.", [({}, state.started_at.timestamp())]
    )
    yield Family(
        "maintenance_runs_total",
        "counter",
        "Maintenance runs since the start, by result.",
        [({"result": result}, count) for result, count in state.maintenance_runs.items()],
    )
    yield Family(
        "supabase_configured",
        "gauge",
        "1 when address and key of Supabase are set.",
        [({}, state.status.supabase_configured)],
    )
    if (outbox := state.status.outbox) is not None:
        yield from _outbox_families(outbox)
    for name, help_, value in _DATABASE_METRICS:
        samples = [
            ({"database": database.name}, sample)
            for database in state.status.databases
            if (sample := value(database)) is not None
        ]
        yield Family(name, "gauge", help_, samples)
    yield from backup_families(state.status.backups)
    if (record := state.status.litestream) is not None:
        yield from families(record, state.status.taken_at)


def _outbox_families(outbox: OutboxStatus) -> Iterator[Family]:
    yield Family("outbox_pending", "gauge", "Records on their way to Supabase.", [({}, outbox.pending)])
    yield Family("outbox_dead_letters", "gauge", "Records set aside after a refusal.", [({}, outbox.dead_letters)])
    yield Family(
        "outbox_problem", "gauge", "1 while something keeps records from being delivered.", [({}, bool(outbox.problem))]
    )
    for name, help_, moment in (
        ("oldest", "When the record that waits longest was enqueued, in Unix time.", outbox.oldest_at),
        ("last_success", "When records were delivered last, in Unix time.", outbox.last_success_at),
    ):
        if moment:
            yield Family(f"outbox_{name}_timestamp_seconds", "gauge", help_, [({}, moment.timestamp())])


_DATABASE_METRICS: tuple[tuple[str, str, Callable[[DatabaseStatus], float | None]], ...] = (
    ("database_present", "1 when the file exists.", lambda one: one.present),
    ("database_readable", "1 when the file could be read.", lambda one: one.present and not one.problem),
    ("database_size_bytes", "Size of the database file.", lambda one: one.size_bytes),
    ("database_wal_size_bytes", "Size of the write-ahead log.", lambda one: one.wal_size_bytes),
    ("database_schema_version", "The newest migration that is applied.", lambda one: one.schema_version),
    ("database_schema_pending", "How many migrations are not applied yet.", lambda one: one.schema_pending),
)
