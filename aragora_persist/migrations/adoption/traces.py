"""The public code's traces as replays: one JSON text holds a trace with all of its events.

Its table of events says less of each than the text does; what it alone has is a difference. One trace at a time is in
memory. Leaves out: the format of a trace (``storage.replays.trace``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError, PersistError
from aragora_persist.storage.replays.records import header_columns, to_event_row
from aragora_persist.storage.replays.trace import Trace, parse
from aragora_persist.times import to_text, utc_now

if TYPE_CHECKING:
    import sqlite3

    from aragora_persist.migrations.adoption.report import Findings

TRACES = frozenset(("traces", "trace_events"))

_LEFT = "correct its text, or delete the trace"
_REPLAY = (
    "INSERT INTO replays (trace_id, debate_id, task, started_at, completed_at, header, event_count, checksum, digest, "
    "saved_at) VALUES (:trace_id, :debate_id, :task, :started_at, :completed_at, :header, :events, :checksum, :digest, "
    ":saved_at)"
)
_EVENT = (
    "INSERT INTO replay_events (trace_id, position, event_id, event_type, occurred_at, round_num, agent, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def adopt_traces(reader: sqlite3.Connection, writer: sqlite3.Connection, findings: Findings) -> int:
    """Write every trace as a finished replay, and return how many there were."""
    adopted = 0
    for trace_id, text in reader.execute("SELECT trace_id, trace_json FROM traces ORDER BY rowid"):
        row = f"trace_id {trace_id!r}"
        try:
            trace = parse(str(text or ""))
            if trace.trace_id != trace_id:
                raise DamagedError("adopt", "trace_id", "is another one in the text")
            _write(writer, trace)
        except PersistError as error:
            findings.differ("traces", "trace_json", row, f"{error.target} {error.problem}", _LEFT)
            continue
        adopted += 1
        _look_for_more(reader, trace, findings)
    _look_for_strays(reader, findings)
    return adopted


def _write(writer: sqlite3.Connection, trace: Trace) -> None:
    rows = [to_event_row("adopt", event, f"events[{place}]") for place, event in enumerate(trace.events)]
    columns = header_columns("adopt", trace)
    made = {
        "events": len(rows),
        "checksum": trace.checksum,
        "digest": trace.digest(),
        "saved_at": columns["completed_at"] or to_text(utc_now()),
    }
    writer.execute(_REPLAY, {**columns, **made})
    writer.executemany(_EVENT, [(trace.trace_id, place, *row) for place, row in enumerate(rows)])


def _look_for_more(reader: sqlite3.Connection, trace: Trace, findings: Findings) -> None:
    """Note the events of the table that the text of their trace has not."""
    known = {event.event_id for event in trace.events}
    for (event_id,) in reader.execute("SELECT event_id FROM trace_events WHERE trace_id = ?", (trace.trace_id,)):
        if event_id not in known:
            problem = f"is not in the text of the trace {trace.trace_id!r}"
            findings.differ("trace_events", "", f"event_id {event_id!r}", problem, "add it there, or delete it")


def _look_for_strays(reader: sqlite3.Connection, findings: Findings) -> None:
    strays = (
        "SELECT event_id FROM trace_events "
        "WHERE NOT EXISTS (SELECT 1 FROM traces WHERE traces.trace_id = trace_events.trace_id)"
    )
    for (event_id,) in reader.execute(strays):
        findings.differ("trace_events", "", f"event_id {event_id!r}", "is of no trace", "delete it")
