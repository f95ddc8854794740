"""Every command on the page of migrations is run and answers what stands there; every migration on it is applied."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.migrations import lint
from aragora_persist.migrations.folder import folder_of
from aragora_persist.migrations.runner import migrate, rollback, status
from aragora_persist.settings import Settings
from tests.documented import ROOT, Page, Reader

if TYPE_CHECKING:
    from pathlib import Path

PAGE = Page("migrations.md")
MIGRATIONS = dict(re.findall(r"^<!-- migration: (\S+) -->\n```python\n(.*?)^```$", PAGE.text, re.DOTALL | re.MULTILINE))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a fresh home with a copy of the source in it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "aragora_persist", tmp_path / "aragora_persist", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_commands_answer_what_the_page_says(home: Path) -> None:
    """One after the other in one home, as a reader would give them."""
    reader = Reader(home, COLUMNS="100")
    for command, wanted in PAGE.commands:
        reader.gets(command, wanted)
    assert len(PAGE.commands) >= 10


def test_what_a_migration_prints_is_no_part_of_the_answer(home: Path) -> None:
    """It is shown, and a program that reads the document does not meet it."""
    folder = home / "aragora_persist" / "migrations" / "tokens"
    (folder / "002_talk.py").write_text("def upgrade(conn):\n    print('it talks')\n")
    command = [sys.executable, "-m", "aragora_persist.migrations.runner", "--migrate", "--db", "tokens", "--json"]
    environment = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"database": "tokens", "applied": ["001_initial", "002_talk"]}]
    assert done.stderr == "it talks\n"


def test_every_action_is_on_the_page() -> None:
    """None of the command line's actions and modifiers is left out."""
    assert PAGE.missing_options("aragora_persist.migrations.runner") == []


def test_its_migrations_are_sound(tmp_path: Path) -> None:
    """They pass the lint, run on rows, make what the page says of them, and can be undone."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    shutil.copy(folder_of("tokens") / "001_initial.py", folder)
    settings, path = Settings.from_env({"NOMIC_DIR": str(tmp_path)}), tmp_path / "tokens.db"
    migrate(path, "tokens", folder=folder, settings=settings)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES ('a', '2', '1')")
    for name, source in MIGRATIONS.items():
        head = f'"""\nMigration {name[:3]}: As the page says\n\nCreated: 2026-01-01T00:00:00\n"""\n\n'
        (folder / name).write_text(head + source)
    assert lint.check("tokens", folder) == ()
    change = migrate(path, "tokens", folder=folder, settings=settings)
    assert [f"{step.name}.py" for step in change.migrations] == list(MIGRATIONS) == sorted(MIGRATIONS)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT jti, device FROM token_blacklist").fetchall() == [("a", "unknown")]
        assert "device TEXT NOT NULL" in str(connection.execute("SELECT sql FROM sqlite_master").fetchall())
    rollback(path, "tokens", to=1, folder=folder, settings=settings)
    assert status(path, "tokens", folder=folder).version == 1
