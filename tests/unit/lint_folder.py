"""A folder of two migrations for the tests of the lint: a first one without fault, and the one in question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.lint import Finding, check
from aragora_persist.version import VERSION
from tests.unit.workshop import indented

if TYPE_CHECKING:
    from pathlib import Path

FIRST = """
CREATE TABLE people (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT,
    age INTEGER NOT NULL DEFAULT 0 CHECK (age >= 0),
    boss_id TEXT REFERENCES people(id)
)
CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL
)
CREATE TABLE tags (note_id INTEGER NOT NULL REFERENCES notes(id), tag TEXT NOT NULL, PRIMARY KEY (note_id, tag))
CREATE INDEX idx_people_name ON people(name, age)
CREATE INDEX idx_people_boss ON people(boss_id)
CREATE INDEX idx_notes_person ON notes(person_id, created_at)
"""
NO_CHANGE = "pass"


class LintFolder:
    """The migrations of a database that is nobody's."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "migrations"
        self.folder.mkdir()
        statements = [f"CREATE {statement}" for statement in FIRST.split("CREATE ") if statement.strip()]
        up = "\n".join(f"conn.execute({' '.join(statement.split())!r})" for statement in statements)
        self.write(1, up, "for table in ('tags', 'notes', 'people'):\n    conn.execute(f'DROP TABLE {table}')")

    def write(self, version: int, up: str, down: str | None, *, head: str = "", reader: str | None = VERSION) -> Path:
        """Write a migration whose bodies are Python statements, and which has nothing else against it."""
        constants = [] if reader is None else [f'MIN_READER = "{reader}"']
        lines = [f'"""\nMigration {version:03d}: Step\n\nCreated: 2026-11-23T12:00:00\n"""', *constants, head]
        lines += ["def upgrade(conn):", *indented(up)]
        if down is not None:
            lines += ["def downgrade(conn):", *indented(down)]
        path = self.folder / f"{version:03d}_step.py"
        path.write_text("\n".join(lines) + "\n")
        return path

    def check(self) -> list[Finding]:
        """Return what the lint has against the second migration; it must have nothing against the first."""
        findings = check("users", self.folder)
        assert [finding for finding in findings if finding.migration == "001_step"] == []
        return list(findings)


def sql(*statements: str) -> str:
    """Return a body that executes these statements."""
    return "\n".join(f"conn.execute({statement!r})" for statement in statements)


def rebuild(table: str, columns: str, select: str, into: str = "") -> str:
    """Return a body that rebuilds a table by hand, statement by statement."""
    return sql(
        f"CREATE TABLE new_{table} ({columns})",
        f"INSERT INTO new_{table} {into} SELECT {select} FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE new_{table} RENAME TO {table}",
    )
