"""The status page: one self-contained HTML document, made for a person. Pure.

No script and nothing from elsewhere; the browser is allowed the one style sheet, by its hash. Everything that comes
from outside this module is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.litestream.record import LATE_S, late
from aragora_persist.service.style import STYLE
from aragora_persist.wording import count_text, size_text, span_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.backup.records import Drill
    from aragora_persist.service.state import ServiceState
    from aragora_persist.status import BackupStatus, DatabaseStatus, Status

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_TYPE = "text/html; charset=utf-8"
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REFRESH_SECONDS = 15


def page(state: ServiceState) -> str:
    """Return the whole document."""
    status = state.status
    ready = "Ready" if state.ready else "Not ready"
    rows = "".join(_database_row(database, status.taken_at) for database in status.databases)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">
<title>{ready} · aragora-persist</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>aragora-persist</h1>
<p class="badge {"good" if state.ready else "bad"}">{ready}</p>
</header>
<main>
{_problems(state)}<dl class="facts">{_facts(state)}</dl>
<section>
<h2>Databases</h2>
<table>
<thead><tr><th scope="col">Database</th><th scope="col">Schema</th><th scope="col">Size</th>\
<th scope="col">Newest verified backup</th><th scope="col">Last restored in a drill</th></tr></thead>
<tbody>{rows}</tbody>
</table>
</section>
</main>
<footer>
<p>As of <time datetime="{times.to_text(status.taken_at)}">{_moment(status.taken_at)}</time>, again every \
{_REFRESH_SECONDS} seconds. For programs: <a href="/status.json">status.json</a>, <a href="/metrics">metrics</a>, \
<a href="/readyz">readyz</a>, <a href="/healthz">healthz</a>.</p>
</footer>
</body>
</html>
"""


def _problems(state: ServiceState) -> str:
    if state.ready:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in state.problems)
    return f'<section class="problems" role="alert"><h2>Why not</h2><ul>{items}</ul></section>\n'


def _facts(state: ServiceState) -> str:
    facts = (
        _outbox(state.status),
        _supabase(state.status),
        *_offsite(state.status),
        *_litestream(state.status),
        ("Uptime", span_text(state.uptime_s), f"since {_moment(state.started_at)}", ""),
        ("Version", state.status.version, "aragora-persist", ""),
        ("Data", str(state.status.nomic_dir), f"backups in {state.status.backup_dir}", "path"),
    )
    return "".join(
        f'<div class="{mark}"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>'
        for name, value, note, mark in facts
    )


def _outbox(status: Status) -> tuple[str, str, str, str]:
    outbox = status.outbox
    if outbox is None:
        return ("Outbox", "—", "not there yet", "")
    oldest = f", the oldest for {span_text(outbox.oldest_age_s(status.taken_at))}" if outbox.oldest_at else ""
    note = f"waiting for Supabase{oldest}; {count_text(outbox.dead_letters, 'dead letter')}"
    return ("Outbox", f"{outbox.pending:,}", note, "bad" if outbox.dead_letters else "")


def _supabase(status: Status) -> tuple[str, str, str, str]:
    outbox = status.outbox
    if not status.supabase_configured:
        return ("Supabase", "—", "not configured: records wait on this machine", "")
    if outbox and outbox.problem:
        since = f" (since {_moment(outbox.problem_since)})" if outbox.problem_since else ""
        return ("Supabase", "Problem", outbox.problem + since, "bad")
    if outbox and outbox.last_success_at:
        return ("Supabase", _ago(outbox.last_success_at, status.taken_at), "last delivery", "")
    return ("Supabase", "—", "nothing delivered yet", "")


def _offsite(status: Status) -> tuple[tuple[str, str, str, str], ...]:
    """Return the fact about backups elsewhere, where they are sent somewhere."""
    lag_s = status.backups.offsite_lag_s
    if lag_s is None:
        return ()
    if not lag_s:
        held = status.backups.offsite_held_back
        but = f", but for {held} without encryption" if held else ""
        return (("Off-site", "All", f"backups are there{but}", ""),)
    return (("Off-site", span_text(lag_s), "since the oldest backup waits to be shipped", ""),)


def _litestream(status: Status) -> tuple[tuple[str, str, str, str], ...]:
    """Return the fact about every moment, where Litestream ships or has shipped."""
    record, now = status.litestream, status.taken_at
    if record is None:
        return ()
    newest = _ago(record.newest_at, now) if record.newest_at else "—"
    problem = next(late(record, record.databases, LATE_S, now), "")
    return (("Litestream", newest, problem or "newest transaction shipped", "bad" if problem else ""),)


def _database_row(database: DatabaseStatus, now: datetime) -> str:
    return (
        f'<tr><th scope="row">{escape(database.name)}<small>{escape(database.purpose)}</small></th>'
        f'<td data-name="Schema">{_schema(database)}</td>'
        f'<td data-name="Size">{_size(database)}</td>'
        f'<td data-name="Newest verified backup">{_backup(database.newest_backup, now)}</td>'
        f'<td data-name="Last restored in a drill">{_drill(database.last_drill, now)}</td></tr>'
    )


def _schema(database: DatabaseStatus) -> str:
    if database.problem:
        return f'<span class="bad">unreadable</span><small>{escape(database.problem)}</small>'
    if not database.present:
        return '<span class="faint">no file yet</span>'
    if database.schema_pending:
        pending = f"{database.schema_pending} pending"
        return f'<span class="bad">version {database.schema_version}</span><small>{pending}</small>'
    return f'<span class="good">version {database.schema_version}</span><small>up to date</small>'


def _size(database: DatabaseStatus) -> str:
    if not database.present:
        return '<span class="faint">—</span>'
    wal = f"<small>log {size_text(database.wal_size_bytes)}</small>" if database.wal_size_bytes else ""
    return size_text(database.size_bytes) + wal


def _backup(backup: BackupStatus | None, now: datetime) -> str:
    if backup is None:
        return '<span class="faint">none yet</span>'
    return f"{_ago(backup.taken_at, now)}<small>{escape(backup.id)}</small>"


def _drill(drill: Drill | None, now: datetime) -> str:
    if drill is None:
        return '<span class="faint">never yet</span>'
    if not drill.ok:
        return f'<span class="bad">failed {_ago(drill.at, now)}</span><small>{escape(drill.problem)}</small>'
    return f"{_ago(drill.at, now)}<small>in {drill.seconds:.1f} s</small>"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{span_text((now - moment).total_seconds())} ago"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
