"""The service's state as Prometheus metrics (text exposition format 0.0.4). Pure.

Leaves out: latencies and request counts of stores; those belong to the processes that use the stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aragora_persist.service.state import ServiceState
    from aragora_persist.status import DatabaseStatus, OutboxStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric and its samples, each with its labels."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


def metrics_text(state: ServiceState) -> str:
    """Return every metric of the service; one without a sample is left out."""
    return "".join(_family_text(family) for family in _families(state) if family.samples)


def _families(state: ServiceState) -> Iterator[_Family]:
    yield _Family("info", "gauge", "Always 1; the label tells the version.", [({"version": state.status.version}, 1)])
    yield _Family("ready", "gauge", "1 when every database is open and migrated.", [({}, state.ready)])
    yield _Family(
        "start_time_seconds", "gauge", "When the service started, in Unix time.", [({}, state.started_at.timestamp())]
    )
    yield _Family(
        "maintenance_runs_total",
        "counter",
        "Maintenance runs since the start, by result.",
        [({"result": result}, count) for result, count in state.maintenance_runs.items()],
    )
    yield _Family(
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
        yield _Family(name, "gauge", help_, samples)


def _outbox_families(outbox: OutboxStatus) -> Iterator[_Family]:
    yield _Family("outbox_pending", "gauge", "Records on their way to Supabase.", [({}, outbox.pending)])
    yield _Family("outbox_dead_letters", "gauge", "Records set aside after a refusal.", [({}, outbox.dead_letters)])
    yield _Family(
        "outbox_problem", "gauge", "1 while something keeps records from being delivered.", [({}, bool(outbox.problem))]
    )
    for name, help_, moment in (
        ("oldest", "When the record that waits longest was enqueued, in Unix time.", outbox.oldest_at),
        ("last_success", "When records were delivered last, in Unix time.", outbox.last_success_at),
    ):
        if moment:
            yield _Family(f"outbox_{name}_timestamp_seconds", "gauge", help_, [({}, moment.timestamp())])


_DATABASE_METRICS: tuple[tuple[str, str, Callable[[DatabaseStatus], float | None]], ...] = (
    ("database_present", "1 when the file exists.", lambda one: one.present),
    ("database_readable", "1 when the file could be read.", lambda one: one.present and not one.problem),
    ("database_size_bytes", "Size of the database file.", lambda one: one.size_bytes),
    ("database_wal_size_bytes", "Size of the write-ahead log.", lambda one: one.wal_size_bytes),
    ("database_schema_version", "The newest migration that is applied.", lambda one: one.schema_version),
    ("database_schema_pending", "How many migrations are not applied yet.", lambda one: one.schema_pending),
    (
        "backup_newest_timestamp_seconds",
        "When the newest verified backup was taken, in Unix time.",
        lambda one: one.newest_backup.taken_at.timestamp() if one.newest_backup else None,
    ),
    (
        "backup_newest_size_bytes",
        "Size of the newest verified backup.",
        lambda one: one.newest_backup.size_bytes if one.newest_backup else None,
    ),
)


def _family_text(family: _Family) -> str:
    name = f"aragora_persist_{family.name}"
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    for labels, value in family.samples:
        inside = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        lines.append(f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
