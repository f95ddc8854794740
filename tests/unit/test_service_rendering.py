"""The status page and the metrics, made from records."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aragora_persist.backup.metrics import backup_families, work_families, work_of
from aragora_persist.backup.records import Drill
from aragora_persist.backup.report import BackupReport
from aragora_persist.exposition import exposition
from aragora_persist.service import page as page_module
from aragora_persist.service.metrics import metrics_text
from aragora_persist.service.page import page
from aragora_persist.service.state import ServiceState
from aragora_persist.status import BackupStatus, DatabaseStatus, OutboxStatus, Status
from tests.backup_entries import entry_of

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BACKUP = entry_of(
    "users_20260301_115500", NOW - timedelta(minutes=5), duration_s=0.5, size_bytes=8192, plain_size_bytes=40960
)
DRILL = Drill(
    backup=BACKUP.id, database="users", at=NOW - timedelta(hours=4), ok=True, seconds=1.25, source="local", problem=""
)
USERS = DatabaseStatus(
    name="users",
    purpose="User accounts",
    path=Path("/data/aragora_users.db"),
    present=True,
    size_bytes=40960,
    wal_size_bytes=0,
    schema_version=2,
    schema_latest=2,
    schema_pending=0,
    newest_backup=BackupStatus(id="users_20260301_115500", taken_at=NOW - timedelta(minutes=5), size_bytes=40960),
    problem="",
    hint="",
    last_drill=DRILL,
)
STATE = ServiceState(
    status=Status(
        taken_at=NOW,
        version="1.2.3",
        nomic_dir=Path("/data"),
        backup_dir=Path("/data/backups"),
        databases=(USERS,),
        supabase_configured=True,
        outbox=OutboxStatus(
            pending=1234,
            dead_letters=0,
            oldest_at=NOW - timedelta(minutes=7),
            last_success_at=NOW - timedelta(seconds=9),
            problem="",
            problem_since=None,
        ),
        backups=BackupReport(
            newest={"users": BACKUP}, drills={"users": DRILL}, good_drills={"users": DRILL}, offsite_lag_s=180
        ),
    ),
    problems=(),
    started_at=NOW - timedelta(hours=3),
    maintenance_runs={"done": 4, "failed": 0},
)


def with_database(database: DatabaseStatus, *problems: str) -> ServiceState:
    """Return the state with another database and reasons not to be ready."""
    return replace(STATE, status=replace(STATE.status, databases=(database,)), problems=problems)


class Words(HTMLParser):
    """Collects the text between the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep one piece of text."""
        self.words.append(data)


def text_of(document: str) -> str:
    """Return the words of a document as a reader sees them."""
    parser = Words()
    parser.feed(re.sub(r"<style>.*?</style>", "", document, flags=re.DOTALL))
    return " ".join(" ".join(parser.words).split())


def test_page_tells_what_an_operator_asks() -> None:
    """Readiness, schema, size, the newest backup's age, the backlog, the uptime and the version."""
    text = text_of(page(STATE))

    for words in ("Ready", "users", "version 2", "up to date", "40 KiB", "5 minutes ago", "1,234", "3 hours", "1.2.3"):
        assert words in text
    assert "Why not" not in text


def test_page_tells_why_it_is_not_ready() -> None:
    """Reasons stand on the page, and the database that causes them is marked."""
    text = text_of(page(with_database(replace(USERS, schema_version=1, schema_pending=1), "users: 1 pending")))

    assert "Not ready" in text
    assert "Why not users: 1 pending" in text
    assert "version 1 1 pending" in text


def with_outbox(**changes: Any) -> ServiceState:  # noqa: ANN401 - the fields of the outbox, whatever they are
    """Return the state with another outbox."""
    assert STATE.status.outbox is not None
    return replace(STATE, status=replace(STATE.status, outbox=replace(STATE.status.outbox, **changes)))


def test_page_tells_how_records_reach_supabase() -> None:
    """How long the oldest waits and when records were delivered last; before that, that nothing was."""
    fresh = text_of(page(with_outbox(pending=0, oldest_at=None, last_success_at=None)))

    assert "1,234 waiting for Supabase, the oldest for 7 minutes; 0 dead letters" in text_of(page(STATE))
    assert "Supabase 9 seconds ago last delivery" in text_of(page(STATE))
    assert "0 waiting for Supabase; 0 dead letters" in fresh
    assert "nothing delivered yet" in fresh


def test_page_tells_what_keeps_records_from_supabase() -> None:
    """A problem is marked and named, and is no reason to call the service unready."""
    state = with_outbox(problem="does not answer", problem_since=NOW - timedelta(hours=1))
    document = page(state)

    assert "Supabase Problem does not answer (since 2026-03-01 11:00:00 UTC)" in text_of(document)
    assert '<div class="bad"><dt>Supabase</dt>' in document
    assert state.ready
    assert "aragora_persist_outbox_problem 1" in metrics_text(state).splitlines()


def test_page_tells_that_supabase_is_not_configured() -> None:
    """Without address and key, waiting is no fault."""
    state = replace(STATE, status=replace(STATE.status, supabase_configured=False))

    assert "Supabase — not configured: records wait on this machine" in text_of(page(state))
    assert "aragora_persist_supabase_configured 0" in metrics_text(state).splitlines()


def test_page_tells_what_proved_the_backups_and_what_is_off_site() -> None:
    """When a drill last restored one, and how long that took; a failed one is marked; what waits for off-site."""
    failed = replace(DRILL, ok=False, problem="is damaged")
    document = page(with_database(replace(USERS, last_drill=failed)))
    shipped = replace(STATE, status=replace(STATE.status, backups=BackupReport(offsite_lag_s=0.0)))
    nowhere = replace(STATE, status=replace(STATE.status, backups=BackupReport()))

    assert "4 hours ago in 1.2 s" in text_of(page(STATE))
    assert '<span class="bad">failed 4 hours ago</span><small>is damaged</small>' in document
    assert "never yet" in text_of(page(with_database(replace(USERS, last_drill=None))))
    assert "Off-site 3 minutes since the oldest backup waits to be shipped" in text_of(page(STATE))
    assert "Off-site All backups are there" in text_of(page(shipped))
    assert "Off-site" not in text_of(page(nowhere))


def test_page_shows_an_empty_machine() -> None:
    """No files, no backups and no outbox are shown as such, not as zeros."""
    absent = replace(USERS, present=False, newest_backup=None, schema_version=0, size_bytes=0)
    state = with_database(absent)
    text = text_of(page(replace(state, status=replace(state.status, outbox=None))))

    assert "no file yet" in text
    assert "none yet" in text
    assert "not there yet" in text


def test_page_escapes_everything_from_outside() -> None:
    """A path, an identifier or an error's text never becomes markup."""
    evil = '<script>alert("x")</script>'
    database = replace(
        USERS,
        name=evil,
        purpose=evil,
        problem=evil,
        newest_backup=BackupStatus(id=evil, taken_at=NOW, size_bytes=1),
        last_drill=replace(DRILL, ok=False, problem=evil),
    )
    state = with_database(database, evil)
    outbox = with_outbox(problem=evil).status.outbox
    status = replace(state.status, nomic_dir=Path(evil), backup_dir=Path(evil), version=evil, outbox=outbox)
    state = replace(state, status=status)

    document = page(state)

    assert "<script" not in document
    assert document.count("&lt;script&gt;") >= 8


def test_page_needs_nothing_from_elsewhere() -> None:
    """The document names no other origin, and the policy allows exactly its own style sheet."""
    document = page(STATE)
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)

    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page_module.CONTENT_SECURITY_POLICY
    assert not re.search(r"https?://|url\(|@import|\bsrc=|\bstyle=", document)


def test_metrics_are_well_formed() -> None:
    """Each metric has one HELP and one TYPE before its samples, and counters end in `_total`."""
    text = metrics_text(STATE)
    seen: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"# TYPE (aragora_persist_[a-z_]+) (gauge|counter)", line):
            assert match.group(1) not in seen
            seen[match.group(1)] = match.group(2)
        elif not line.startswith("# HELP "):
            sample = re.fullmatch(r'(aragora_persist_[a-z_]+)(?:\{[a-z]+="[^"\\]*"\})? -?\d+(?:\.\d+)?', line)
            assert sample, line
            assert sample.group(1) in seen

    assert {name.endswith("_total") for name, kind in seen.items() if kind == "counter"} == {True}
    assert text.endswith("\n")


@pytest.mark.parametrize(
    "line",
    [
        'aragora_persist_info{version="1.2.3"} 1',
        "aragora_persist_ready 1",
        'aragora_persist_database_schema_version{database="users"} 2',
        'aragora_persist_database_size_bytes{database="users"} 40960',
        'aragora_persist_backup_newest_timestamp_seconds{database="users"} 1772366100',
        'aragora_persist_backup_newest_size_bytes{database="users"} 8192',
        'aragora_persist_backup_newest_plain_size_bytes{database="users"} 40960',
        'aragora_persist_backup_newest_duration_seconds{database="users"} 0.5',
        'aragora_persist_drill_last_ok{database="users"} 1',
        'aragora_persist_drill_good_timestamp_seconds{database="users"} 1772352000',
        'aragora_persist_drill_good_seconds{database="users"} 1.25',
        "aragora_persist_backup_offsite_lag_seconds 180",
        "aragora_persist_supabase_configured 1",
        "aragora_persist_outbox_pending 1234",
        "aragora_persist_outbox_dead_letters 0",
        "aragora_persist_outbox_problem 0",
        "aragora_persist_outbox_oldest_timestamp_seconds 1772365980",
        "aragora_persist_outbox_last_success_timestamp_seconds 1772366391",
        'aragora_persist_maintenance_runs_total{result="done"} 4',
    ],
)
def test_metrics_hold_the_values(line: str) -> None:
    """Every value of the state reaches its metric."""
    assert line in metrics_text(STATE).splitlines()


def test_metrics_leave_out_what_is_unknown_and_escape_labels() -> None:
    """No backup means no timestamp (a zero would read as 1970), and a label cannot break the line."""
    state = with_database(replace(USERS, name='a"b\\c\nd'), "not ready")
    text = metrics_text(replace(state, status=replace(state.status, backups=BackupReport())))

    assert not re.search("backup|drill", text)
    assert "aragora_persist_ready 0" in text.splitlines()
    assert r'aragora_persist_database_present{database="a\"b\\c\nd"} 1' in text.splitlines()


def test_what_only_a_sidecar_knows_is_told_from_what_the_service_shows_itself() -> None:
    """All of the sidecar's own counts, and nothing that would stand there twice."""
    work = exposition(work_families({"users": 1}, {"users": 0}, 2, damaged=False))
    known = exposition(backup_families(STATE.status.backups))

    assert work_of(known + work) == work
    assert work.count("# TYPE") == 4


def test_json_adds_readiness_to_the_status() -> None:
    """`/status.json` is the status record with what the process knows of itself."""
    record = STATE.to_json()

    assert record["ready"] is True
    assert record["uptime_s"] == 10800
    assert record["supabase_configured"] is True
    assert record["outbox"] == {
        "pending": 1234,
        "dead_letters": 0,
        "oldest_age_s": 420.0,
        "last_success_at": "2026-03-01T11:59:51.000000Z",
        "problem": None,
        "problem_since": None,
    }
    assert record["databases"] == STATE.status.to_json()["databases"]
