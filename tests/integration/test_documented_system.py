"""Every snippet of the system's documentation runs, or is what the product has, and none is missing."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.migrations.folder import latest_version
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.engine import open_engine
from tests.documented import ROOT, sqlite_shell
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]

PAGE = (ROOT / "docs" / "database-architecture.md").read_text()
SNIPPETS = {
    ident: (language, text)
    for ident, language, text in re.findall(
        r"<!-- snippet: (\S+) -->\n```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
}
TABLES = ["schema.users", "schema.organizations", "schema.audit_log", "schema.usage_events"]
PYTHON = {
    "local.connection": "",
    "local.store": "",
    "cloud.configured": "Configured: False\n",
    "performance.pool": "",
    "retention.setting": "90\n",
    "retention.cleanup": "",
    "trouble.locked": "('wal',)\n",
    "trouble.supabase": "URL: None\nKey set: False\nConfigured: False\n",
}
BASH = [
    *("migrations.run", "backup.script", "backup.cp", "backup.sqlite3", "backup.restore", "backup.restore_copy"),
    "trouble.version",
]
OTHERS = [
    *("local.location", "cloud.environment", "migrations.create", "migrations.example"),
    *("performance.threshold", "performance.line"),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs a snippet in a fresh home, without the caller's settings, and returns its output."""
    shell = sqlite_shell(tmp_path / "bin")
    (tmp_path / "data").mkdir()

    def run_one(ident: str, *, after: str = "", folder: Path = ROOT) -> str:
        language, text = SNIPPETS[ident]
        program = text.replace("/path/to/", f"{tmp_path}/data/") + after
        start = [sys.executable, "-W", "error", "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        path = os.pathsep.join((str(ROOT / ".venv" / "bin"), os.environ["PATH"], str(shell)))
        known = {"HOME": str(tmp_path), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*start, program], env=known, cwd=folder, text=True, capture_output=True, check=False, timeout=PATIENCE_S
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run_one


def test_the_page_has_every_snippet() -> None:
    """The page and this module name the same ids: none is forgotten, none is left behind."""
    assert sorted(SNIPPETS) == sorted([*TABLES, *PYTHON, *BASH, *OTHERS])


@pytest.mark.parametrize("ident", PYTHON)
def test_python_runs(run: Run, ident: str) -> None:
    """It succeeds, warns of nothing, and prints what the documentation says."""
    assert run(ident) == PYTHON[ident]


@pytest.mark.parametrize("ident", TABLES)
def test_tables_are_there(ident: str, tmp_path: Path) -> None:
    """Each column with its type, key and default, each unique column and each index is in the product's database."""
    with closing(sqlite3.connect(":memory:")) as documented:
        documented.executescript(SNIPPETS[ident][1])
        wanted = table_of(documented, ident.removeprefix("schema."))
    open_engine(tmp_path / "users.db", "users").close()
    with closing(sqlite3.connect(tmp_path / "users.db")) as real:
        assert wanted <= table_of(real, ident.removeprefix("schema."))
    assert len(wanted) > 6


def table_of(connection: sqlite3.Connection, table: str) -> set[tuple[object, ...]]:
    """Return columns, indexes with their columns, and foreign keys of a table."""
    found: set[tuple[object, ...]] = {row[1:] for row in connection.execute(f"PRAGMA table_info({table})")}
    for _, name, unique, origin, *_ in connection.execute(f"PRAGMA index_list({table})"):
        columns = tuple(row[2] for row in connection.execute(f"PRAGMA index_info({name})"))
        found.add((name if origin == "c" else origin, unique, columns))
    return found | {("foreign key", *row[2:5]) for row in connection.execute(f"PRAGMA foreign_key_list({table})")}


def test_the_commands_of_migrations(run: Run, tmp_path: Path) -> None:
    """Shown, rehearsed, applied; again for one database, where nothing is left to do."""
    output = run("migrations.run")

    assert f"users: missing, version 0 of {latest_version('users')}" in output
    assert "users: would apply 001_initial, 002_add_lockout" in output
    assert "users: applied 001_initial" in output
    assert output.splitlines()[-1] == "users: nothing to do"
    assert (tmp_path / ".aragora" / "aragora_users.db").exists()


def test_a_backup_and_its_restore(run: Run, tmp_path: Path) -> None:
    """The script's line and file are as documented; what was lost is back, and a copy by SQLite's shell is whole."""
    run("migrations.run")
    database = tmp_path / ".aragora" / "aragora_users.db"
    assert "Backed up: users" in run("backup.script").splitlines()
    assert re.fullmatch(r"users_\d{8}_\d{6}(_\d+)?\.db", next((database.parent / "backups").glob("users_*.db")).name)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE usage_events")
    run("backup.restore")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM usage_events").fetchone() == (0,)
    run("backup.sqlite3")
    with closing(sqlite3.connect(database.parent / "backups" / "users.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT COUNT(*) FROM usage_events").fetchone() == (0,)


def test_a_copy_by_hand_and_its_restore(run: Run, tmp_path: Path) -> None:
    """What the documented cp copied is live again, also where a log of later rows was left beside the database."""
    run("migrations.run")
    database = tmp_path / ".aragora" / "aragora_users.db"
    run("backup.cp")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE usage_events")
        connection.commit()
        log = Path(f"{database}-wal").read_bytes()
    Path(f"{database}-wal").write_bytes(log)
    assert "what was there before is kept" in run("backup.restore_copy").lower()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT COUNT(*) FROM usage_events").fetchone() == (0,)


def test_the_version_of_a_schema(run: Run) -> None:
    """The command and a plain query name the same version."""
    run("migrations.run")
    output = run("trouble.version")
    newest = latest_version("users")

    assert f"users: current, version {newest} of {newest}" in output
    assert [line.split("|")[0] for line in output.splitlines()[-newest:]] == [str(n + 1) for n in range(newest)]


def test_a_new_migration_and_its_example(run: Run, tmp_path: Path) -> None:
    """The made file has the documented name; filled with the example, it is applied, and undone again."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "aragora_persist", copy / "aragora_persist", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    output = run("migrations.create", folder=copy)
    made = copy / "aragora_persist" / "migrations" / "users" / f"{latest_version('users') + 1:03d}_add_analytics.py"
    assert output == f"users: created {made}\n"
    made.write_text(made.read_text().partition("import sqlite3")[0] + SNIPPETS["migrations.example"][1])
    undone = "python -m aragora_persist.migrations.runner --rollback --db users\n"
    output = run("migrations.run", after=undone, folder=copy)
    assert made.stem in output.splitlines()[-1]
    assert output.splitlines()[-1].startswith("users: undid ")


@pytest.mark.parametrize(
    ("ident", "shown"),
    [
        ("local.location", "location.parent"),
        ("cloud.environment", "settings.supabase_configured, settings.supabase_url"),
        ("performance.threshold", "settings.slow_query_ms"),
    ],
)
def test_variables_are_obeyed(run: Run, tmp_path: Path, ident: str, shown: str) -> None:
    """What is exported is what the package then goes by."""
    look = (
        "from aragora_persist.databases import find_database; from aragora_persist.settings import Settings; "
        f"settings = Settings.from_env(); location = find_database('users').path(settings.nomic_dir); print({shown})"
    )
    expected = {
        "local.location": f"{tmp_path}/data/data",
        "cloud.environment": "True https://yourproject.supabase.co",
        "performance.threshold": "500.0",
    }
    if ident == "cloud.environment":
        look = look.replace("print(", "print(*(").removesuffix(")") + "))"
    assert run(ident, after=f'python -c "{look}"\n').strip() == expected[ident]


def test_the_line_of_a_slow_query(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged to the letter."""
    with caplog.at_level(logging.WARNING):
        report_slow("save_cycle", {"cycle": 5}, 0.523, 500)
    lines = [f"{record.levelname}: {record.getMessage()}" for record in caplog.records]
    assert lines == [SNIPPETS["performance.line"][1].strip()]
