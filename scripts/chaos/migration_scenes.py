"""What the rigs of the migrations work on: databases with rows in them, and what is pending or to be undone there.

A scene is a folder with one database at a known version, and the one call that changes it. Leaves out: what disturbs
that call (the rigs).
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING, TypeAlias

from aragora_persist.databases import find_database
from aragora_persist.migrations import ledger, runner
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.rehearsal import rehearse
from aragora_persist.migrations.schema import read_schema
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Content: TypeAlias = tuple[object, ...]

NOW = "2026-01-02T03:04:05.678901Z"
MEMORY = Path("/dev/shm")  # noqa: S108 - folders of our own are made in it
"""Where the rigs work if it is there: a killed process loses nothing of a file system in memory, and it is quicker."""

SETS = ("steps", "users", "memory")
"""What scenes there are: of migrations of our own, and of two of the product's databases."""

_ROWS = 60
_COUNTED = 'conn.execute("INSERT INTO runs (version) VALUES (VERSION)")'
_UNCOUNTED = 'conn.execute("DELETE FROM runs WHERE version = VERSION")'

# Each migration's way there and its way back. Every one writes down that it ran: twice would be seen.
_STEPS: tuple[tuple[str, str], ...] = (
    (
        """
        conn.execute("CREATE TABLE runs (version INTEGER NOT NULL)")
        conn.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        conn.execute(
            "CREATE TABLE members (id INTEGER PRIMARY KEY, email TEXT NOT NULL, score INTEGER,"
            " team_id INTEGER NOT NULL REFERENCES teams(id) ON DELETE CASCADE)"
        )
        conn.execute("CREATE INDEX members_by_team ON members (team_id)")
        conn.execute("CREATE TABLE changes (id INTEGER PRIMARY KEY, member_id INTEGER, score INTEGER)")
        conn.execute(
            "CREATE TRIGGER members_changed AFTER UPDATE OF score ON members"
            " BEGIN INSERT INTO changes (member_id, score) VALUES (new.id, new.score); END"
        )
        conn.execute("CREATE VIEW scores AS SELECT team_id, sum(score) AS score FROM members GROUP BY team_id")
        """,
        """
        raise AssertionError("no scene goes back that far")
        """,
    ),
    (
        """
        from aragora_persist.storage.schema import safe_add_column
        assert safe_add_column(conn, "members", "domain", "TEXT")
        last = 0
        while batch := conn.execute(
            "SELECT id, email FROM members WHERE id > ? ORDER BY id LIMIT 25", (last,)
        ).fetchall():
            last = batch[-1][0]
            rows = [(email.partition("@")[2], key) for key, email in batch]
            conn.executemany("UPDATE members SET domain = ? WHERE id = ?", rows)
        conn.execute("CREATE INDEX members_by_domain ON members (domain)")
        """,
        """
        conn.execute("DROP INDEX members_by_domain")
        conn.execute("ALTER TABLE members DROP COLUMN domain")
        """,
    ),
    (
        """
        from aragora_persist.storage.schema import rebuild_table
        rebuild_table(
            conn,
            "teams",
            "CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0)",
            "SELECT id, coalesce(name, 'team ' || id) AS name,"
            " (SELECT count(*) FROM members WHERE team_id = teams.id) AS size FROM teams",
        )
        """,
        """
        from aragora_persist.storage.schema import rebuild_table
        rebuild_table(
            conn,
            "teams",
            "CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
            "SELECT id, name FROM teams",
        )
        """,
    ),
    (
        """
        conn.execute("CREATE TABLE totals (team_id INTEGER PRIMARY KEY REFERENCES teams(id), score INTEGER NOT NULL)")
        conn.execute("INSERT INTO totals SELECT team_id, score FROM scores")
        conn.execute("UPDATE members SET score = score + 1 WHERE id % 2 = 0")
        conn.execute("DELETE FROM changes WHERE id % 3 = 0")
        """,
        """
        conn.execute("UPDATE members SET score = score - 1 WHERE id % 2 = 0")
        conn.execute("DROP TABLE totals")
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A database to begin with, and what is done to it."""

    name: str
    database: str
    template: Path
    """A folder that holds the database as it is before, or nothing."""
    folder: Path
    """The migrations."""
    undo_to: int | None = None
    """None where migrations are applied, else the version to go back to."""
    dry_run: bool = False

    def path(self, place: Path) -> Path:
        """Return where the database is in a copy of the scene."""
        return find_database(self.database).path(place)

    def set_up(self, place: Path) -> None:
        """Make a copy of the scene in the new folder ``place``."""
        shutil.copytree(self.template, place)

    def act(self, place: Path) -> tuple[str, ...]:
        """Do what is to be done, in this process, and return the names of the migrations."""
        path, settings = self.path(place), Settings.from_env({}, nomic_dir=place)
        if self.dry_run:
            done = rehearse(path, self.database, folder=self.folder).migrations
            return tuple(one.migration.name for one in done)
        if self.undo_to is None:
            change = runner.migrate(path, self.database, folder=self.folder, settings=settings)
        else:
            change = runner.rollback(path, self.database, to=self.undo_to, folder=self.folder, settings=settings)
        return tuple(migration.name for migration in change.migrations)


def make_scenes(root: Path, sets: Sequence[str] = SETS) -> list[Scene]:
    """Make scenes below ``root``: real databases and one of our own, from an old version to the newest and back."""
    scenes = []
    if "steps" in sets:
        scenes += _old_and_new(root, "tokens", write_steps(root / "steps"), 1, _fill_steps)
    if "users" in sets:
        scenes += _old_and_new(root, "users", folder_of("users"), 2, _fill_users)
        scenes.append(Scene("users from nothing", "users", nothing(root), folder_of("users")))
    if "memory" in sets:
        scenes += _old_and_new(root, "memory", folder_of("memory"), 1, _fill_memories)
    return scenes


def nothing(root: Path) -> Path:
    """Return the template of a scene that begins without a database."""
    template = root / "nothing"
    template.mkdir()
    return template


def write_steps(folder: Path) -> Path:
    """Write our own migrations: columns, data in batches, a rebuilt table, new tables; each notes that it ran."""
    folder.mkdir()
    for version, bodies in enumerate(_STEPS, start=1):
        up, down = (indent(dedent(body).strip(), "    ") for body in bodies)
        source = f"def upgrade(conn):\n{up}\n    {_COUNTED}\n\n\ndef downgrade(conn):\n{down}\n    {_UNCOUNTED}\n"
        (folder / f"{version:03d}_step.py").write_text(source.replace("VERSION", str(version)))
    return folder


def _old(root: Path, database: str, folder: Path, version: int, fill: Callable[[sqlite3.Connection], None]) -> Scene:
    """Return a scene that begins with a database of this version, with rows in it."""
    template = root / f"{database}-{version}"
    first = first_of(folder, version, root / f"{database}-first")
    old = Scene(f"{database} from {version}", database, template, folder)
    runner.migrate(old.path(template), database, folder=first, settings=Settings.from_env({}, nomic_dir=template))
    with closing(sqlite3.connect(old.path(template), isolation_level=None)) as connection:
        connection.execute("BEGIN")
        fill(connection)
        connection.execute("COMMIT")
    return old


def first_of(folder: Path, version: int, target: Path) -> Path:
    """Copy the migrations up to a version into the new folder ``target``, and return it."""
    target.mkdir()
    for migration in load(folder)[:version]:
        shutil.copy(migration.path, target)
    return target


def _old_and_new(
    root: Path, database: str, folder: Path, version: int, fill: Callable[[sqlite3.Connection], None]
) -> list[Scene]:
    """Return the way from an old version to the newest, and the way back."""
    old = _old(root, database, folder, version, fill)
    template = root / f"{database}-newest"
    old.set_up(template)
    old.act(template)
    shutil.rmtree(Settings.from_env({}, nomic_dir=template).backup_dir)
    return [old, Scene(f"{database} back to {version}", database, template, folder, undo_to=version)]


def _fill_steps(connection: sqlite3.Connection) -> None:
    connection.executemany("INSERT INTO teams VALUES (?, ?)", [(n, f"team {n}" if n % 3 else None) for n in range(9)])
    connection.executemany(
        "INSERT INTO members VALUES (?, ?, ?, ?)", [(n, f"{n}@{n % 5}.example", n * 7, n % 9) for n in range(_ROWS)]
    )
    connection.execute("UPDATE members SET score = score + 2 WHERE id < 20")


def _fill_users(connection: sqlite3.Connection) -> None:
    """Fill the documented tables, as a program of the second version had."""
    for table, rows in {
        "organizations": [{"id": f"org{n}", "name": f"Org {n}", "slug": f"org-{n}"} for n in range(5)],
        "users": [
            {"id": f"user{n}", "email": f"u{n}@example.com", "password_hash": "", "password_salt": "", "name": f"U {n}"}
            for n in range(_ROWS)
        ],
    }.items():
        for row in rows:
            _insert(connection, table, row)


def _fill_memories(connection: sqlite3.Connection) -> None:
    for n in range(_ROWS):
        _insert(connection, "memories", {"id": f"m{n}", "content": f"what {n}"})
        _insert(
            connection,
            "memory_archive",
            {"id": f"a{n}", "tier": "slow", "content": "old", "importance": 0.1, "reason": "r", "archived_at": NOW},
        )


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    """Insert a row; its times are what such a column takes, wherever the table has one."""
    columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    full = dict.fromkeys(columns & {"created_at", "updated_at"}, NOW) | row
    marks = ", ".join("?" * len(full))
    connection.execute(f"INSERT INTO {table} ({', '.join(full)}) VALUES ({marks})", tuple(full.values()))  # noqa: S608 - names of this module


def content_of(path: Path) -> Content:
    """Return schema, rows and ledger of a sound database, but for what differs from run to run: times. None: empty."""
    if not path.exists():
        return ()
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return ("unsound",)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        applied = [(row.version, row.name, row.checksum, row.min_reader) for row in ledger.read(connection)]
        rows = {
            table: sorted(connection.execute(f'SELECT * FROM "{table}"'), key=repr)  # noqa: S608 - names from the schema
            for table in tables
            if table != ledger.TABLE
        }
        return (read_schema(connection), applied, rows) if tables else ()


def version_of(path: Path) -> int:
    """Return how many migrations the ledger of a database knows; 0 for none."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        return len(ledger.read(connection))


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder that goes with the block, in memory where that can be."""
    with tempfile.TemporaryDirectory(prefix="aragora-chaos-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)
