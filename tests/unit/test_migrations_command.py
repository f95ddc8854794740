"""The documented command line, as a process and as a function."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from aragora_persist import cli
from aragora_persist.databases import DATABASES
from aragora_persist.migrations.command import main
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.runner import status
from tests.unit.workshop import Workshop
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMES = [database.name for database in DATABASES]
MODULE = "aragora_persist.migrations.runner"
COMMAND = [sys.executable, "-m", "aragora_persist"]
STARTERS = 16
ROUNDS = 2
OF_USERS = [migration.name for migration in load(folder_of("users"))]
KILLS = 6
NOBODY = 65534


def start(nomic_dir: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """Start the documented command."""
    command = [sys.executable, "-m", MODULE, *arguments]
    environ = {**os.environ, "NOMIC_DIR": str(nomic_dir)}
    return subprocess.Popen(command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that NOMIC_DIR names; it is not there yet."""
    monkeypatch.setenv("NOMIC_DIR", str(tmp_path / "nomic"))
    return tmp_path / "nomic"


def outdated(place: Path) -> Path:
    """Bring the users' database to version 1, where its second migration is pending."""
    assert main(["--migrate", "--db", "users"]) == 0
    assert main(["--rollback-to", "1", "--db", "users", "--no-backup"]) == 0
    return place / "aragora_users.db"


class TestStatus:
    """``--status``."""

    def test_shows_every_database_and_makes_none(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One line each; a machine without databases stays one."""
        assert main(["--status"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == NAMES
        assert f"missing, version 0 of {len(OF_USERS)}" in lines[NAMES.index("users")]
        assert not place.exists()

    def test_answers_programs(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """``--json`` is one document, ``--exit-code`` tells whether there is something to do."""
        path = outdated(place)
        capsys.readouterr()
        assert main(["--status", "--db", "users", "--json", "--exit-code"]) == 1
        assert json.loads(capsys.readouterr().out) == [
            {
                "database": "users",
                "path": str(path.resolve()),
                "state": "outdated",
                "version": 1,
                "latest": len(OF_USERS),
                "pending": OF_USERS[1:],
            }
        ]
        assert main(["--migrate"]) == 0
        assert main(["--status", "--exit-code"]) == 0

    def test_needs_no_right_to_write(self) -> None:
        """Nor does a dry run: in a folder that may only be read, both answer, and nothing appears there."""
        with tempfile.TemporaryDirectory() as folder:
            assert main(["--migrate", "--nomic-dir", folder]) == 0
            before = sorted(path.name for path in Path(folder).iterdir())
            Path(folder).chmod(0o555)
            for action in ("--status", "--dry-run"):
                child = os.fork()
                if child == 0:  # pragma: no cover -- runs in the child
                    if os.getuid() == 0:
                        for file in Path(folder).iterdir():
                            file.chmod(0o444)
                        os.setuid(NOBODY)  # nothing is forbidden to root
                    os._exit(main([action, "--nomic-dir", folder]) if not os.access(folder, os.W_OK) else 3)
                assert os.waitpid(child, 0)[1] == 0
            assert sorted(path.name for path in Path(folder).iterdir()) == before
            Path(folder).chmod(0o755)

    def test_names_each_migration_when_asked(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """``-v`` lists what was applied when, and what is pending."""
        outdated(place)
        capsys.readouterr()
        assert main(["--status", "--db", "users", "-v"]) == 0
        out = capsys.readouterr().out
        assert "applied 001_initial at 2" in out
        assert all(f"pending {name}" in out for name in OF_USERS[1:])

    def test_one_broken_database_does_not_hide_the_others(
        self, place: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The error goes to stderr, the rest is shown, and the exit code is 1."""
        place.mkdir()
        (place / "aragora_elo.db").write_bytes(b"no database" * 1000)
        assert main(["--status"]) == 1
        captured = capsys.readouterr()
        assert [line.split(":")[0] for line in captured.out.splitlines()] == NAMES[1:]
        assert captured.err.startswith("aragora-persist: elo: read database: ")
        assert "\n  way out: restore a backup" in captured.err


class TestChanges:
    """``--migrate``, ``--dry-run``, ``--rollback``."""

    def test_migrates_all_or_one(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One with ``--db``, otherwise every database; again there is nothing to do."""
        assert main(["--migrate", "--db", "users"]) == 0
        assert [file.name for file in place.iterdir()] == ["aragora_users.db"]
        assert capsys.readouterr().out == f"users: applied {', '.join(OF_USERS)}\n"
        assert main(["--migrate"]) == 0
        assert {file.name for file in place.iterdir()} == {database.file_name for database in DATABASES}
        capsys.readouterr()
        assert main(["--migrate"]) == 0
        assert capsys.readouterr().out.splitlines() == [f"{name}: nothing to do" for name in NAMES]

    def test_takes_a_snapshot_unless_told_not_to(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An upgrade of a database names its snapshot."""
        outdated(place)
        assert not (place / "backups").exists()
        capsys.readouterr()
        assert main(["--migrate", "--db", "users"]) == 0
        (snapshot,) = (place / "backups").glob("*.db")
        assert f"snapshot from before: {snapshot}" in capsys.readouterr().out

    def test_a_dry_run_changes_nothing(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """It says what would happen, and it has not."""
        path = outdated(place)
        capsys.readouterr()
        before = path.read_bytes()
        assert main(["--dry-run", "--db", "users"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"users: would apply {', '.join(OF_USERS[1:])}"
        assert re.fullmatch(r"  002_add_lockout: \d+\.\d\d ms", lines[1])
        assert re.fullmatch(r" +\d+\.\d\d ms  ALTER TABLE users ADD COLUMN locked_until TEXT", lines[2])
        assert f"    +++ version {len(OF_USERS)}" in lines
        assert max(map(len, lines[: lines.index("  schema:")])) < 160
        assert (path.read_bytes(), status(path, "users").version) == (before, 1)

    def test_a_dry_run_answers_programs(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """With each statement whole, its time, rows and executions, and the schema's difference."""
        path = outdated(place)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO users (id, email, password_hash, password_salt) VALUES (1, 'a', '', '')")
            connection.execute("INSERT INTO organizations (id, name, slug, owner_id) VALUES (1, 'a', 'a', 1)")
        capsys.readouterr()
        assert main(["--dry-run", "--db", "users", "--json"]) == 0
        ((document),) = json.loads(capsys.readouterr().out)
        assert list(document) == ["database", "would_apply", "migrations", "schema_diff"]
        assert document["would_apply"] == [step["name"] for step in document["migrations"]] == OF_USERS[1:]
        assert list(document["migrations"][0]) == ["name", "version", "duration_ms", "statements"]
        statements = [one for step in document["migrations"] for one in step["statements"]]
        assert all(list(one) == ["sql", "duration_ms", "rows", "times"] for one in statements)
        (owners,) = [one for one in statements if "WHERE owner_id IS NOT NULL" in one["sql"]]
        assert (owners["rows"], owners["times"], "\n" in owners["sql"]) == (1, 1, True)
        assert document["schema_diff"][:2] == ["--- version 1", f"+++ version {len(OF_USERS)}"]

    def test_rolls_back(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """To any version; what cannot be undone is an error and exit code 1."""
        assert main(["--migrate", "--db", "users"]) == 0
        capsys.readouterr()
        assert main(["--rollback-to", "0", "--db", "users", "--json"]) == 0
        (document,) = json.loads(capsys.readouterr().out)
        assert document["undid"] == OF_USERS[::-1]
        assert Path(document["snapshot"]).parent == place / "backups"
        assert main(["--rollback", "--db", "users"]) == 1
        assert status(place / "aragora_users.db", "users").version == 0

    def test_creates_the_next_file(self, tmp_path: Path) -> None:
        """``--create`` as documented, in a copy of the package; the copy's status then shows the new migration."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "aragora_persist", tmp_path / "aragora_persist", ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        created = start(tmp_path / "nomic", "--create", "Add user notes", "--db", "users", cwd=tmp_path)
        out, err = created.communicate(timeout=PATIENCE_S)
        name = f"{len(OF_USERS) + 1:03d}_add_user_notes"
        path = tmp_path / "aragora_persist" / "migrations" / "users" / f"{name}.py"
        assert (out, err, created.returncode) == (f"users: created {path}\n", "", 0)
        shown = start(tmp_path / "nomic", "--status", "--db", "users", "--json", cwd=tmp_path)
        assert json.loads(shown.communicate(timeout=PATIENCE_S)[0])[0]["pending"][-1] == name

    def test_an_error_shows_its_cause_and_no_credential(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As every other command prints it, in text and in JSON."""
        place = tmp_path / "password=hunter2-secret"
        place.mkdir()
        (place / "aragora_elo.db").write_bytes(b"no database" * 1000)
        monkeypatch.setenv("NOMIC_DIR", str(place))
        assert main(["--migrate", "--db", "elo", "--json"]) == 1
        captured = capsys.readouterr()
        assert "\n  because DatabaseError: " in captured.err
        assert "way out: restore a backup" in captured.err
        assert "hunter2" not in captured.err + captured.out

    def test_a_full_disk_behind_a_redirection_is_a_failure(self, place: Path) -> None:
        """An answer that could not be written was not given; that is told like any other error."""
        command = [sys.executable, "-m", MODULE, "--status"]
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert (result.returncode, result.stderr) == (
            1,
            "aragora-persist: OSError: [Errno 28] No space left on device\n",
        )
        assert not place.exists()


class TestUsage:
    """What is not understood is exit code 2 and touches nothing."""

    @pytest.mark.parametrize("whole", [None, "aragora-persist"])
    @pytest.mark.parametrize(
        ("arguments", "listed"),
        [
            ("--migrate --db user", NAMES),
            ("--rollback-to x --db users", ["'x'", "0 (before the first), 1 (001_initial)", OF_USERS[-2]]),
            ("--rollback-to 99 --db users", ["'99'", OF_USERS[-2]]),
            ("--rollback-to -1 --db users", ["'-1'", OF_USERS[-2]]),
            (f"--rollback-to {len(OF_USERS)} --db users", [OF_USERS[-2]]),
            ("--status --nomic-dir {place}/none/deeper", ["not a folder", "in {place} there is: aragora_users.db"]),
            ("--dry-run --nomic-dir {place}/none", ["in {place} there is: aragora_users.db"]),
            ("--rollback --db users --nomic-dir {place}/none", ["in {place} there is: aragora_users.db"]),
            ("--create ??? --db users --dir {place}", ["no letter or digit"]),
            ("--create x --db users --dir {place}/none", ["in {place} there is: aragora_users.db"]),
            ("--adopt --migrate --db users --from {place}/none.db", ["in {place} there is: aragora_users.db"]),
        ],
    )
    def test_what_is_not_there_is_told_with_what_is(
        self, place: Path, capsys: pytest.CaptureFixture[str], arguments: str, listed: list[str], whole: str | None
    ) -> None:
        """Both commands exit with 2, name what exists, and change nothing."""
        assert main(["--migrate", "--db", "users"]) == 0
        before = {path: path.read_bytes() for path in place.iterdir()}
        capsys.readouterr()
        given = arguments.format(place=place).split()
        with pytest.raises(SystemExit) as refused:
            main(given) if whole is None else cli.main(["migrate", *given])
        captured = capsys.readouterr()
        assert (refused.value.code, captured.out) == (2, "")
        assert [text for text in listed if text.format(place=place) not in captured.err] == []
        assert {path: path.read_bytes() for path in place.iterdir()} == before

    def test_what_is_wrong_with_the_database_is_no_fault_of_the_number(
        self, place: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The rollback refuses it as every action does, with the database's name and a document."""
        assert main(["--migrate", "--db", "users"]) == 0
        (place / "aragora_users.db").write_bytes(b"no database: " * 100)
        capsys.readouterr()
        assert main(["--rollback-to", "1", "--db", "users", "--json"]) == 1
        captured = capsys.readouterr()
        assert [document["database"] for document in json.loads(captured.out)] == ["users"]
        assert captured.err.startswith("aragora-persist: users: ")
        with pytest.raises(SystemExit):
            main(["--rollback-to", "x", "--db", "users"])
        assert "'x' is not a version" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--migrate", "--status"],
            ["--create", "x"],
            ["--rollback"],
            ["--adopt", "--migrate"],
            ["--adopt", "--status", "--db", "users"],
            ["--migrate", "--db", "users", "--from", "users.db"],
            ["--migrate", "--db", "users", "--dir", "."],
            ["--migrate", "--exit-code"],
            ["-x"],
        ],
    )
    def test_wrong_arguments(self, place: Path, arguments: list[str]) -> None:
        """No action, two actions, a missing database, or a modifier of another action."""
        with pytest.raises(SystemExit) as refused:
            main(arguments)
        assert refused.value.code == 2
        assert not place.exists()

    def test_a_wrong_setting_is_named(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment is usage too."""
        monkeypatch.setenv("DB_TIMEOUT", "soon")
        with pytest.raises(SystemExit) as refused:
            main(["--migrate"])
        assert refused.value.code == 2
        assert not place.exists()

    def test_a_folder_that_is_to_be_made_is_made(self, place: Path) -> None:
        """To migrate makes the databases, and so their folder; that of the environment need not be there for others."""
        assert main(["--migrate", "--db", "users", "--nomic-dir", str(place / "new")]) == 0
        assert [path.name for path in place.iterdir()] == ["new"]
        assert main(["--status"]) == 0


class TestOneCommand:
    """``aragora-persist migrate`` and the runner are one."""

    def test_both_take_the_same_arguments(self) -> None:
        """Every option of one is an option of the other, and means the same."""
        runner = subprocess.run([sys.executable, "-m", MODULE, "--help"], capture_output=True, text=True, check=True)
        verb = subprocess.run([*COMMAND, "migrate", "--help"], capture_output=True, text=True, check=True)
        options = [set(re.findall(r"^  (?:-v, )?(--[a-z-]+)", page.stdout, re.MULTILINE)) for page in (runner, verb)]
        assert options[0] == options[1]
        assert len(options[0]) == 16

    def test_without_an_action_it_migrates(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The verb alone does what its name says; with an action, it does that."""
        assert cli.main(["migrate", "--db", "tokens"]) == 0
        assert capsys.readouterr().out == "tokens: applied 001_initial\n"
        assert cli.main(["migrate", "--status", "--db", "tokens", "-v"]) == 0
        assert "\n  applied 001_initial at 2" in capsys.readouterr().out
        assert cli.main(["migrate", "--rollback", "--db", "tokens", "--no-backup"]) == 0
        assert status(place / "aragora_tokens.db", "tokens").version == 0

    def test_their_help_loads_nothing_that_only_migrating_needs(self) -> None:
        """Both explain themselves before SQLite, the settings or the migrations are imported."""
        for command in (["-m", MODULE], ["-m", "aragora_persist", "migrate"]):
            loaded = subprocess.run(
                [sys.executable, "-X", "importtime", *command, "--help"], capture_output=True, text=True, check=True
            ).stderr
            names = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
            assert "aragora_persist.migrations.command" in names
            assert names.isdisjoint({"sqlite3", "aragora_persist.settings", "dataclasses", "json", "typing"})


class TestOthers:
    """What other modules do, through the command line."""

    def test_checks_the_migrations(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """This release's own have no finding; nothing is opened for that."""
        assert main(["--check", "--db", "users", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [{"database": "users", "findings": []}]
        assert main(["--check", "--db", "users"]) == 0
        assert capsys.readouterr().out == "users: nothing found\n"
        assert not place.exists()

    def test_adopts(self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A database that somebody made: refused without the word, rehearsed without a change, then taken over."""
        made = tmp_path / "made.db"
        with closing(sqlite3.connect(made)) as connection, connection:
            connection.execute("CREATE TABLE token_blacklist (jti TEXT PRIMARY KEY, expires_at REAL, revoked_at REAL)")
            connection.execute("INSERT INTO token_blacklist VALUES ('a', 4000000000.0, 1700000000.0)")
        arguments = ["--adopt", "--db", "tokens", "--from", str(made)]
        assert main(["--dry-run", *arguments]) == 0
        assert "would adopt 1 row" in capsys.readouterr().out
        assert not (place / "aragora_tokens.db").exists()
        assert main(["--migrate", *arguments, "--json"]) == 0
        (document,) = json.loads(capsys.readouterr().out)
        assert (document["adoption"]["changed"], document["adoption"]["source"]) == (True, str(made))
        assert status(place / "aragora_tokens.db", "tokens").state == "current"

    def test_a_refused_database_shows_why(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Its state, the problem and the way out; looking at it is no failure, unless that was asked for."""
        place.mkdir()
        with closing(sqlite3.connect(place / "aragora_tokens.db")) as connection:
            connection.execute("CREATE TABLE tokens (jti TEXT)")
        assert main(["--status", "--db", "tokens"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("tokens: foreign, version 0 of 1 (")
        assert lines[1].startswith("  problem: has tables, and no ledger")
        assert "--adopt" in lines[2]
        assert main(["--status", "--db", "tokens", "--exit-code", "--json"]) == 1
        assert "--adopt" in json.loads(capsys.readouterr().out)[0]["way_out"]

    def test_writes_into_a_folder_of_ones_own(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """``--dir`` names it; the first file there has the first number."""
        assert main(["--create", "Add notes", "--db", "users", "--dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"users: created {tmp_path / '001_add_notes.py'}\n"
        assert [path.name for path in tmp_path.glob("*.py")] == ["001_add_notes.py"]


def test_progress_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    """On a terminal each migration is named as it begins, and the line is gone at the end; in a pipe there is none."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", MODULE, "--migrate", "--db", "users", "--nomic-dir"]
    with subprocess.Popen([*command, str(tmp_path / "a")], stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert [name for number, name in enumerate(OF_USERS, 1) if f"{name} {number}/".encode() not in shown] == []
    assert shown.endswith(b"\r\x1b[K")
    piped = subprocess.run([*command, str(tmp_path / "b")], capture_output=True, text=True, check=True)
    assert (piped.stdout.count("\n"), piped.stderr) == (1, "")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_many_runners_at_once(tmp_path: Path, number: int) -> None:
    """Sixteen processes migrate the same new folder: all succeed, and each migration ran once."""
    place = tmp_path / str(number)
    runners = [start(place, "--migrate", "--db", "users", "--json") for _ in range(STARTERS)]
    outcomes = [(*runner.communicate(timeout=PATIENCE_S), runner.returncode) for runner in runners]
    assert [code for _, _, code in outcomes] == [0] * STARTERS, outcomes
    applied = [name for out, _, _ in outcomes for name in json.loads(out)[0]["applied"]]
    assert sorted(applied) == OF_USERS
    assert status(place / "aragora_users.db", "users").state == "current"


def test_a_killed_runner_is_repaired_by_the_next(tmp_path: Path) -> None:
    """Killed at several moments of its run, a runner leaves nothing or everything, and the next one succeeds."""
    killed = 0
    for number in range(KILLS):
        place = tmp_path / str(number)
        victim = start(place, "--migrate")
        wait_until(place.exists, "the first database", every_s=0.001)
        time.sleep(number * 0.01)
        victim.send_signal(signal.SIGKILL)
        victim.communicate(timeout=PATIENCE_S)
        killed += victim.returncode == -signal.SIGKILL
        again = start(place, "--migrate", "--json")
        out, err = again.communicate(timeout=PATIENCE_S)
        assert (again.returncode, err) == (0, ""), out
        for database in DATABASES:
            assert status(database.path(place), database.name).state == "current"
            with closing(sqlite3.connect(database.path(place))) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert killed > 0


def test_a_runner_killed_inside_a_body_leaves_what_was_before(tmp_path: Path) -> None:
    """With megabytes of a second migration written, and spilled to the WAL, nothing of it shows afterwards."""
    workshop = Workshop(tmp_path)
    workshop.start()
    before = workshop.content()
    fill = 'conn.execute("CREATE TABLE more (a)")\nfor _ in range(400):\n    conn.execute("INSERT INTO more VALUES '
    path = workshop.write(2, fill + '(randomblob(10000))")\nimport os\nos.kill(os.getpid(), 9)')
    code = (
        "import sys; from pathlib import Path; from aragora_persist.migrations.runner import migrate\n"
        "migrate(sys.argv[1], 'users', folder=Path(sys.argv[2]), backup=False)"
    )
    command = [sys.executable, "-c", code, str(workshop.path), str(workshop.folder)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert workshop.path.with_name("aragora_users.db-wal").stat().st_size > 0
    assert workshop.content() == before
    path.write_text(path.read_text().replace("os.kill(os.getpid(), 9)", ""))
    assert [step.version for step in workshop.migrate().migrations] == [2]
