"""What the doctor finds, and the way out that it names."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist import doctor
from aragora_persist.backup.drill import drill
from aragora_persist.backup.encryption import IDENTITY_VARIABLE, RECIPIENTS_VARIABLE
from aragora_persist.backup.take import take_backup
from aragora_persist.cli import main
from aragora_persist.cloud.delivery import note_problem, set_aside
from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.doctor import Finding, Level, examine
from aragora_persist.migrations import runner
from aragora_persist.migrations.folder import latest_version
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.connecting import has_wal_reset_bug
from tests.age_identities import make_identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with one backed-up database, as it should be."""
    folder = tmp_path / "data"
    settings = Settings.from_env({"NOMIC_DIR": str(folder)})
    runner.migrate(folder / "aragora_users.db", "users", settings=settings)
    take_backup("users", settings)
    return folder


def findings(home: Path, subject: str) -> list[Finding]:
    """Return what was found about one subject."""
    return [one for one in examine(str(home)) if one.subject == subject]


def test_healthy_machine_has_no_findings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is looked at and named, and the command succeeds."""
    found = examine(str(home))
    code = main(["--nomic-dir", str(home), "doctor"])

    assert {one.level for one in found if one.subject != "versions"} == {Level.OK}
    assert {"versions", "environment", "folder", "disk", "users", "elo", "backups", "supabase"} <= {
        one.subject for one in found
    }
    assert code == 0
    assert (
        f"ok       users: has schema {latest_version('users')} of {latest_version('users')}"
        in capsys.readouterr().out.splitlines()
    )


def test_vulnerable_sqlite_is_a_warning(home: Path) -> None:
    """The version is always shown; the bug is named where this SQLite has it."""
    [found] = findings(home, "versions")

    assert f"SQLite {sqlite3.sqlite_version}" in found.detail
    assert (found.level is Level.WARNING) == has_wal_reset_bug() == bool(found.way_out)


def test_missing_folder_is_fine_and_stays_missing(tmp_path: Path) -> None:
    """A fresh machine is healthy, and looking at it makes nothing."""
    home = tmp_path / "a" / "b"

    assert [one.level for one in findings(home, "folder")] == [Level.OK]
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_place_of_the_folder_is_a_problem(tmp_path: Path) -> None:
    """A NOMIC_DIR that is a file has its way out."""
    (tmp_path / "data").write_text("")
    [found] = findings(tmp_path / "data", "folder")

    assert found.level is Level.PROBLEM
    assert "NOMIC_DIR" in found.way_out


def test_rights_of_others_are_a_warning(home: Path) -> None:
    """A folder or a file that others may read is named with the command that closes it."""
    home.chmod(0o755)
    (home / "aragora_users.db").chmod(0o644)

    assert [one.way_out for one in findings(home, "folder")] == [f"chmod 700 {home}"]
    assert [one.way_out for one in findings(home, "users")] == [f"chmod 600 {home / 'aragora_users.db'}"]


def test_old_schema_is_a_problem_with_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stores would refuse to open is a problem, and the command fails."""
    runner.rollback(home / "aragora_users.db", "users", to=1, backup=False)
    [found] = findings(home, "users")
    code = main(["--nomic-dir", str(home), "doctor", "--json"])
    answer = {one["subject"]: one for one in json.loads(capsys.readouterr().out)}

    assert (found.level, found.way_out) == (Level.PROBLEM, "aragora-persist migrate --db users")
    assert code == 1
    assert answer["users"]["level"] == "problem"


def test_damaged_database_is_a_problem(home: Path) -> None:
    """A file that is no database is named with the way out."""
    (home / "aragora_elo.db").write_bytes(b"this is no database" * 300)
    [found] = findings(home, "elo")

    assert found.level is Level.PROBLEM
    assert "restore" in found.way_out


def test_large_log_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write-ahead log that nobody can empty points at a reader."""
    monkeypatch.setattr(doctor, "_LARGEST_WAL_BYTES", 1000)
    with closing(sqlite3.connect(home / "aragora_users.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE extra (value TEXT)")
        found = findings(home, "users")

    assert [one.level for one in found] == [Level.WARNING]
    assert "write-ahead log" in found[0].detail


def test_missing_and_late_backups_are_warnings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without a young backup is named with the command that takes one."""
    runner.migrate(home / "aragora_elo.db", "elo", settings=Settings.from_env(nomic_dir=home))
    missing = findings(home, "backups")
    monkeypatch.setenv("ARAGORA_BACKUP_OBJECTIVE_SECONDS", "0")
    late = findings(home, "backups")

    assert [(one.level, one.way_out) for one in missing] == [(Level.WARNING, "aragora-persist backup --db elo")]
    assert [one.way_out for one in late] == ["aragora-persist backup --db elo", "aragora-persist backup --db users"]


def test_a_failed_drill_is_a_problem_and_what_waits_for_off_site_a_warning(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what is wrong, and with the command that looks again."""
    (backup,) = (home / "backups").glob("*.db")
    backup.write_bytes(backup.read_bytes()[:-1] + b"!")
    settings = Settings.from_env(nomic_dir=home)
    assert [one.ok for one in drill(settings)] == [False]
    monkeypatch.setenv("ARAGORA_OFFSITE_URL", home.as_uri())
    monkeypatch.setenv("ARAGORA_BACKUP_OBJECTIVE_SECONDS", "0.000001")
    found = {one.way_out: (one.level, one.detail) for one in findings(home, "backups")}

    level, detail = found["aragora-persist drill --db users"]
    assert level is Level.PROBLEM
    assert detail.startswith("the last drill of users failed: ")
    assert found["aragora-persist backups --ship"][0] is Level.WARNING


def test_keys_of_backups_are_looked_at(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient that is none, an identity file that is missing, and one that belongs to other keys."""
    mine, other = make_identity(tmp_path / "mine"), make_identity(tmp_path / "other")
    said = []
    for recipients, file in ((f"{other} {mine}", "mine"), (other, "mine"), ("age1", "mine"), (mine, "none")):
        monkeypatch.setenv(RECIPIENTS_VARIABLE, recipients)
        monkeypatch.setenv(IDENTITY_VARIABLE, str(tmp_path / file))
        found = [one for one in findings(home, "backups") if one.level is not Level.OK]
        said.append([(one.level, one.detail.partition(": ")[0]) for one in found])
        assert all(one.way_out for one in found)
    stranger = f"none of the identities in {tmp_path / 'mine'} reads what is encrypted to {RECIPIENTS_VARIABLE}"
    assert said == [
        [],
        [(Level.WARNING, stranger)],
        [(Level.PROBLEM, RECIPIENTS_VARIABLE)],
        [(Level.PROBLEM, IDENTITY_VARIABLE)],
    ]


def test_full_disk_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space for the tier is a problem; too little for a copy is a warning."""
    monkeypatch.setattr(doctor, "_LEAST_FREE_BYTES", 2**60)

    assert {one.level for one in findings(home, "disk")} == {Level.PROBLEM}


@pytest.mark.parametrize(
    ("environment", "level", "words"),
    [
        ({"DB_TIMEOUT": "soon"}, Level.PROBLEM, "DB_TIMEOUT"),
        ({"SUPABASE_URL": "https://example.supabase.co"}, Level.WARNING, "SUPABASE_KEY is not set"),
        ({"SUPABASE_KEY": "hunter2"}, Level.WARNING, "SUPABASE_URL is not set"),
        ({"SUPABASE_URL": "http://example.invalid", "SUPABASE_KEY": "hunter2"}, Level.WARNING, "without encryption"),
        ({"SUPABASE_URL": "http://[2001:db8::1]", "SUPABASE_KEY": "hunter2"}, Level.WARNING, "without encryption"),
        ({"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_KEY": "hunter2"}, Level.OK, "can be read"),
        ({"SUPABASE_URL": "http://supabase:9", "SUPABASE_KEY": "hunter2"}, Level.OK, "can be read"),
    ],
)
def test_environment_is_checked(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], level: Level, words: str
) -> None:
    """A variable that is wrong, missing or unsafe is named; its secret is not."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = examine(str(home))
    [about] = [one for one in found if one.subject == "environment"]

    assert about.level is level
    assert words in about.detail
    assert "hunter2" not in repr(found)


def test_what_another_process_sends_is_not_said_to_wait(home: Path) -> None:
    """As in a backup sidecar, which has no key: the service does send, and what is in its way is a problem."""
    database = home / "aragora_outbox.db"
    runner.migrate(database, "outbox", settings=Settings.from_env({"NOMIC_DIR": str(home)}))
    with Outbox(database) as outbox, Lease(database) as sender:
        sender.take()
        note_problem(outbox, "no answer")
        [about], [problem] = findings(home, "supabase"), findings(home, "sync")

    assert about == Finding("supabase", Level.OK, "is not configured here; another process sends to it")
    assert (problem.level, problem.detail) == (Level.PROBLEM, "records wait: no answer")


def test_supabase_that_does_not_answer_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One finding tells it, not one for each table."""
    with socket.socket() as taken:  # bound and not listening: nobody answers there, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("SUPABASE_URL", f"http://{address}")
        monkeypatch.setenv("SUPABASE_KEY", "hunter2")
        [found] = findings(home, "supabase")

    assert found.level is Level.PROBLEM
    assert found.detail.startswith(f"{address}: ")
    assert "SUPABASE_URL" in found.way_out


def test_address_that_is_none_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is no URL is told, not tried."""
    monkeypatch.setenv("SUPABASE_URL", "yourproject")
    monkeypatch.setenv("SUPABASE_KEY", "hunter2")
    [found] = findings(home, "supabase")

    assert (found.level, found.detail) == (Level.PROBLEM, "SUPABASE_URL: is no URL of the web")


def test_unreadable_key_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that names the file is named."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_KEY_FILE", str(home / "no such file"))
    [found] = findings(home, "supabase")

    assert found.level is Level.PROBLEM
    assert found.detail.startswith("SUPABASE_KEY_FILE: ")


def test_what_keeps_records_from_supabase_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem that the sender has noted, and dead letters."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_KEY", "hunter2")
    with Outbox(home / "aragora_outbox.db") as outbox:
        note_problem(outbox, "no answer")
        outbox.enqueue([StreamEvent("loop", 1, "message", {}).to_record()])
        set_aside(outbox, outbox.pending()[0], "bad")
    found = findings(home, "sync")

    assert [(one.level, one.detail) for one in found] == [
        (Level.PROBLEM, "records wait: no answer"),
        (Level.WARNING, "1 record refused by Supabase"),
    ]
    assert "--redrive" in found[1].way_out
