"""``rebuild_table`` on SQLite: what is kept, what is refused by name, and that it is all or nothing."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import (
    ConflictError,
    InvalidValueError,
    MisuseError,
    NotFoundError,
    PersistError,
    StorageError,
)
from aragora_persist.migrations.progress import step
from aragora_persist.storage.rebuild import _refuse_without_room
from aragora_persist.storage.schema import rebuild_table
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = """
CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT, team_id INTEGER REFERENCES teams(id),
    chief TEXT REFERENCES users(id)
);
CREATE TABLE keys (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE);
CREATE TABLE log (text TEXT);
CREATE INDEX idx_users_name ON users(name);
CREATE INDEX idx_users_lower ON users(lower(name)) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX idx_users_chief ON users(chief, name DESC);
CREATE VIEW named AS SELECT id, name FROM users WHERE name IS NOT NULL;
CREATE TRIGGER users_log AFTER UPDATE OF name ON users BEGIN INSERT INTO log VALUES (new.name); END;
CREATE TRIGGER keys_log AFTER INSERT ON keys BEGIN INSERT INTO log SELECT name FROM users WHERE id = new.user_id; END;
INSERT INTO teams VALUES (3, 'three'), (7, 'seven');
INSERT INTO users (rowid, id, email, name, team_id, chief) VALUES
    (10, 'b', 'b@x', 'Bea', 3, NULL), (20, 'a', 'a@x', 'Abe', NULL, 'b'), (30, 'c', NULL, NULL, 3, 'b');
INSERT INTO keys VALUES (1, 'a'), (2, 'a'), (3, 'b');
DELETE FROM log;
DELETE FROM teams WHERE id = 7;
"""
USERS = """
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT CHECK (name <> ''), team_id INTEGER REFERENCES teams(id),
    chief TEXT REFERENCES users(id) ON DELETE SET NULL, role TEXT NOT NULL DEFAULT 'member'
)
"""


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection in a transaction, as migrations have it, over a schema with one of everything."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def state(conn: sqlite3.Connection) -> tuple[object, ...]:
    """Return the whole schema and every row with its rowid."""
    schema = conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    tables = [name for kind, name, _, _ in schema if kind == "table"]
    return schema, {table: conn.execute(f'SELECT rowid, * FROM "{table}"').fetchall() for table in tables}


def names(conn: sqlite3.Connection, kind: str) -> list[str]:
    """Return the names of all of one kind that definitions have made."""
    query = "SELECT name FROM sqlite_master WHERE type = ? AND sql IS NOT NULL ORDER BY name"
    return [name for (name,) in conn.execute(query, (kind,))]


class TestKept:
    """What a rebuild leaves as it was."""

    def test_rows_and_their_rowids(self, conn: sqlite3.Connection) -> None:
        """Each row with its rowid; what is new has its default."""
        before = conn.execute("SELECT rowid, * FROM users ORDER BY rowid").fetchall()
        assert rebuild_table(conn, "users", USERS) == 3
        after = conn.execute("SELECT rowid, * FROM users ORDER BY rowid").fetchall()
        assert after == [(*row, "member") for row in before]

    def test_what_belongs_to_the_table(self, conn: sqlite3.Connection) -> None:
        """Indexes, triggers and views are there with the same definitions, and work."""
        query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'users' ORDER BY name"
        before = conn.execute(query).fetchall()
        rebuild_table(conn, "users", USERS)
        assert conn.execute(query).fetchall() == before
        assert conn.execute("SELECT id FROM named ORDER BY id").fetchall() == [("a",), ("b",)]
        conn.execute("UPDATE users SET name = 'Ann' WHERE id = 'a'")
        conn.execute("INSERT INTO keys VALUES (9, 'b')")
        assert conn.execute("SELECT text FROM log").fetchall() == [("Ann",), ("Bea",)]

    def test_a_trigger_that_spells_its_table_in_another_case(self, conn: sqlite3.Connection) -> None:
        """SQLite remembers its table as the trigger spells it, and drops it with the table."""
        conn.execute("DROP TRIGGER users_log")
        conn.execute("CREATE TRIGGER Loud AFTER DELETE ON USERS BEGIN INSERT INTO log VALUES (old.id); END")
        rebuild_table(conn, "users", USERS)
        conn.execute("DELETE FROM users WHERE id = 'c'")
        assert conn.execute("SELECT text FROM log").fetchall() == [("c",)]

    def test_names_that_differ_in_case_outside_of_ascii(self, conn: sqlite3.Connection) -> None:
        """They are two names to SQLite, of columns as of tables."""
        conn.execute('CREATE TABLE "Ä" ("Ü", "ü")')
        conn.execute('CREATE TABLE "ä" (id)')
        conn.execute("INSERT INTO Ä VALUES (1, 2)")
        with pytest.raises(InvalidValueError, match="not the definition of this table"):
            rebuild_table(conn, "ä", 'CREATE TABLE "Ä" ("Ü", "ü")')
        with pytest.raises(ConflictError, match="would lose ü"):
            rebuild_table(conn, "Ä", "CREATE TABLE Ä (Ü)")
        rebuild_table(conn, "Ä", "CREATE TABLE Ä (Ü, ü, new)")
        assert conn.execute("SELECT * FROM Ä").fetchall() == [(1, 2, None)]

    def test_references(self, conn: sqlite3.Connection) -> None:
        """Rows of other tables stay, and their foreign keys, those to itself too, refer to the new table."""
        rebuild_table(conn, "users", USERS)
        assert conn.execute("SELECT count(*) FROM keys").fetchone() == (3,)
        assert [row[2] for row in conn.execute("PRAGMA foreign_key_list(keys)")] == ["users"]
        assert {row[2] for row in conn.execute("PRAGMA foreign_key_list(users)")} == {"users", "teams"}
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
        conn.execute("COMMIT")
        conn.execute("PRAGMA foreign_keys=ON")
        conn.execute("DELETE FROM users WHERE id = 'a'")
        assert conn.execute("SELECT id FROM keys").fetchall() == [(3,)]

    def test_the_count_of_autoincrement(self, conn: sqlite3.Connection) -> None:
        """An id that was given once is not given again, not even when no row is left."""
        conn.execute("DELETE FROM teams")
        rebuild_table(conn, "teams", "CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)")
        conn.execute("INSERT INTO teams (name) VALUES ('next')")
        assert conn.execute("SELECT id FROM teams").fetchall() == [(8,)]
        assert conn.execute("SELECT name, seq FROM sqlite_sequence").fetchall() == [("teams", 8)]

    @pytest.mark.parametrize("legacy", [0, 1])
    def test_the_settings_of_the_connection(self, conn: sqlite3.Connection, legacy: int) -> None:
        """It switches for itself, and back, when it has failed too; it leaves nothing of its own."""
        conn.execute(f"PRAGMA legacy_alter_table={legacy}")
        tables = names(conn, "table")
        rebuild_table(conn, "USERS", USERS)
        with pytest.raises(ConflictError):
            rebuild_table(conn, "users", "CREATE TABLE users (id TEXT)")
        assert conn.execute("PRAGMA legacy_alter_table").fetchone() == (legacy,)
        assert (names(conn, "table"), conn.in_transaction) == (tables, True)

    @pytest.mark.parametrize(
        "definition",
        [
            "(id TEXT PRIMARY KEY, email TEXT, name TEXT, team_id INTEGER, chief TEXT) WITHOUT ROWID",
            "(id TEXT PRIMARY KEY, email TEXT, name TEXT, team_id INTEGER, chief TEXT) STRICT",
            "(id TEXT PRIMARY KEY, email TEXT, name TEXT, team_id INTEGER, chief TEXT, big TEXT AS (upper(name)))",
            "(number INTEGER PRIMARY KEY, id TEXT UNIQUE, email TEXT, name TEXT, team_id INTEGER, chief TEXT)",
        ],
    )
    def test_every_kind_of_table(self, conn: sqlite3.Connection, definition: str) -> None:
        """There and back again, nothing of the rows is lost."""
        rows = conn.execute("SELECT id, email, name, team_id, chief FROM users ORDER BY id").fetchall()
        extra = ", number" if "number" in definition else ""
        rebuild_table(conn, "users", f"CREATE TABLE users {definition}")
        assert conn.execute("SELECT id, email, name, team_id, chief FROM users ORDER BY id").fetchall() == rows
        if extra:
            assert conn.execute("SELECT number, id FROM users ORDER BY number").fetchall() == [
                (10, "b"),
                (20, "a"),
                (30, "c"),
            ]
        rebuild_table(conn, "users", USERS, "SELECT id, email, name, team_id, chief FROM users")
        assert conn.execute("SELECT id, email, name, team_id, chief FROM users ORDER BY id").fetchall() == rows

    def test_generated_columns(self, conn: sqlite3.Connection) -> None:
        """What the new table generates is not copied; what the old one generated can be."""
        conn.execute("CREATE TABLE sums (a INTEGER, b INTEGER AS (a * 2))")
        conn.execute("INSERT INTO sums VALUES (4)")
        rebuild_table(conn, "sums", "CREATE TABLE sums (a INTEGER NOT NULL, b INTEGER AS (a * 3) STORED)")
        assert conn.execute("SELECT * FROM sums").fetchall() == [(4, 12)]
        rebuild_table(conn, "sums", "CREATE TABLE sums (a INTEGER, b INTEGER)")
        conn.execute("UPDATE sums SET a = 1")
        assert conn.execute("SELECT * FROM sums").fetchall() == [(1, 12)]

    def test_odd_names(self, conn: sqlite3.Connection) -> None:
        """Names are quoted, and a column may hide the rowid."""
        conn.execute('CREATE TABLE "odd ""name" ("the ""id" TEXT, rowid TEXT)')
        conn.execute("""INSERT INTO "odd ""name" (_rowid_, "the ""id", rowid) VALUES (9, 'x', 'y')""")
        new = 'CREATE TABLE "odd ""name" ("the ""id" TEXT NOT NULL, rowid TEXT)'
        assert rebuild_table(conn, 'odd "name', new) == 1
        assert conn.execute('SELECT _rowid_, * FROM "odd ""name"').fetchall() == [(9, "x", "y")]


class TestCopy:
    """A SELECT that says what is copied."""

    def test_fills_by_name(self, conn: sqlite3.Connection) -> None:
        """In whatever order; ids, computed values and other tables may be asked for."""
        columns = "team TEXT NOT NULL, number INTEGER PRIMARY KEY, id TEXT, email TEXT, name TEXT, chief TEXT"
        copy = """
            SELECT u.rowid AS number, upper(u.name) AS name, email, u.id, chief, coalesce(t.name, '') AS team -- by name
            FROM users AS u LEFT JOIN teams AS t ON t.id = team_id;
        """
        assert rebuild_table(conn, "users", f"CREATE TABLE users ({columns})", copy) == 3
        assert conn.execute("SELECT * FROM users").fetchall() == [
            ("three", 10, "b", "b@x", "BEA", None),
            ("", 20, "a", "a@x", "ABE", "b"),
            ("three", 30, "c", None, None, "b"),
        ]

    def test_leaves_out_rows_with_a_where(self, conn: sqlite3.Connection) -> None:
        """One that is said."""
        copy = "SELECT id, email, name, team_id, chief FROM users WHERE email IS NOT NULL"
        assert rebuild_table(conn, "users", USERS, copy) == 2

    @pytest.mark.parametrize(
        "copy",
        [
            "SELECT u.* FROM users AS u JOIN users AS c ON c.id = u.chief",
            "SELECT * FROM (SELECT * FROM users WHERE email IS NOT NULL)",
            "SELECT *  FROM users LIMIT 2 -- WHERE",
            "SELECT * FROM users AS [where] LIMIT 2",
            "SELECT * FROM users AS `where` LIMIT 2",
            "SELECT id, email, name || ' WHERE ' AS name, team_id, chief FROM users GROUP BY team_id",
            "SELECT u.id || k.id AS id, NULL AS email, name, team_id, NULL AS chief FROM users AS u, keys AS k WHERE 1",
        ],
    )
    def test_other_losses_are_refused(self, conn: sqlite3.Connection, copy: str) -> None:
        """Rows that a join, a limit or a grouping leaves out, or makes more of, were not meant to be."""
        before = state(conn)
        with pytest.raises(ConflictError, match="has 3 rows"):
            rebuild_table(conn, "users", USERS, copy)
        assert state(conn) == before

    def test_conflict_clauses_lose_nothing(self, conn: sqlite3.Connection) -> None:
        """A definition that would ignore or replace rows does so from now on, not with those that are there."""
        before = state(conn)
        for clause in ("IGNORE", "REPLACE"):
            chief = f"chief TEXT UNIQUE ON CONFLICT {clause}"
            new = f"CREATE TABLE users (id TEXT, email TEXT, name TEXT, team_id INTEGER, {chief})"
            with pytest.raises(ConflictError, match="UNIQUE constraint failed"):
                rebuild_table(conn, "users", new)
        assert state(conn) == before


class TestRefused:
    """What would be lost or broken is named, and nothing is changed."""

    @pytest.mark.parametrize(
        ("new", "copy", "error", "named"),
        [
            (
                "CREATE TABLE users (id TEXT, email TEXT, name TEXT, chief TEXT)",
                None,
                ConflictError,
                "would lose team_id",
            ),
            (f"{USERS.rstrip()[:-1]}, age INTEGER NOT NULL)", None, ConflictError, "without a value for age"),
            (USERS, "SELECT id, email, name, chief FROM users", ConflictError, "would lose the values of team_id"),
            (USERS, "SELECT *, 1 AS age FROM users", InvalidValueError, "takes no values for: age"),
            (USERS, "DELETE FROM users", PersistError, "syntax error"),
            (USERS, "SELECT nobody FROM users", PersistError, "no such column: nobody"),
            (USERS.replace("users", "user", 1), None, InvalidValueError, "not the definition of this table"),
            ("CREATE TABLE users AS SELECT 1 AS id", None, InvalidValueError, "not the definition"),
            ("DROP TABLE users", None, InvalidValueError, "not the definition"),
            (f"{USERS}; DROP TABLE keys", None, PersistError, "one statement at a time"),
            (USERS.replace("<> ''", "<> 'Abe'"), None, ConflictError, "CHECK constraint failed"),
            (USERS.replace("TEXT CHECK", "TEXT NOT NULL CHECK"), None, ConflictError, "NOT NULL constraint failed"),
            (
                "CREATE TABLE users (id TEXT, email TEXT, team_id INTEGER, chief TEXT)",
                "SELECT id, email, team_id, chief FROM users",
                ConflictError,
                "DROP INDEX idx_users_name",
            ),
            (
                "CREATE TABLE users (id TEXT, name TEXT, team_id INTEGER, chief TEXT)",
                "SELECT id, name, team_id, chief FROM users",
                ConflictError,
                "DROP INDEX idx_users_lower",
            ),
        ],
    )
    def test_by_name(
        self, conn: sqlite3.Connection, new: str, copy: str | None, error: type[PersistError], named: str
    ) -> None:
        """The schema and every row are as before, and the transaction is still open."""
        before = state(conn)
        with pytest.raises(error) as refused:
            rebuild_table(conn, "users", new, copy)
        assert named in str(refused.value)
        assert (state(conn), conn.in_transaction) == (before, True)

    def test_a_view_or_trigger_that_would_break(self, conn: sqlite3.Connection) -> None:
        """Views and triggers, those of other tables too, must find all that they name; dropped before, all is well."""
        conn.execute("PRAGMA legacy_alter_table=ON")  # with which SQLite itself would not look
        conn.execute("DROP INDEX idx_users_name")
        conn.execute("DROP INDEX idx_users_lower")
        conn.execute("DROP INDEX idx_users_chief")
        new = "CREATE TABLE users (id TEXT, email TEXT, team_id INTEGER, chief TEXT)"
        copy = "SELECT id, email, team_id, chief FROM users"
        for kind, name in (("trigger", "users_log"), ("view", "named"), ("trigger", "keys_log")):
            before = state(conn)
            with pytest.raises(ConflictError, match=f"{kind} {name}"):
                rebuild_table(conn, "users", new, copy)
            assert state(conn) == before
            conn.execute(f"DROP {kind} {name}")
        assert rebuild_table(conn, "users", new, copy) == 3

    def test_an_index_on_a_quoted_column(self, conn: sqlite3.Connection) -> None:
        """SQLite would take the name of a column that is gone for a text, and index that."""
        conn.execute('CREATE INDEX idx_quoted ON log("text")')
        with pytest.raises(ConflictError, match="idx_quoted: is on text, which would be gone"):
            rebuild_table(conn, "log", "CREATE TABLE log (line TEXT)", "SELECT text AS line FROM log")
        assert "idx_quoted" in names(conn, "index")

    @pytest.mark.parametrize(
        "definition",
        [
            'view reader AS SELECT "text" FROM log',
            'index reader ON log(lower("text"))',
            """index reader ON log(id) WHERE "text" <> ''""",
            'trigger reader AFTER INSERT ON users BEGIN DELETE FROM log WHERE "text" = new.id; END',
        ],
    )
    def test_a_name_in_quotes_that_would_become_a_text(self, conn: sqlite3.Connection, definition: str) -> None:
        """SQLite takes a name in double quotes that is no column for a text, without a word."""
        conn.execute("ALTER TABLE log ADD COLUMN id")
        conn.execute(f"CREATE {definition}")
        before = state(conn)
        with pytest.raises(ConflictError, match="reader: has a name in double quotes"):
            rebuild_table(conn, "log", "CREATE TABLE log (id, line)", "SELECT id, text AS line FROM log")
        assert state(conn) == before
        assert rebuild_table(conn, "log", "CREATE TABLE log (text, id, line)") == 0

    @pytest.mark.parametrize(
        "temporary",
        [
            "TABLE log (text)",
            "TABLE aragora_rebuild_log (text)",
            "TRIGGER mine AFTER INSERT ON main.LOG BEGIN SELECT 1; END",
        ],
    )
    def test_what_is_temporary_and_in_the_way(self, conn: sqlite3.Connection, temporary: str) -> None:
        """SQLite finds temporary tables first, and drops temporary triggers with their table."""
        conn.execute(f"CREATE TEMP {temporary}")
        before = state(conn)
        with pytest.raises(ConflictError, match=f"temporary {temporary.split(maxsplit=1)[0].lower()}"):
            rebuild_table(conn, "log", "CREATE TABLE log (text, more)")
        assert state(conn) == before

    def test_a_trigger_on_updates_of_a_column_that_would_be_gone(self, conn: sqlite3.Connection) -> None:
        """SQLite would let it stay, and it would never run again."""
        conn.execute('CREATE TRIGGER watcher AFTER UPDATE OF id, "Text" ON log BEGIN SELECT 1; END')
        with pytest.raises(ConflictError, match="trigger watcher: is on text, which would be gone"):
            rebuild_table(conn, "log", "CREATE TABLE log (line)", "SELECT text AS line FROM log")
        assert rebuild_table(conn, "log", "CREATE TABLE log (id, text)") == 0

    def test_a_schema_that_is_broken_already(self, conn: sqlite3.Connection) -> None:
        """It cannot be told then what the rebuild would break."""
        conn.execute("CREATE VIEW broken AS SELECT * FROM nobody")
        with pytest.raises(ConflictError, match=r"broken already: .*view broken"):
            rebuild_table(conn, "users", USERS)
        assert "broken" in names(conn, "view")

    @pytest.mark.parametrize("table", ["nothing", "named", "words"])
    def test_what_is_no_table(self, conn: sqlite3.Connection, table: str) -> None:
        """Views and virtual tables are made anew in another way."""
        conn.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        with pytest.raises(NotFoundError):
            rebuild_table(conn, table, f"CREATE TABLE {table} (id)")
        assert "words" in names(conn, "table")

    def test_foreign_keys_that_are_on(self, conn: sqlite3.Connection) -> None:
        """Dropping the table would delete what refers to it, and they cannot be switched off any more."""
        conn.execute("COMMIT")
        conn.execute("PRAGMA foreign_keys=ON")
        before = state(conn)
        with pytest.raises(MisuseError, match="no transaction"):
            rebuild_table(conn, "users", USERS)
        conn.execute("BEGIN")
        with pytest.raises(MisuseError, match="foreign keys are on"):
            rebuild_table(conn, "users", USERS)
        assert state(conn) == before


def test_room_is_asked_for_before(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """Some three times what table and indexes take; where there is that much for the whole file, it is not counted."""
    conn.execute("INSERT INTO log VALUES (zeroblob(1000000))")
    (used,) = conn.execute("SELECT sum(pgsize) FROM dbstat").fetchone()
    (needed,) = conn.execute(
        "SELECT CAST(3.1 * sum(pgsize) AS INTEGER) FROM dbstat WHERE name LIKE '%users%'"
    ).fetchone()
    with pytest.raises(StorageError, match=f"may take .* in {tmp_path}, which has .* free"):
        _refuse_without_room(conn, "users", tmp_path, needed - 1)
    for enough in (needed, 4 * used):
        _refuse_without_room(conn, "users", tmp_path, enough)
    assert 0 < needed < used


def test_progress_is_reported(conn: sqlite3.Connection) -> None:
    """How many of the rows, never more than there are, and which index."""
    conn.execute(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
        "INSERT INTO teams (name) SELECT 'team ' || i FROM n"
    )
    conn.execute("CREATE INDEX idx_teams_name ON teams(name)")
    heard: list[str] = []
    with step(heard.append, "002_teams"):
        new = "CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)"
        assert rebuild_table(conn, "teams", new, "SELECT id, name FROM teams ORDER BY name DESC") == 60_001
    counts = [text.split()[2] for text in heard if text.endswith(" of 60,001 rows")]
    read = [int(text.replace(",", "")) for text in counts]
    assert read == sorted(read)
    assert read[-1] > 0
    assert heard[-1] == "002_teams: teams: index idx_teams_name"


def test_nothing_more_runs_when_the_transaction_has_ended(conn: sqlite3.Connection) -> None:
    """As a full disk can end it: what follows would be a transaction of its own, and its error would hide the first."""
    before = state(conn)

    def end(_: str) -> None:
        conn.rollback()
        conn.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), step(lambda text: end(text) if "index" in text else None, "002"):
        rebuild_table(conn, "users", USERS)
    conn.set_authorizer(None)
    assert state(conn) == before
    assert not conn.in_transaction


def test_in_a_migration(tmp_path: Path) -> None:
    """Forwards and back; the rows of other tables, which a cascade would delete, are there."""
    workshop = Workshop(tmp_path)
    workshop.start()
    before = workshop.content()
    header = "from aragora_persist.storage.schema import rebuild_table\n"
    old = "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)"
    new = "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"
    workshop.write(
        2,
        f"{header}assert rebuild_table(conn, 'parents', {new!r}) == 2",
        f"{header}assert rebuild_table(conn, 'parents', {old!r}) == 2",
    )
    workshop.migrate()
    assert "NOTNULL" in str(workshop.content()[0])
    workshop.rollback()
    assert workshop.content() == before


KILLED = """
import os, signal, sqlite3, sys
from aragora_persist.migrations.progress import step
from aragora_persist.storage.schema import rebuild_table

def die(text):
    if sys.argv[2] in text:
        os.kill(os.getpid(), signal.SIGKILL)

conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
with step(die, "002"):
    rebuild_table(conn, "log", "CREATE TABLE log (text TEXT NOT NULL)")
"""


@pytest.mark.parametrize("moment", ["rows", "index idx_log_second"])
def test_a_killed_process_leaves_nothing(tmp_path: Path, moment: str) -> None:
    """In the middle of the copy, and when the old table is gone: the next one finds all as it was."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript("CREATE TABLE log (text TEXT); CREATE INDEX idx_log_first ON log(text);")
        connection.execute("CREATE INDEX idx_log_second ON log(text DESC)")
        connection.executemany("INSERT INTO log VALUES (?)", ((f"line {n}",) for n in range(60_000)))
        connection.commit()
        before = state(connection)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert state(connection) == before


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
)
KINDS = ("", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "TEXT COLLATE NOCASE")


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=4),
    form=st.sampled_from(["", "k INTEGER PRIMARY KEY, ", "k TEXT PRIMARY KEY, ", "k BLOB PRIMARY KEY, "]),
    rows=st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.lists(VALUES, min_size=4, max_size=4), max_size=8),
    data=st.data(),
)
def test_whatever_the_rows_are_they_stay(
    kinds: list[str], form: str, rows: dict[int, list[object]], data: st.DataObject
) -> None:
    """Every value with its type, under its rowid, whatever the order of the columns becomes."""
    columns = [f'"c {n}" {kind}' for n, kind in enumerate(kinds)]
    shuffled = data.draw(st.permutations(columns))
    names = ", ".join(f'"c {n}"' for n in range(len(kinds)))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"CREATE TABLE t ({form}{', '.join(columns)})")
        for rowid, values in rows.items():
            marks = ", ".join("?" * len(kinds))
            connection.execute(f"INSERT INTO t (rowid, {names}) VALUES (?, {marks})", (rowid, *values[: len(kinds)]))
        connection.execute("BEGIN")
        question = f"SELECT rowid, {names}, {', '.join(f'typeof({name})' for name in names.split(', '))} FROM t"
        before = sorted(connection.execute(question).fetchall(), key=repr)
        assert rebuild_table(connection, "t", f"CREATE TABLE t ({form}{', '.join(shuffled)})") == len(rows)
        assert sorted(connection.execute(question).fetchall(), key=repr) == before
