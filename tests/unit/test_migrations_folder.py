"""The migrations' files, and the committed schemas that they make."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError, MigrationError
from aragora_persist.migrations.folder import create, folder_of, load
from aragora_persist.migrations.schema_files import generate, schema_file, stale
from aragora_persist.times import from_text, utc_now
from aragora_persist.version import VERSION
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path


class TestFolder:
    """The files."""

    def test_creates_the_documented_form(self, tmp_path: Path) -> None:
        """Number, name, title, time and both functions, ready to be filled in; it loads and it is the next one."""
        (tmp_path / "001_initial.py").write_text("def upgrade(conn): pass\n")
        moment = from_text("2024-01-03T12:00:00Z")
        path = create(tmp_path, 'Add user "lockout" \\ fields', moment)
        assert path.name == "002_add_user_lockout_fields.py"
        title = "Migration 002: Add user 'lockout' ' fields"
        assert path.read_text().startswith(f'"""\n{title}\n\nCreated: 2024-01-03T12:00:00\n"""\n\nimport sqlite3\n')
        workshop = Workshop(tmp_path)
        workshop.folder = tmp_path
        assert [step.version for step in workshop.migrate().migrations] == [1, 2]

    @pytest.mark.parametrize("description", ["", "  ", "…", '"""'])
    def test_refuses_a_description_without_a_name(self, tmp_path: Path, description: str) -> None:
        """Nothing is written then."""
        with pytest.raises(InvalidValueError):
            create(tmp_path, description, utc_now())
        assert list(tmp_path.iterdir()) == []

    def test_takes_a_description_that_is_not_utf_8(self, tmp_path: Path) -> None:
        """As a shell in another encoding passes it: the file is whole, with a mark where the letter was."""
        path = create(tmp_path, "caf\udce9 table", utc_now())
        assert path.name == "001_caf_table.py"
        assert "Migration 001: caf? table\n" in path.read_text()
        assert [migration.version for migration in load(tmp_path)] == [1]

    @pytest.mark.parametrize("names", [("001_a.py", "001_b.py"), ("001_a.py", "003_c.py"), ("002_b.py",)])
    def test_refuses_duplicates_and_gaps(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        """By the files themselves; nothing is applied."""
        workshop = Workshop(tmp_path)
        for name in names:
            (workshop.folder / name).write_text("def upgrade(conn): conn.execute('CREATE TABLE t (a)')\n")
        with pytest.raises(MigrationError, match=r"twice|missing"):
            workshop.migrate()
        with pytest.raises(MigrationError):
            create(workshop.folder, "one more", utc_now())
        assert sorted(file.name for file in workshop.folder.iterdir()) == sorted(names)

    @pytest.mark.parametrize("name", [database.name for database in DATABASES])
    def test_every_database_has_its_migrations(self, name: str) -> None:
        """A first migration, numbered without gaps, and a committed schema that is what they make."""
        assert load(folder_of(name))[0].name == "001_initial"
        assert schema_file(name).read_text() == generate(name)

    def test_the_committed_schemas_are_checked_by_a_command(self) -> None:
        """``--check`` is what a build calls."""
        command = [sys.executable, "-m", "aragora_persist.migrations.schema_files", "--check"]
        assert stale() == []
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_the_version_is_the_packages(request: pytest.FixtureRequest) -> None:
    """The constant that the ledger stores is the version of the distribution."""
    text = (request.config.rootpath / "pyproject.toml").read_text()
    assert f'\nversion = "{VERSION}"\n' in text
