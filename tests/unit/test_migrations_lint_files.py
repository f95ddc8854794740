"""What a migration's file says of itself, its waivers, and a new migration from its first line to a clean check."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aragora_persist.errors import InvalidValueError, MigrationError
from aragora_persist.migrations.lint import RULES, check
from tests.unit.lint_folder import LintFolder, sql

ROOT = Path(__file__).parents[2]
ADD = sql("ALTER TABLE people ADD COLUMN phone TEXT")
TAKE = sql("ALTER TABLE people DROP COLUMN phone")
DROP = sql("DROP INDEX idx_people_name")
BACK = sql("CREATE INDEX idx_people_name ON people(name, age)")
TAGS = sql(
    "CREATE TABLE tags (note_id INTEGER NOT NULL REFERENCES notes(id), tag TEXT NOT NULL, PRIMARY KEY (note_id, tag))"
)


@pytest.fixture
def folder(tmp_path: Path) -> LintFolder:
    """Return a folder whose first migration is without fault."""
    return LintFolder(tmp_path)


class TestFile:
    """What a file says of itself."""

    @pytest.mark.parametrize(
        ("old", "new", "detail"),
        [
            ("Migration 002", "Migration 003", "does not begin with Migration 002"),
            ("Migration 002: Step", "Migration 002:", "does not begin with Migration 002"),
            ("Migration 002: Step", "Adds a phone", "does not begin with Migration 002"),
            ("Created: 2026-11-23T12:00:00", "By hand", "no line Created"),
            ("Created: 2026-11-23T12:00:00", "Created: yesterday", "no line Created"),
            ('"""', "#", "it has none"),
        ],
    )
    def test_the_docstring(self, folder: LintFolder, old: str, new: str, detail: str) -> None:
        """Number, title and time, as ``--create`` writes them."""
        path = folder.write(2, ADD, TAKE)
        text = path.read_text()
        if new == "#":
            text = text.replace(text.split('"""')[1], "").replace('""""""\n', "")
        path.write_text(text.replace(old, new))
        (finding,) = folder.check()
        assert (finding.rule, finding.subject) == ("file", "docstring")
        assert detail in finding.why

    @pytest.mark.parametrize(
        ("reader", "detail"), [(None, "it is not said"), ("soon", "is 'soon'"), ("99.0.0", "99.0.0 is later than this")]
    )
    def test_the_oldest_reader(self, folder: LintFolder, reader: str | None, detail: str) -> None:
        """Missing, it locks out all that run; later than this release, it locks out this one."""
        folder.write(2, ADD, TAKE, reader=reader)
        (finding,) = folder.check()
        assert finding.rule == "min-reader"
        assert detail in finding.why

    def test_a_reader_whose_code_would_fail(self, folder: LintFolder) -> None:
        """MIN_READER promises that older releases can go on; a change that breaks them, not waived, contradicts it."""
        rename, back = (
            sql(f"ALTER TABLE people RENAME COLUMN {first} TO {second}")
            for first, second in (("name", "title"), ("title", "name"))
        )
        folder.write(2, rename, back, reader="0.0.9")
        findings = [(finding.rule, finding.subject) for finding in folder.check() if finding.rule != "postgresql"]
        assert findings == [(rule, "people.name, now title") for rule in ("rename-column", "min-reader")]
        folder.write(2, ADD, TAKE, reader="0.0.9")
        assert folder.check() == []

    def test_a_file_that_does_not_load_is_an_error(self, folder: LintFolder) -> None:
        """With its line: there is nothing to watch. So is a folder that is none."""
        path = folder.write(2, "conn.execute(", TAKE)
        with pytest.raises(MigrationError, match="SyntaxError") as refused:
            folder.check()
        assert str(path) in refused.value.target
        with pytest.raises(InvalidValueError):
            check("users", path)
        with pytest.raises(InvalidValueError):
            check("nobody")

    def test_what_comes_after_a_failure_is_watched_as_well(self, folder: LintFolder) -> None:
        """Where it goes on with empty tables; where nothing goes on, the failure is the last finding."""
        folder.write(2, sql("ALTER TABLE people ADD COLUMN phone TEXT NOT NULL"), TAKE)
        folder.write(3, sql("ALTER TABLE people ADD COLUMN mobile"), sql("ALTER TABLE people DROP COLUMN mobile"))
        assert {(finding.migration, finding.rule) for finding in folder.check()} == {
            ("002_step", "fails"),
            ("002_step", "not-null"),
            ("003_step", "type"),
            ("003_step", "postgresql"),
        }
        folder.write(2, sql("DROP TABLE nothing"), None)
        assert [finding.migration for finding in folder.check() if finding.rule == "fails"] == ["002_step"]


class TestWaivers:
    """``WAIVED`` in a migration's file."""

    def test_a_reasoned_one_waives_its_rule(self, folder: LintFolder) -> None:
        """In its file alone."""
        folder.write(2, DROP, BACK, head='WAIVED = {"drop-index": "nobody reads by it"}')
        assert folder.check() == []
        folder.write(3, BACK, DROP)
        folder.write(4, DROP, BACK)
        assert [(finding.migration, finding.rule) for finding in folder.check()] == [("004_step", "drop-index")]

    @pytest.mark.parametrize(
        ("waived", "left", "detail"),
        [
            ('{"drop-index": ""}', {"drop-index"}, "gives no reason"),
            ('{"drop-index": "  "}', {"drop-index"}, "gives no reason"),
            ('{"drop-index": None}', {"drop-index"}, "gives no reason"),
            ('{"drop-table": "it is empty"}', {"drop-index"}, "waives nothing"),
            ('{"drop-indexes": "nobody reads by it"}', {"drop-index"}, "no such rule"),
            ('{"waiver": "never mind", "drop-index": "nobody reads by it"}', set(), "no such rule"),
            ('["drop-index"]', {"drop-index"}, "is a list, not a dict"),
        ],
    )
    def test_one_that_does_not_is_a_finding(self, folder: LintFolder, waived: str, left: set[str], detail: str) -> None:
        """And what it was to waive is still found."""
        folder.write(2, DROP, BACK, head=f"WAIVED = {waived}")
        findings = folder.check()
        assert {finding.rule for finding in findings} == {*left, "waiver"}
        (wrong,) = (finding for finding in findings if finding.rule == "waiver")
        assert detail in wrong.why

    def test_a_waived_change_contradicts_no_reader(self, folder: LintFolder) -> None:
        """The second of two releases: what was dropped is of no use to the release before."""
        head = 'WAIVED = {"drop-table": "no release since 0.0.9 reads or writes it"}'
        folder.write(2, sql("DROP TABLE tags"), TAGS, head=head, reader="0.0.9")
        assert folder.check() == []


def test_every_rule_is_in_the_documentation(request: pytest.FixtureRequest) -> None:
    """CONTRIBUTING lists them all, and no other."""
    text = (request.config.rootpath / "CONTRIBUTING.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(RULES)


class TestCheckout:
    """A new migration in a copy of this checkout."""

    def run(self, checkout: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the copy."""
        command = [sys.executable, "-m", f"aragora_persist.migrations.{module}", *arguments]
        return subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True)

    def test_is_one_file_and_one_make_schema(self, tmp_path: Path) -> None:
        """``--create``, filled in, what ``make schema`` calls, ``--check``: two files differ, and nothing is found."""
        checkout = tmp_path / "checkout"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "aragora_persist", checkout / "aragora_persist", ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", checkout)
        made = self.run(checkout, "runner", "--create", "Add nicknames", "--db", "tokens")
        path = Path(made.stdout.split()[-1])
        assert (made.returncode, path.name) == (0, "002_add_nicknames.py")

        unfilled = self.run(checkout, "runner", "--check", "--db", "tokens")
        assert unfilled.returncode == 1
        text = path.read_text()
        for function, statement in (
            ("upgrade", "ALTER TABLE token_blacklist ADD COLUMN nickname TEXT"),
            ("downgrade", "ALTER TABLE token_blacklist DROP COLUMN nickname"),
        ):
            signature, rest = re.split(rf"(?<=def {function}\(conn: sqlite3.Connection\) -> None:\n)", text)
            docstring, after = rest.split("\n", 1)
            text = f'{signature}{docstring}\n    conn.execute("{statement}")\n{after}'
        path.write_text(text.replace("import sqlite3\n", 'import sqlite3\n\nMIN_READER = "0.1.0"\n', 1))

        assert self.run(checkout, "schema_files", "--check").returncode == 1
        assert self.run(checkout, "schema_files", "--write").returncode == 0
        assert self.run(checkout, "schema_files", "--check").returncode == 0
        checked = self.run(checkout, "runner", "--check", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert len(json.loads(checked.stdout)) == 7
        differing = {
            str(file.relative_to(checkout))
            for file in checkout.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
            if not (original := ROOT / file.relative_to(checkout)).is_file()
            or original.read_bytes() != file.read_bytes()
        }
        tokens = "aragora_persist/migrations/tokens"
        assert differing == {f"{tokens}/002_add_nicknames.py", f"{tokens}/schema.sql"}
        for ruff in (["check"], ["format", "--check"]):
            command = [str(Path(sys.executable).parent / "ruff"), *ruff, "--no-cache", str(path)]
            assert subprocess.run(command, cwd=checkout, check=False, capture_output=True).returncode == 0
