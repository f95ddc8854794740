"""The lint of migrations: each rule finds what it is for, and not what only looks like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.migrations.lint import RULES, check
from tests.unit.lint_folder import NO_CHANGE, LintFolder, rebuild, sql

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = (
    "id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT, age INTEGER NOT NULL DEFAULT 0 CHECK (age >= 0), "
    "boss_id TEXT REFERENCES people(id)"
)
PEOPLE_INDEXES = (
    "CREATE INDEX idx_people_name ON people(name, age)",
    "CREATE INDEX idx_people_boss ON people(boss_id)",
)
NOTES = (
    "id INTEGER PRIMARY KEY AUTOINCREMENT, person_id TEXT NOT NULL REFERENCES people(id) ON DELETE CASCADE, "
    "body TEXT NOT NULL, created_at TEXT NOT NULL"
)
TAGS = "note_id INTEGER NOT NULL REFERENCES notes(id), tag TEXT NOT NULL, PRIMARY KEY (note_id, tag)"
NOTES_INDEX = "CREATE INDEX idx_notes_person ON notes(person_id, created_at)"
HELPERS = (
    "from aragora_persist.storage.schema import safe_add_column\n"
    "from aragora_persist.storage.rebuild import rebuild_table\n"
)
ADD = sql("ALTER TABLE people ADD COLUMN phone TEXT")
TAKE = sql("ALTER TABLE people DROP COLUMN phone")
NOW = "(strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))"


def people(old: str, new: str, *, select: str = "*", into: str = "") -> str:
    """Return a rebuild of the first table by hand, with this change of its definition."""
    assert old in PEOPLE
    return f"{rebuild('people', PEOPLE.replace(old, new), select, into)}\n{sql(*PEOPLE_INDEXES)}"


def back(name: str, columns: str, copied: str) -> str:
    """Return a body in which the helper rebuilds a table without what was added."""
    return f"rebuild_table(conn, '{name}', '''CREATE TABLE {name} ({columns})''', copy='SELECT {copied} FROM {name}')"


def table(columns: str) -> tuple[str, str]:
    """Return bodies that make a table and take it away."""
    return sql(f"CREATE TABLE pets ({columns})"), sql("DROP TABLE pets")


# Rule, subject, upgrade, downgrade (None: not looked at).
FOUND: list[tuple[str, str, str, str | None]] = [
    ("drop-table", "table tags", sql("DROP TABLE tags"), None),
    ("drop-table", "table tags", "for name in ('tags',):\n    conn.execute(f'DROP TABLE {name}')", None),
    (
        "drop-table",
        "table tags",
        sql(f"CREATE TABLE labels ({TAGS})", "INSERT INTO labels SELECT id, 'new' FROM notes", "DROP TABLE tags"),
        None,
    ),
    ("drop-column", "people.name", sql("DROP INDEX idx_people_name", "ALTER TABLE people DROP COLUMN name"), None),
    (
        "drop-column",
        "people.name",
        rebuild("people", PEOPLE.replace("name TEXT, ", ""), "id, email, age, boss_id") + "\n" + sql(PEOPLE_INDEXES[1]),
        None,
    ),
    ("drop-index", "index idx_people_name", sql("DROP INDEX idx_people_name"), None),
    (
        "drop-index",
        "index idx_people_name",
        sql("CREATE INDEX other ON people(name, email)", "DROP INDEX idx_people_name"),
        None,
    ),
    (
        "drop-index",
        "index idx_people_name",
        sql("CREATE INDEX other ON people(name, age) WHERE age > 9", "DROP INDEX idx_people_name"),
        None,
    ),
    ("drop-index", "index idx_people_name", f"{rebuild('people', PEOPLE, '*')}\n{sql(PEOPLE_INDEXES[1])}", None),
    ("drop-unique", "UNIQUE of people", people("NOT NULL UNIQUE", "NOT NULL"), None),
    (
        "drop-unique",
        "primary key of tags",
        rebuild("tags", "note_id INTEGER NOT NULL REFERENCES notes(id), tag TEXT NOT NULL", "*")
        + "\n"
        + sql("CREATE INDEX tags_of_note ON tags(note_id, tag)"),
        None,
    ),
    ("rename-table", "table tags, now labels", sql("ALTER TABLE tags RENAME TO labels"), None),
    (
        "rename-table",
        "table tags, now labels",
        sql("CREATE TABLE labels (note_id INTEGER, tag TEXT, color TEXT)")
        + "\n"
        + sql("INSERT INTO labels (note_id, tag) SELECT note_id, tag FROM tags", "DROP TABLE tags"),
        None,
    ),
    ("rename-column", "people.name, now title", sql("ALTER TABLE people RENAME COLUMN name TO title"), None),
    (
        "rename-column",
        "notes.body, now words",
        rebuild("notes", NOTES.replace("body", "words"), "id, person_id, body, created_at") + "\n" + sql(NOTES_INDEX),
        None,
    ),
    (
        "not-null",
        "people.phone",
        people("name TEXT", "name TEXT, phone TEXT NOT NULL", select="id, email, name, '', age, boss_id"),
        None,
    ),
    (
        "tighter",
        "people.name",
        people("name TEXT", "name TEXT NOT NULL", select="id, email, ifnull(name, ''), age, boss_id"),
        None,
    ),
    ("tighter", "people.age", people("DEFAULT 0 ", ""), None),
    ("tighter", "people.age", people("age INTEGER", "age REAL"), None),
    ("tighter", "people", people("name TEXT", "name TEXT CHECK (length(name) < 99)"), None),
    (
        "tighter",
        "people.name",
        people("name TEXT", "name TEXT REFERENCES people(email)", select="id, email, NULL, age, boss_id"),
        None,
    ),
    (
        "tighter",
        "unique_body of notes",
        sql("CREATE UNIQUE INDEX unique_body ON notes(body)"),
        sql("DROP INDEX unique_body"),
    ),
    (
        "tighter",
        "one of people",
        sql(
            "ALTER TABLE people ADD COLUMN kind TEXT NOT NULL DEFAULT ''",
            "CREATE UNIQUE INDEX one ON people(name, kind)",
        ),
        None,
    ),
    ("tighter", "people", people("age >= 0", "age > 0"), None),
    ("tighter", "people", people("age >= 0", "age >= 0 AND age < 150"), None),
    (
        "tighter",
        "people",
        sql(
            "ALTER TABLE people ADD COLUMN kind TEXT",
            "CREATE TRIGGER kinds BEFORE INSERT ON people WHEN new.kind IS NULL BEGIN SELECT RAISE(ABORT, 'kind'); END",
        ),
        sql("DROP TRIGGER kinds", "ALTER TABLE people DROP COLUMN kind"),
    ),
    (
        "tighter",
        "people",
        people(
            "boss_id TEXT",
            "kind TEXT CHECK (kind IS NOT NULL OR age < 3), boss_id TEXT",
            select="id, email, name, age, 'old', boss_id",
        ),
        None,
    ),
    ("lost-data", "people.boss_id", sql("UPDATE people SET boss_id = NULL WHERE id = 'id 3'"), None),
    ("lost-data", "tags", rebuild("tags", TAGS, "* FROM tags WHERE tag <> 'tag 2' --"), None),
    (
        "lost-data",
        "tags",
        sql("DELETE FROM tags WHERE tag LIKE '%1'"),
        None,
    ),
    (
        "lost-data",
        "people.name",
        people("name TEXT", "name TEXT", select="id, email, age, boss_id", into="(id, email, age, boss_id)"),
        None,
    ),
    (
        "lost-data",
        "people.age",
        people("name TEXT", "name TEXT", select="id, email, name, boss_id", into="(id, email, name, boss_id)"),
        None,
    ),
    ("lost-data", "notes", f"{rebuild('notes', NOTES, '*')}\n{sql(NOTES_INDEX)}", None),
    ("unindexed-key", "pets(person_id) to people", *table("id TEXT PRIMARY KEY, person_id TEXT REFERENCES people(id)")),
    (
        "unindexed-key",
        "pets(person_id) to people",
        table("id TEXT PRIMARY KEY, person_id TEXT REFERENCES people(id), gone_at TEXT")[0]
        + "\n"
        + sql("CREATE INDEX living ON pets(person_id) WHERE gone_at IS NULL"),
        sql("DROP TABLE pets"),
    ),
    (
        "unindexed-key",
        "pets(note_id, tag) to tags",
        table("id TEXT, note_id INTEGER, tag TEXT, FOREIGN KEY (note_id, tag) REFERENCES tags(note_id, tag)")[0]
        + "\n"
        + sql("CREATE INDEX half ON pets(note_id)"),
        sql("DROP TABLE pets"),
    ),
    ("unindexed-key", "notes(person_id) to people", sql("DROP INDEX idx_notes_person"), sql(NOTES_INDEX)),
    (
        "repeat",
        "people",
        sql("INSERT INTO people (id, email) VALUES ('root', 'root@example.org')"),
        sql("DELETE FROM people WHERE id = 'root'"),
    ),
    (
        "repeat",
        "notes",
        sql("INSERT INTO notes (person_id, body, created_at) SELECT id, '', '' FROM people"),
        sql("DELETE FROM notes WHERE body = ''"),
    ),
    ("repeat", "people", sql("UPDATE people SET age = age + 1"), sql("UPDATE people SET age = age - 1")),
    (
        "repeat",
        "people",
        "for key, age in conn.execute('SELECT id, age FROM people').fetchall():\n"
        "    conn.execute('UPDATE people SET age = ? WHERE id = ?', (age * 2, key))\n" + ADD,
        TAKE,
    ),
    (
        "repeat",
        "people",
        "safe_add_column(conn, 'people', 'hits', 'INTEGER', '0')\n" + sql("UPDATE people SET hits = hits + 1"),
        sql("ALTER TABLE people DROP COLUMN hits"),
    ),
    (
        "repeat",
        "people",
        table("id TEXT PRIMARY KEY")[0]
        + "\n"
        + sql("INSERT INTO pets VALUES ('rex')", "UPDATE people SET age = age + 1"),
        sql("UPDATE people SET age = age - 1", "DROP TABLE pets"),
    ),
    ("fails", "upgrade", sql("ALTER TABLE people ADD COLUMN phone TEXT NOT NULL"), TAKE),
    ("fails", "upgrade", sql("SELECT nothing FROM nowhere"), None),
    ("fails", "upgrade", "conn.executescript('CREATE TABLE pets (id TEXT)')", None),
    (
        "no-sample",
        "table pets",
        *table("id TEXT PRIMARY KEY, code TEXT NOT NULL CHECK (length(code) * 7 = 63 AND code <> '')"),
    ),
    ("downgrade", "downgrade", ADD, NO_CHANGE),
    ("downgrade", "downgrade", ADD, None),
    ("downgrade", "downgrade", ADD, sql("ALTER TABLE people DROP COLUMN name")),
    ("downgrade", "downgrade", ADD, sql("DROP INDEX idx_people_name", "ALTER TABLE people DROP COLUMN phone")),
    ("downgrade", "downgrade", ADD, TAKE + "\n" + sql("DELETE FROM tags")),
    ("default", "pets.born_at", *table("id TEXT PRIMARY KEY, born_at TEXT DEFAULT CURRENT_TIMESTAMP")),
    ("default", "pets.born_at", *table("id TEXT PRIMARY KEY, born_at TEXT DEFAULT (datetime('now'))")),
    ("default", "pets.key", *table("id TEXT PRIMARY KEY, key BLOB DEFAULT (randomblob(16))")),
    ("type", "pets.name", *table("id TEXT PRIMARY KEY, name VARCHAR(20)")),
    ("type", "pets.name", *table("id TEXT PRIMARY KEY, name")),
    ("postgresql", "CREATE TABLE pets", *table("id TEXT PRIMARY KEY, name TEXT COLLATE NOCASE")),
    (
        "postgresql",
        "pets(nest_id) to nests",
        table("nest_id TEXT PRIMARY KEY REFERENCES nests(id)")[0],
        sql("DROP TABLE pets"),
    ),
    ("postgresql", "PRAGMA user_version", "conn.execute('PRAGMA user_version')\n" + ADD, TAKE),
    (
        "postgresql",
        'CREATE TABLE "people"',
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE}) STRICT''')",
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE})''')",
    ),
    ("drop-trigger", "view names", sql("DROP VIEW names"), None),
    (
        "drop-trigger",
        "trigger kept",
        rebuild("log", "id INTEGER PRIMARY KEY, person_id TEXT REFERENCES people(id), text TEXT NOT NULL", "*")
        + "\n"
        + sql("CREATE INDEX log_person ON log(person_id)"),
        None,
    ),
    ("empty", "upgrade", NO_CHANGE, NO_CHANGE),
]

# Rule that looks, what it must not take for a fault, upgrade, downgrade.
CLEAN: list[tuple[str, str, str, str]] = [
    ("drop-table", "a new one", *table("id TEXT PRIMARY KEY")),
    (
        "drop-table",
        "a helper's scratch table",
        sql("CREATE TABLE scratch (id TEXT)", "DROP TABLE scratch") + "\n" + ADD,
        TAKE,
    ),
    ("drop-column", "a new one", ADD, TAKE),
    (
        "rename-column",
        "a new one with a default",
        sql("ALTER TABLE people ADD COLUMN title TEXT DEFAULT ''"),
        sql("ALTER TABLE people DROP COLUMN title"),
    ),
    ("rename-table", "a table beside", *table("note_id INTEGER PRIMARY KEY, tag TEXT")),
    (
        "drop-index",
        "another that begins with its columns",
        sql("CREATE INDEX longer ON people(name, age, id)", "DROP INDEX idx_people_name"),
        sql(PEOPLE_INDEXES[0], "DROP INDEX longer"),
    ),
    (
        "drop-index",
        "another of another name",
        sql("CREATE INDEX other ON people(name, age)", "DROP INDEX idx_people_name"),
        sql(PEOPLE_INDEXES[0], "DROP INDEX other"),
    ),
    (
        "drop-unique",
        "an index in the place of the constraint",
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE.replace(' UNIQUE', '')})''')\n"
        + sql("CREATE UNIQUE INDEX email ON people(email)"),
        sql("DROP INDEX email") + f"\nrebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE})''')",
    ),
    ("not-null", "one with a default", sql("ALTER TABLE people ADD COLUMN phone TEXT NOT NULL DEFAULT ''"), TAKE),
    ("not-null", "in a new table", *table("id TEXT PRIMARY KEY, name TEXT NOT NULL")),
    (
        "not-null",
        "one with a default in a rebuild",
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE}, phone TEXT NOT NULL DEFAULT '')''')",
        back("people", PEOPLE, "id, email, name, age, boss_id"),
    ),
    (
        "tighter",
        "unique with a column that older code leaves NULL",
        sql("ALTER TABLE people ADD COLUMN phone TEXT", "CREATE UNIQUE INDEX one ON people(name, phone)"),
        sql("DROP INDEX one") + "\n" + TAKE,
    ),
    (
        "tighter",
        "unique with what is unique",
        sql("CREATE UNIQUE INDEX one ON people(name, email)"),
        sql("DROP INDEX one"),
    ),
    (
        "tighter",
        "a CHECK of the new column",
        sql("ALTER TABLE people ADD COLUMN phone TEXT CHECK (length(phone) < 20)"),
        TAKE,
    ),
    (
        "tighter",
        "a CHECK that allows more",
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE.replace('>= 0', '>= -1.5')})''')",
        f"rebuild_table(conn, 'people', '''CREATE TABLE people ({PEOPLE})''')",
    ),
    (
        "lost-data",
        "a rebuild of all that is there",
        f"rebuild_table(conn, 'notes', '''CREATE TABLE notes ({NOTES}, more TEXT)''')",
        back("notes", NOTES, "id, person_id, body, created_at"),
    ),
    ("lost-data", "values that are mended", sql("UPDATE people SET name = trim(lower(name))"), NO_CHANGE),
    ("lost-data", "rows that were not there before", *table("id TEXT PRIMARY KEY, name TEXT")),
    (
        "unindexed-key",
        "a partial index of what is not NULL",
        table("id TEXT PRIMARY KEY, person_id TEXT REFERENCES people(id)")[0]
        + "\n"
        + sql("CREATE INDEX owned ON pets(person_id) WHERE person_id IS NOT NULL"),
        sql("DROP TABLE pets"),
    ),
    (
        "unindexed-key",
        "an index that begins with all of its columns",
        table("id TEXT, note_id INTEGER, tag TEXT, FOREIGN KEY (note_id, tag) REFERENCES tags(note_id, tag)")[0]
        + "\n"
        + sql("CREATE INDEX whole ON pets(tag, note_id, id)"),
        sql("DROP TABLE pets"),
    ),
    ("unindexed-key", "the primary key", *table("person_id TEXT PRIMARY KEY REFERENCES people(id)")),
    ("unindexed-key", "the rowid", *table("note_id INTEGER PRIMARY KEY REFERENCES notes(id)")),
    (
        "repeat",
        "ON CONFLICT",
        sql("INSERT INTO people (id, email) VALUES ('r', 'r') ON CONFLICT DO NOTHING"),
        NO_CHANGE,
    ),
    ("repeat", "what is done already", sql("UPDATE people SET age = 18 WHERE age < 18"), NO_CHANGE),
    (
        "repeat",
        "rows of a table that it makes",
        table("id TEXT PRIMARY KEY")[0] + "\n" + sql("INSERT INTO pets VALUES ('rex')"),
        sql("DROP TABLE pets"),
    ),
    (
        "repeat",
        "values of a column that it makes",
        sql("ALTER TABLE people ADD COLUMN phone TEXT", "UPDATE people SET phone = hex(randomblob(8))"),
        TAKE,
    ),
    (
        "repeat",
        "an emptied and refilled table",
        sql("DELETE FROM tags", "INSERT INTO tags SELECT id, body FROM notes WHERE id < 3")
        + "\n"
        + sql("INSERT INTO tags SELECT id, body FROM notes WHERE id = 3"),
        NO_CHANGE,
    ),
    ("fails", "a helper that finds it done", "safe_add_column(conn, 'people', 'name', 'TEXT')\n" + ADD, TAKE),
    (
        "no-sample",
        "conditions on several columns",
        *table(
            "id TEXT PRIMARY KEY CHECK (length(id) = 12), state TEXT NOT NULL CHECK (state IN ('open', 'done')), "
            "done_at TEXT, part REAL CHECK (part BETWEEN 0 AND 0.5), CHECK ((state = 'done') = (done_at IS NOT NULL))"
        ),
    ),
    ("no-sample", "one row at most", *table("id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL")),
    (
        "no-sample",
        "tables that refer to each other",
        sql(
            "CREATE TABLE a (id TEXT PRIMARY KEY, b TEXT NOT NULL UNIQUE REFERENCES b(id))",
            "CREATE TABLE b (id TEXT PRIMARY KEY, a TEXT NOT NULL UNIQUE REFERENCES a(id))",
        ),
        sql("DROP TABLE a", "DROP TABLE b"),
    ),
    ("downgrade", "one that has nothing to undo", sql("UPDATE people SET name = lower(name)"), NO_CHANGE),
    ("default", "the one form of time", *table(f"id TEXT PRIMARY KEY, born_at TEXT DEFAULT {NOW}")),
    (
        "default",
        "literals",
        *table("id TEXT PRIMARY KEY, a TEXT DEFAULT 'it''s', b REAL DEFAULT -1.5, c TEXT DEFAULT NULL"),
    ),
    ("type", "the four", *table("a TEXT PRIMARY KEY, b INTEGER, c REAL, d BLOB")),
    (
        "postgresql",
        "helpers that have their own form there",
        "safe_add_column(conn, 'people', 'phone', 'TEXT')",
        TAKE,
    ),
    ("drop-trigger", "none", ADD, TAKE),
    ("file", "the documented form", ADD, TAKE),
    ("min-reader", "said on purpose", ADD, TAKE),
    ("empty", "rows alone", sql("UPDATE people SET name = trim(name)"), NO_CHANGE),
    ("waiver", "none", ADD, TAKE),
]


# Made by the migration before the one in question: a view, and a table whose rows nobody may take away.
GUARDED = sql(
    "CREATE VIEW names AS SELECT name FROM people",
    "CREATE TABLE log (id INTEGER PRIMARY KEY, person_id TEXT REFERENCES people(id), text TEXT NOT NULL)",
    "CREATE INDEX log_person ON log(person_id)",
    "CREATE TRIGGER kept BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'kept'); END",
)
UNGUARDED = sql("DROP TABLE log", "DROP VIEW names")


@pytest.fixture
def folder(tmp_path: Path) -> LintFolder:
    """Return a folder whose first migration is without fault."""
    return LintFolder(tmp_path)


@pytest.mark.parametrize(("rule", "subject", "up", "down"), FOUND)
def test_finds(folder: LintFolder, rule: str, subject: str, up: str, down: str | None) -> None:
    """What the rule is for, with its reason and the way out; where the downgrade is right, nothing else is found."""
    version = 2
    if rule == "drop-trigger":
        folder.write(2, GUARDED, UNGUARDED, head='WAIVED = {"postgresql": "SQLite alone has them"}')
        version = 3
    folder.write(version, up, down, head=HELPERS)
    found = [finding for finding in folder.check() if finding.rule == rule]
    assert [(finding.subject, finding.migration) for finding in found] == [(subject, f"{version:03d}_step")]
    assert RULES[rule].why in found[0].why
    assert found[0].way_out == RULES[rule].way_out


@pytest.mark.parametrize(("rule", "what", "up", "down"), CLEAN)
def test_does_not_find(folder: LintFolder, rule: str, what: str, up: str, down: str) -> None:
    """What only looks like it: neither this rule nor another has anything against it."""
    folder.write(2, up, down, head=HELPERS)
    assert folder.check() == [], f"{rule}: {what}"


def test_does_not_find_triggers_that_come_back(folder: LintFolder) -> None:
    """A rebuild by the helper makes them again; the samples come and go where a trigger forbids it."""
    waived = 'WAIVED = {"postgresql": "SQLite alone has them"}'
    folder.write(2, GUARDED, UNGUARDED, head=waived)
    log = "CREATE TABLE log (id INTEGER PRIMARY KEY, person_id TEXT REFERENCES people(id), text TEXT NOT NULL"
    folder.write(
        3,
        f"rebuild_table(conn, 'log', {log + ', more TEXT)'!r})",
        f"rebuild_table(conn, 'log', {log + ')'!r}, copy='SELECT id, person_id, text FROM log')",
        head=HELPERS,
    )
    assert folder.check() == []


def test_every_rule_is_tried() -> None:
    """Both ways; three of them in the tests of what a file says of itself."""
    assert {case[0] for case in CLEAN} == RULES.keys()
    assert {case[0] for case in FOUND} | {"file", "min-reader", "waiver"} == RULES.keys()


@pytest.mark.parametrize("database", [database.name for database in DATABASES])
def test_the_migrations_of_this_release_have_nothing_against_them(database: str) -> None:
    """Or say why it is right where it is."""
    assert check(database) == ()
