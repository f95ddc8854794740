"""What each verb does and answers, over real databases and backups."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist import times
from aragora_persist.cli import main
from aragora_persist.databases import DATABASES
from aragora_persist.migrations.folder import latest_version

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [database.name for database in DATABASES]
TRACE = {
    "trace_id": "trace-1",
    "debate_id": "debate-1",
    "task": "Which index?",
    "agents": ["ada", "bob"],
    "random_seed": 7,
    "started_at": "2026-01-01T10:00:00",
    "completed_at": "2026-01-01T10:05:00",
    "final_result": {"consensus_reached": True, "confidence": 0.9, "final_answer": "a hash", "rounds_used": 1},
    "metadata": {},
    "events": [
        {
            "event_id": "event-1",
            "event_type": "message",
            "timestamp": "2026-01-01T10:01:00",
            "round_num": 1,
            "agent": "ada",
            "content": {"text": "a hash"},
            "parent_event_id": None,
            "duration_ms": 12,
            "metadata": {},
        }
    ],
    "checksum": "5b6f2a1c",
}


class Shell:
    """Runs verbs in this process over one folder."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        self.code = 0
        self.err = ""

    def __call__(self, *arguments: str) -> str:
        """Run a verb; return what it printed and keep its exit code and its errors."""
        self.code = main(["--nomic-dir", str(self.home), *arguments])
        captured = self._capsys.readouterr()
        self.err = captured.err
        return captured.out

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
        """Run a verb and return its answer."""
        return json.loads(self(*arguments, "--json"))

    def sql(self, name: str, statement: str) -> list[tuple[object, ...]]:
        """Run one statement on a database and return its rows."""
        with closing(sqlite3.connect(self.home / f"aragora_{name}.db", isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def revoke(self, jti: str) -> None:
        """Write one row, so that two moments can be told apart."""
        self.sql("tokens", f"INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES ('{jti}', '2', '1')")

    def revoked(self) -> list[object]:
        """Return what was written so."""
        return [row[0] for row in self.sql("tokens", "SELECT jti FROM token_blacklist ORDER BY jti")]


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell over a folder that is not there yet."""
    return Shell(tmp_path / "data", capsys)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with two commits."""
    path = tmp_path / "repository"
    git = ["git", "-C", str(path), "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    for text in ("one", "two"):
        (path / "file.txt").write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
    return path


def test_migrate_makes_and_updates_databases(shell: Shell) -> None:
    """A dry run changes nothing; a run applies everything; the next one has nothing to do."""
    shell.home.mkdir()
    rehearsed = shell("migrate", "--dry-run", "--db", "users")
    made_by_rehearsal = list(shell.home.iterdir())
    migrated = shell("migrate").splitlines()
    again = shell("migrate").splitlines()

    assert "users: would apply 001_initial, 002_add_lockout" in rehearsed
    assert made_by_rehearsal == []
    assert [line.split(":")[0] for line in migrated] == NAMES
    assert shell.sql("users", "SELECT max(version) FROM schema_version") == [(latest_version("users"),)]
    assert again == [f"{name}: nothing to do" for name in NAMES]


def test_migrate_answers_in_json_and_fails_on_a_damaged_file(shell: Shell) -> None:
    """The failed database is in the answer, and the others are migrated."""
    shell.home.mkdir()
    (shell.home / "aragora_elo.db").write_bytes(b"this is no database" * 300)

    answer = shell.json("migrate")

    assert shell.code == 1
    assert "not a database" in {one["database"]: one for one in answer}["elo"]["error"]
    assert shell.sql("users", "SELECT max(version) FROM schema_version") == [(latest_version("users"),)]


def test_status_tells_each_database(shell: Shell) -> None:
    """The table has a row for each database, and the paths below it."""
    shell("migrate", "--db", "users")
    lines = shell("status").splitlines()
    newest = str(latest_version("users"))

    assert shell.code == 0
    assert [line.split()[0] for line in lines[1:8]] == NAMES
    assert next(line for line in lines if line.startswith("users")).split()[1:4] == [newest, "of", newest]
    assert next(line for line in lines if line.startswith("elo")).split()[1:] == ["no", "file", "yet", "-", "-", "-"]
    assert f"Databases: {shell.home}" in lines


def test_status_says_where_no_backup_is(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's own folder holds none of those that the sidecar takes: none is no assurance, there or off-site."""
    monkeypatch.setenv("ARAGORA_OFFSITE_URL", (tmp_path / "elsewhere").as_uri())
    shell("migrate", "--db", "tokens")
    before = shell("status")
    shell("backup")
    after = shell("status")

    said = f"Backups:   {shell.home / 'backups'}"
    assert f"{said} (no verified backup there; a sidecar's are seen in its container)\n" in before
    assert "Off-site:  there is no backup to send\n" in before
    assert f"{said}\n" in after


def test_status_names_problems(shell: Shell) -> None:
    """An unreadable database is named below the table with its way out; showing it is a success."""
    shell.home.mkdir()
    (shell.home / "aragora_elo.db").write_bytes(b"this is no database" * 300)

    lines = shell("status").splitlines()

    assert shell.code == 0
    assert any(line.startswith("Problem:   elo: file is not a database") for line in lines)


def test_backup_says_what_it_backed_up(shell: Shell) -> None:
    """The documented lines, one for each database that exists; the files are there."""
    shell("migrate", "--db", "users")
    shell("migrate", "--db", "tokens")

    assert shell("backup") == "Backed up: users\nBacked up: tokens\n"
    assert shell.code == 0
    assert sorted(path.name.split("_")[0] for path in (shell.home / "backups").glob("*.db")) == ["tokens", "users"]


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)])
def test_backup_of_nothing_fails(shell: Shell, options: tuple[str, ...]) -> None:
    """Who misspelled the folder in a crontab must not believe that it is backed up."""
    assert shell("backup", *options) == ""
    assert shell.code == 1
    assert shell.err.startswith(f"aragora-persist: backup: {shell.home}: there is no database in it\n  way out: ")
    assert not shell.home.exists()


def test_backup_goes_on_after_a_failure_and_fails(shell: Shell) -> None:
    """One damaged database is named on stderr and fails the run; the others are backed up."""
    shell("migrate")
    (shell.home / "aragora_memory.db").write_bytes(b"this is no database" * 300)

    out = shell("backup")
    code, err = shell.code, shell.err
    answer = shell.json("backup", "--db", "memory")

    assert out == "".join(f"Backed up: {name}\n" for name in NAMES if name != "memory")
    assert code == 1
    assert "aragora_memory.db" in err
    assert "way out: " in err
    assert [one["database"] for one in answer["failed"]] == ["memory"]
    assert answer["backups"] == []


def test_backup_removes_what_is_over_its_time(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention runs with the backups, and says what it removed; the newest stays."""
    shell("migrate", "--db", "tokens")
    [old] = shell.json("backup")["backups"]
    now = times.utc_now
    monkeypatch.setattr(times, "utc_now", lambda: now() + timedelta(days=8))

    out = shell("backup")
    left = [one["id"] for one in shell.json("backups")["backups"]]

    assert out == f"Backed up: tokens\nRemoved: {old['id']}\n"
    assert len(left) == 1
    assert left != [old["id"]]


def test_backups_lists_newest_first(shell: Shell) -> None:
    """Text and JSON list the same backups; `--db` chooses."""
    shell("migrate")
    shell("backup", "--db", "users", "--db", "tokens")
    shell("backup", "--db", "users")
    answer = shell.json("backups")["backups"]

    assert [one["database"] for one in answer] == ["users", "tokens", "users"]
    assert {one["state"] for one in answer} == {"intact"}
    assert [line.split()[0] for line in shell("backups").splitlines()[1:]] == [one["id"] for one in answer]
    assert [one["database"] for one in shell.json("backups", "--db", "tokens")["backups"]] == ["tokens"]


def test_backups_check_finds_a_changed_byte(shell: Shell) -> None:
    """The quick list compares sizes; `--check` reads every byte, names the file and fails."""
    shell("migrate", "--db", "tokens")
    [backup] = shell.json("backup")["backups"]
    path = shell.home / "backups" / backup["file"]
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)

    shell("backups")
    quick = shell.code
    out = shell("backups", "--check")

    assert quick == 0
    assert shell.code == 1
    assert "damaged" in out
    problem = "its file is damaged: it cannot be restored; `aragora-persist backups --rebuild` forgets it"
    assert shell.err == f"aragora-persist: {backup['id']}: {problem}\n"


def test_backups_names_a_damaged_line_and_the_way_out(shell: Shell) -> None:
    """What follows from it, and what ends the complaint."""
    shell("migrate", "--db", "tokens")
    shell("backup")
    catalog = shell.home / "backups" / "catalog.jsonl"
    sound = catalog.read_bytes()
    catalog.write_bytes(sound + b"damage\n")
    shell("backups")
    assert shell.code == 1
    assert "line 2 is damaged: what it named is not offered; `aragora-persist backups --rebuild`" in shell.err
    assert shell("backups", "--rebuild").startswith("1 backup of the catalog compared with the files\nThe old catalog")
    assert (shell.code, shell.err) == (0, "")
    assert catalog.read_bytes() == sound
    shell("backups")
    assert (shell.code, shell.err) == (0, "")


def test_backup_dry_run_explains_and_changes_nothing(shell: Shell) -> None:
    """What would be backed up, and each backup with what would become of it and why, for people and as JSON."""
    shell("migrate", "--db", "tokens")
    (backup,) = shell.json("backup")["backups"]
    before = sorted((shell.home / "backups").iterdir())

    out = shell("backup", "--dry-run")
    record = shell.json("backup", "--dry-run", "--db", "tokens")

    assert out == f"Would back up: tokens\nWould keep: {backup['id']}: not older than 7 days\n"
    assert record == {
        "backups": ["tokens"],
        "decisions": [{"id": backup["id"], "keep": True, "reasons": ["not older than 7 days"]}],
    }
    assert sorted((shell.home / "backups").iterdir()) == before


def test_backups_check_names_what_is_in_no_catalog(shell: Shell) -> None:
    """A snapshot from before a migration, and a line that a crash tore: told, and no failure."""
    shell("migrate", "--db", "tokens")
    shell("backup")
    folder = shell.home / "backups"
    (folder / "users_20260101_000000_000000_before_migration.db").write_bytes(b"kept")
    with (folder / "catalog.jsonl").open("a") as catalog:
        catalog.write('{"kind": "back')

    plain = shell("backups")
    out = shell("backups", "--check")

    assert "Note" not in plain
    notes = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert notes[0].startswith("Note: users_20260101_000000_000000_before_migration.db is not in the catalog")
    assert notes[1].startswith("Note: the catalog's last line is incomplete")
    assert (shell.code, shell.err) == (0, "")
    assert [f"Note: {note}" for note in shell.json("backups", "--check")["notes"]] == notes


def test_backups_max_age_fails_where_one_is_missing_or_old(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh backups of everything pass; a database without one, or with an old one, is named."""
    shell("migrate", "--db", "tokens")
    shell("migrate", "--db", "users")
    shell("backup", "--db", "tokens")
    shell("backups", "--max-age", "3600")
    missing = (shell.code, shell.err)
    shell("backups", "--max-age", "3600", "--db", "elo")
    absent = (shell.code, shell.err)
    out = shell("backups", "--max-age", "3600", "--db", "tokens")
    fresh = (shell.code, shell.err, out)
    now = times.utc_now
    monkeypatch.setattr(times, "utc_now", lambda: now() + timedelta(hours=2))
    shell("backups", "--max-age", "3600", "--db", "tokens")
    old = (shell.code, shell.err)
    monkeypatch.setattr(times, "utc_now", lambda: now() - timedelta(hours=2))
    shell("backups", "--max-age", "3600", "--db", "tokens")

    assert missing == (1, "aragora-persist: users: there is no verified backup\n")
    assert absent[0] == 1
    assert absent[1].startswith("aragora-persist: elo: there is no such database in ")
    assert fresh == (0, "", "")
    assert old == (1, "aragora-persist: tokens: the newest verified backup is 2 hours old\n")
    assert shell.code == 1
    assert "from the future" in shell.err


def test_restore_brings_back_the_newest_and_keeps_what_was_there(shell: Shell) -> None:
    """Rows written after the backup are gone from the database, and are in the file that is named."""
    shell("migrate", "--db", "tokens")
    shell.revoke("early")
    [backup] = shell.json("backup")["backups"]
    shell.revoke("late")

    answer = shell.json("restore", "tokens")

    assert answer["backup"] == backup["id"]
    assert answer["equal"] is True
    assert shell.revoked() == ["early"]
    with closing(sqlite3.connect(answer["replaced"])) as replaced:
        assert replaced.execute("SELECT count(*) FROM token_blacklist").fetchone() == (2,)


def test_restore_chooses_by_id_and_by_time(shell: Shell) -> None:
    """An older backup can be named, or found by a moment."""
    shell("migrate", "--db", "tokens")
    [first] = shell.json("backup")["backups"]
    between = times.to_text(times.utc_now())
    shell.revoke("late")
    shell("backup")

    by_time = shell.json("restore", "tokens", "--at", between)
    shell.revoke("again")
    by_id = shell.json("restore", "tokens", "--backup", first["id"])

    assert [by_time["backup"], by_id["backup"]] == [first["id"], first["id"]]
    assert shell.revoked() == []


def test_restore_to_a_file_leaves_the_database(shell: Shell, tmp_path: Path) -> None:
    """With `--to`, the live database is untouched; a file that exists is not overwritten."""
    shell("migrate", "--db", "tokens")
    shell("backup")
    shell.revoke("late")
    target = tmp_path / "copy.db"

    out = shell("restore", "tokens", "--to", str(target))
    content = target.read_bytes()
    shell("restore", "tokens", "--to", str(target))

    assert out.startswith("Restored tokens_")
    assert str(target) in out
    assert shell.code == 1
    assert "exists" in shell.err
    assert target.read_bytes() == content
    assert shell.revoked() == ["late"]


def test_sync_status_counts_the_outbox(shell: Shell, repository: Path) -> None:
    """Without an outbox it fails with the way out; then it counts."""
    shell("sync", "--status")
    missing = (shell.code, shell.err)
    shell("import", "git", str(repository))

    assert missing[0] == 1
    assert "way out: aragora-persist migrate" in missing[1]
    answer = shell.json("sync", "--status")
    assert (answer["pending"], answer["dead_letters"], answer["problem"]) == (6, 0, None)
    assert re.match(r"6 records waiting for Supabase, the oldest for \d+ seconds?\n", shell("sync", "--status"))


def test_import_git_tells_what_was_new(shell: Shell, repository: Path) -> None:
    """The first import enqueues every commit, the second nothing."""
    first = shell.json("import", "git", str(repository))
    second = shell("import", "git", str(repository))

    assert (first["commits"], first["cycles"], first["evolutions"], first["file_changes"]) == (2, 2, 2, 2)
    assert second.splitlines()[0] == f"2 commits in loop {first['loop_id']}; new in the outbox:"
    assert second.splitlines()[1:] == ["  0 cycles", "  0 evolutions", "  0 file changes", "  0 rollbacks"]
    assert shell.err == ""


def test_import_git_takes_a_revision(shell: Shell, repository: Path) -> None:
    """`--ref` ends the history where the caller says."""
    assert shell.json("import", "git", str(repository), "--ref", "HEAD~1")["commits"] == 1


def test_import_git_of_no_repository_fails(shell: Shell, tmp_path: Path) -> None:
    """A folder without a repository is named, and nothing is enqueued."""
    shell("import", "git", str(tmp_path))

    assert shell.code == 1
    assert str(tmp_path) in shell.err
    assert shell.sql("outbox", "SELECT count(*) FROM outbox") == [(0,)]


def test_import_replay_refuses_a_bad_checksum_unless_told(shell: Shell, tmp_path: Path) -> None:
    """A changed trace is refused and leaves nothing; told to, it is taken, once."""
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TRACE))

    shell("import", "replay", str(file))
    refused = (shell.code, shell.err)
    empty = shell.sql("replay", "SELECT count(*) FROM replays")
    first = shell.json("import", "replay", str(file), "--accept-bad-checksum")
    second = shell("import", "replay", str(file), "--accept-bad-checksum")

    assert refused[0] == 1
    assert "checksum" in refused[1]
    assert empty == [(0,)]
    assert (first["trace_id"], first["events"], first["is_new"]) == ("trace-1", 1, True)
    assert second.splitlines()[0] == "Replay trace-1: 1 event, stored already; new in the outbox:"
    assert shell.sql("replay", "SELECT count(*) FROM replays") == [(1,)]
