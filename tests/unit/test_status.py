"""The status of a machine's databases: what it says, and that saying it changes nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist import times
from aragora_persist.backup.take import take_backup
from aragora_persist.cloud.delivery import note_problem, remove_delivered, set_aside
from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError
from aragora_persist.migrations import runner
from aragora_persist.settings import Secret, Settings
from aragora_persist.status import DatabaseStatus, Refusal, collect_status, find_refusals

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder that is not there yet."""
    return Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")})


def migrate(settings: Settings, name: str) -> Path:
    """Make a database and return its path."""
    [database] = [one for one in DATABASES if one.name == name]
    path = database.path(settings.nomic_dir)
    runner.migrate(path, name, settings=settings)
    return path


def look(settings: Settings, name: str) -> DatabaseStatus:
    """Return the status of one database."""
    [found] = collect_status(settings, [name]).databases
    return found


def files_in(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return every file with its size, inode and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def test_empty_machine_has_a_status_and_gets_no_file(settings: Settings) -> None:
    """Where nothing is, nothing is made, and every database of the registry is listed."""
    status = collect_status(settings)

    assert [one.name for one in status.databases] == [database.name for database in DATABASES]
    assert not any(one.present or one.problem for one in status.databases)
    assert status.outbox is None
    assert not settings.nomic_dir.exists()


def test_migrated_database_is_current(settings: Settings) -> None:
    """A present file tells its size and versions."""
    path = migrate(settings, "users")
    found = look(settings, "users")

    assert found.present
    assert found.size_bytes == path.stat().st_size > 0
    assert (found.schema_version, found.schema_pending, found.problem) == (found.schema_latest, 0, "")
    assert found.schema_latest >= 2


def test_older_schema_is_pending(settings: Settings) -> None:
    """What is not applied yet is counted."""
    path = migrate(settings, "users")
    runner.rollback(path, "users", to=1, backup=False, settings=settings)
    found = look(settings, "users")

    assert found.schema_version == 1
    assert found.schema_pending == found.schema_latest - 1
    assert found.problem == ""


def test_damaged_file_is_part_of_the_answer(settings: Settings) -> None:
    """One unreadable database does not hide the others, and has a way out."""
    migrate(settings, "elo")
    (settings.nomic_dir / "aragora_users.db").write_bytes(b"this is no database" * 100)
    status = collect_status(settings)
    found = {one.name: one for one in status.databases}

    assert found["users"].present
    assert "not a database" in found["users"].problem
    assert found["users"].hint
    assert found["elo"].problem == ""


def test_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    """A NOMIC_DIR that is a file is a problem of each database, not a crash."""
    (tmp_path / "data").write_text("")
    status = collect_status(Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")}))

    assert {one.problem for one in status.databases} == {"Not a directory"}
    assert status.catalog_problem == "Not a directory"


def test_newest_verified_backup_is_shown_with_its_age(settings: Settings) -> None:
    """Of several backups the last one counts."""
    migrate(settings, "tokens")
    take_backup("tokens", settings)
    last = take_backup("tokens", settings)
    found = look(settings, "tokens")

    assert found.newest_backup is not None
    assert found.newest_backup.id == last.id
    assert found.newest_backup.age_s(last.created_at + timedelta(minutes=2)) == 120
    assert look(settings, "users").newest_backup is None


def test_backup_whose_file_is_gone_does_not_count(settings: Settings) -> None:
    """What cannot be restored is no backup."""
    migrate(settings, "tokens")
    first = take_backup("tokens", settings)
    last = take_backup("tokens", settings)
    (settings.backup_dir / last.file).unlink()
    found = look(settings, "tokens")

    assert found.newest_backup is not None
    assert found.newest_backup.id == first.id


def test_damaged_catalog_is_told(settings: Settings) -> None:
    """A line that is not what was written is counted, and the others stand."""
    migrate(settings, "tokens")
    entry = take_backup("tokens", settings)
    catalog = settings.backup_dir / "catalog.jsonl"
    catalog.write_bytes(b"not a line of ours\n" + catalog.read_bytes())
    status = collect_status(settings, ["tokens"])

    assert status.catalog_problem == "the catalog has 1 damaged line"
    assert status.databases[0].newest_backup is not None
    assert status.databases[0].newest_backup.id == entry.id


def test_outbox_is_counted(settings: Settings) -> None:
    """What waits and what was refused are two numbers."""
    path = migrate(settings, "outbox")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO outbox (table_name, record_key, revision, payload, enqueued_at) VALUES (?, ?, 0, '{}', ?)",
            [("stream_events", f"key {n}", "2026-01-01T00:00:00.000000Z") for n in range(3)],
        )
    status = collect_status(settings)

    assert status.outbox is not None
    assert (status.outbox.pending, status.outbox.dead_letters) == (3, 0)


def test_outbox_tells_how_it_goes(settings: Settings) -> None:
    """How long the oldest waits, what was delivered when, why records were refused, and what is wrong now."""
    migrate(settings, "outbox")
    with Outbox(settings=settings) as outbox:
        before = collect_status(settings).outbox
        outbox.enqueue(StreamEvent("loop", number, "message", {}).to_record() for number in range(5))
        first, second, third, fourth, _ = outbox.pending()
        remove_delivered(outbox, [first])
        for entry, reason in ((second, "odd"), (third, "too long"), (fourth, "odd")):
            set_aside(outbox, entry, reason)
        note_problem(outbox, "no answer")
        status = collect_status(settings, ["outbox"])
        configured = collect_status(replace(settings, supabase_url="http://127.0.0.1:9", supabase_key=Secret("key")))

    assert before is not None
    assert (before.oldest_at, before.last_success_at) == (None, None)
    assert status.outbox is not None
    assert status.outbox.oldest_age_s(status.taken_at + timedelta(seconds=10)) > 10
    assert status.outbox.last_success_at is not None
    assert find_refusals(status.databases[0].path) == [
        Refusal("stream_events", "odd", 2),
        Refusal("stream_events", "too long", 1),
    ]
    # Where nothing is to be sent, nothing is wrong.
    assert (status.supabase_configured, status.outbox.problem, status.outbox.problem_since) == (False, "", None)
    assert configured.supabase_configured
    assert configured.outbox is not None
    assert configured.outbox.problem == "no answer"
    assert configured.outbox.problem_since is not None


def test_what_another_process_sends_is_told_by_one_that_has_no_key(settings: Settings) -> None:
    """A backup sidecar looks at the outbox that its service sends from; without a sender nothing is on its way."""
    database = migrate(settings, "outbox")
    with Outbox(settings=settings) as outbox:
        note_problem(outbox, "no answer")
    with Lease(database) as sender:
        sender.take()
        during = collect_status(settings)
    after = collect_status(settings)

    assert during.outbox is not None
    assert (during.supabase_configured, during.outbox.problem) == (True, "no answer")
    assert after.outbox is not None
    assert (after.supabase_configured, after.outbox.problem) == (False, "")


@pytest.mark.parametrize("state", ["closed", "open", "killed", "copied"])
def test_looking_changes_nothing(settings: Settings, tmp_path: Path, state: str) -> None:
    """A file that is closed, open, left by a killed process or a bare copy: none is made, changed or removed."""
    path = migrate(settings, "outbox")
    take_backup("outbox", settings)
    for leftover in ("-wal", "-shm"):
        path.with_name(path.name + leftover).unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    with closing(connection):
        if state != "closed":
            connection.execute("UPDATE revision_clock SET last_revision = 7")
        if state in {"killed", "copied"}:
            left = tmp_path / "left"
            shutil.copytree(settings.nomic_dir, left)
            settings = Settings.from_env({"NOMIC_DIR": str(left)})
            if state == "copied":
                (left / "aragora_outbox.db-shm").unlink()
        before = files_in(settings.nomic_dir)

        status = collect_status(settings)

        assert status.outbox is not None
        assert files_in(settings.nomic_dir) == before
        assert (("aragora_outbox.db-wal" in before), ("aragora_outbox.db-shm" in before)) == {
            "closed": (False, False),
            "open": (True, True),
            "killed": (True, True),
            "copied": (True, False),
        }[state]


def test_record_is_plain_json(settings: Settings) -> None:
    """The record survives JSON; times have the one text form."""
    migrate(settings, "tokens")
    take_backup("tokens", settings)
    record = collect_status(settings, ["tokens"]).to_json()

    assert json.loads(json.dumps(record)) == record
    assert times.to_text(times.from_text(str(record["taken_at"]))) == record["taken_at"]
    assert record["outbox"] is None


def test_unknown_name_is_refused(settings: Settings) -> None:
    """A name that is in no registry is the caller's mistake."""
    with pytest.raises(InvalidValueError, match="is not a database"):
        collect_status(settings, ["nonsense"])
