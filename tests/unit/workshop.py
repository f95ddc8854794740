"""A folder of migrations to play with, and a database to apply them to: for the tests of migrations."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.migrations.runner import migrate, rollback
from aragora_persist.migrations.schema import read_schema
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.migrations.runner import Change

PARENTS = """
CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)
CREATE TABLE children (id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL REFERENCES parents(id) ON DELETE CASCADE)
INSERT INTO parents VALUES (1, 'one'), (2, 'two')
INSERT INTO children VALUES (10, 1), (20, 2), (21, 2)
"""


class Workshop:
    """A folder of migrations, and a database to apply them to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "migrations"
        self.folder.mkdir()
        self.path = root / "data" / "aragora_users.db"
        self.settings = Settings.from_env({"NOMIC_DIR": str(root / "data")})

    def write(self, version: int, up: str, down: str | None = None) -> Path:
        """Write a migration whose bodies are Python statements."""
        lines = ["import sqlite3", "def upgrade(conn: sqlite3.Connection) -> None:", *indented(up)]
        if down is not None:
            lines += ["def downgrade(conn: sqlite3.Connection) -> None:", *indented(down)]
        path = self.folder / f"{version:03d}_step.py"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self) -> None:
        """Make the database with the first migration: two parents and their three children."""
        body = "\n".join(f'conn.execute("{line}")' for line in PARENTS.strip().splitlines())
        self.write(1, body, 'conn.execute("DROP TABLE children"); conn.execute("DROP TABLE parents")')
        self.migrate()

    def migrate(self) -> Change:
        """Apply what is pending."""
        return migrate(self.path, "users", folder=self.folder, settings=self.settings)

    def rollback(self, to: int | None = None) -> Change:
        """Undo."""
        return rollback(self.path, "users", to=to, folder=self.folder, settings=self.settings)

    def files(self) -> dict[str, bytes]:
        """Return the bytes of every file beside the database and below."""
        place = self.path.parent
        return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}

    def content(self, path: Path | None = None) -> tuple[list[tuple[str, str]], dict[str, list[tuple[object, ...]]]]:
        """Return the schema and every row of every table; nothing where there is no file."""
        path = path or self.path
        if not path.exists():
            return [], {}
        with closing(sqlite3.connect(path)) as connection:
            schema = read_schema(connection)
            tables = [name for name, sql in schema if sql.startswith("CREATETABLE")]
            return schema, {table: connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}


def indented(body: str) -> list[str]:
    """Return the lines of a function's body."""
    return [f"    {line}" for line in body.splitlines()]
