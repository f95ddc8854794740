"""What a migration's body may not do: each refusal leaves the database as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import MigrationError
from aragora_persist.migrations.losses import _loses_references
from aragora_persist.migrations.runner import status
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path

ROLLED_BACK = "after SQLite rolled its transaction back"
CLASH = 'conn.execute("INSERT OR ROLLBACK INTO parents VALUES (1, NULL)")'


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 1."""
    workshop = Workshop(tmp_path)
    workshop.start()
    return workshop


def refused(workshop: Workshop, body: str) -> MigrationError:
    """Have a body refused, see that nothing changed, and return the error."""
    before = workshop.content()
    workshop.write(2, body)
    with pytest.raises(MigrationError) as refusal:
        workshop.migrate()
    assert refusal.value.target == "002_step"
    assert workshop.content() == before
    return refusal.value


@pytest.mark.parametrize(
    "body",
    [
        "conn.executescript('CREATE TABLE more (a); CREATE TABLE most (a);')",
        "conn.execute('CREATE TABLE more (a)'); conn.commit()",
        "conn.execute('CREATE TABLE more (a)'); conn.rollback()",
        "with conn:\n    conn.execute('CREATE TABLE more (a)')",
        "conn.execute('CREATE TABLE more (a)'); conn.execute('ROLLBACK')",
        "conn.execute('END')",
        "conn.execute('BEGIN')",
        "conn.execute('CREATE TABLE more (a)'); conn.isolation_level = None",
        "try:\n    conn.commit()\nexcept sqlite3.Error:\n    conn.execute('CREATE TABLE more (a)')",
    ],
)
def test_a_body_cannot_end_the_transaction(workshop: Workshop, body: str) -> None:
    """Each way to commit or roll back is refused by name, even where the body swallows the refusal."""
    refusal = refused(workshop, body)
    assert refusal.problem.startswith("begins or ends a transaction")
    assert refusal.hint.startswith("use conn.execute, statement by statement")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("conn.execute(\"ATTACH ':memory:' AS other\")", "attaches another database"),
        ("conn.execute('DETACH main')", "detaches a database"),
        ("conn.execute('PRAGMA writable_schema=ON')", "sets PRAGMA writable_schema"),
        ("conn.execute('PRAGMA foreign_keys=ON')", "sets PRAGMA foreign_keys"),
        ("conn.execute('PRAGMA main.journal_mode=DELETE')", "sets PRAGMA journal_mode"),
        ("conn.execute('PRAGMA Synchronous(0)')", "sets PRAGMA Synchronous"),
        ("conn.execute('DELETE FROM schema_version')", "writes schema_version, the ledger"),
        ("conn.execute('DROP TABLE schema_version')", "writes schema_version, the ledger"),
        ("conn.execute('ALTER TABLE schema_version ADD COLUMN more')", "alters schema_version, the ledger"),
        ("conn.set_authorizer(None)", "replaces the authorizer"),
        ("conn.close()", "closes the connection"),
        ("conn.execute('CREATE TEMP TABLE users (a)')", "leaves the temporary table users behind"),
        ("import sys; sys.exit(0)", "calls sys.exit"),
        ("global left; left = conn.execute('SELECT * FROM children'); left.fetchone()", "leaves a cursor open"),
        ("return (conn.execute(sql) for sql in ['DROP TABLE children'])", "returns a generator or a coroutine"),
        (
            "async def later(): conn.execute('DROP TABLE children')\nreturn later()",
            "returns a generator or a coroutine",
        ),
        ("raise ValueError('half')", "ValueError: half"),
        ("conn.execute('SELECT * FROM nowhere')", "OperationalError: no such table: nowhere"),
    ],
)
def test_what_would_defeat_the_protection_is_refused(workshop: Workshop, body: str, problem: str) -> None:
    """By the name of what the body did."""
    assert refused(workshop, f"conn.execute('CREATE TABLE more (a)')\n{body}").problem.startswith(problem)


@pytest.mark.parametrize(
    "goes_on",
    [
        "conn.execute(\"UPDATE parents SET name = 'late'\")",
        "conn.execute('CREATE TABLE late (a)')",
        "conn.execute('DELETE FROM children')",
        'try:\n    conn.execute("DELETE FROM children")\nexcept sqlite3.Error:\n    pass',
        "pass",
    ],
)
def test_a_body_cannot_go_on_after_a_rollback(workshop: Workshop, goes_on: str) -> None:
    """A full disk makes SQLite roll back, as OR ROLLBACK does: what came after would be committed by itself."""
    prepared = "conn.execute('DELETE FROM children')\nconn.execute(\"UPDATE parents SET name = 'late'\")"
    body = f"{prepared}\ntry:\n    {CLASH}\nexcept sqlite3.IntegrityError:\n    pass\n{goes_on}"
    refusal = refused(workshop, body)
    assert ROLLED_BACK in refusal.problem
    assert refusal.hint.startswith("let the error out")


def test_what_a_migration_needs_is_allowed(workshop: Workshop) -> None:
    """Savepoints, cursors, looking at the schema, a row factory of its own, which the next migration does not get."""
    workshop.write(
        2,
        "conn.row_factory = sqlite3.Row\nconn.text_factory = bytes\n"
        "conn.isolation_level = 'EXCLUSIVE'\n"
        "conn.execute('SAVEPOINT here'); conn.execute('ROLLBACK TO here'); conn.execute('RELEASE here')\n"
        "assert conn.execute('PRAGMA table_info(parents)').fetchone()['name'] == b'id'\n"
        "conn.execute('PRAGMA user_version=7'); conn.execute('PRAGMA legacy_alter_table=ON')\n"
        "conn.execute('CREATE TEMP TABLE scratch (a)'); conn.execute('DROP TABLE scratch')\n"
        "cycle = [conn.execute('SELECT * FROM children')]; cycle[0].fetchone(); cycle.append(cycle)\n"
        "half_read = conn.cursor(); half_read.execute('SELECT * FROM children'); half_read.fetchone()",
    )
    workshop.write(
        3,
        "assert conn.execute('SELECT name FROM parents').fetchone() == ('one',)\n"
        "assert conn.execute('PRAGMA legacy_alter_table').fetchone() == (0,)\n"
        "assert conn.execute('PRAGMA synchronous').fetchone() == (2,)\n"
        "conn.execute('DROP TABLE children')",
    )
    assert [step.version for step in workshop.migrate().migrations] == [2, 3]
    with closing(sqlite3.connect(workshop.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)


class TestLosses:
    """Rows and references that go without being named."""

    def test_a_rebuild_does_not_empty_other_tables(self, workshop: Workshop) -> None:
        """With foreign keys on, dropping the old table would cascade into its children."""
        workshop.write(
            2,
            'conn.execute("CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")\n'
            'conn.execute("INSERT INTO new SELECT * FROM parents")\n'
            'conn.execute("DROP TABLE parents")\n'
            'conn.execute("ALTER TABLE new RENAME TO parents")',
        )
        workshop.migrate()
        with closing(sqlite3.connect(workshop.path)) as connection:
            assert connection.execute("SELECT * FROM parents").fetchall() == [(1, "one"), (2, "two")]
            assert connection.execute("SELECT count(*) FROM children").fetchone() == (3,)

    def test_a_new_database_is_looked_at_as_well(self, tmp_path: Path) -> None:
        """It is made in one transaction, before which there was nothing to compare with; references are checked."""
        workshop = Workshop(tmp_path)
        workshop.write(1, 'conn.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, a REFERENCES a(id))")')
        workshop.write(2, 'conn.execute("CREATE TABLE b (c)")\nconn.execute("INSERT INTO b VALUES (1)")')
        last = workshop.write(3, 'conn.execute("DELETE FROM b")\nconn.execute("INSERT INTO a VALUES (1, 2)")')
        with pytest.raises(MigrationError, match="a row of a refers to no row of a"):
            workshop.migrate()
        assert workshop.content() == ([], {})
        last.write_text(last.read_text().replace("(1, 2)", "(1, 1)"))
        assert [step.version for step in workshop.migrate().migrations] == [1, 2, 3]

    def test_a_trigger_may_not_empty_a_table_that_is_not_named(self, workshop: Workshop) -> None:
        """It may add rows, as an audit log's does; what it takes away, the migration must say itself."""
        workshop.write(
            2,
            'conn.execute("CREATE TABLE log (a)")\n'
            'conn.execute("CREATE TRIGGER logged AFTER UPDATE ON parents BEGIN INSERT INTO log VALUES (1); END")\n'
            'conn.execute("CREATE TRIGGER gone AFTER UPDATE OF id ON parents BEGIN DELETE FROM log; END")',
        )
        workshop.write(3, "conn.execute(\"UPDATE parents SET name = 'x'\")")
        assert len(workshop.migrate().migrations) == 2
        before = workshop.content()
        workshop.write(4, 'conn.execute("UPDATE parents SET id = id")')
        with pytest.raises(MigrationError, match="table log, which it does not name, had 2 rows and has 1"):
            workshop.migrate()
        assert workshop.content() == before

    def test_a_dangling_reference_is_refused(self, workshop: Workshop) -> None:
        """References are checked before the commit, since they were off in the body."""
        refusal = refused(workshop, 'conn.execute("DELETE FROM parents WHERE id = 2")')
        assert refusal.problem == "2 rows of children refer to no row of parents"

    def test_a_new_column_may_not_dangle(self, workshop: Workshop) -> None:
        """With foreign keys off, SQLite lets a default refer to nothing."""
        refusal = refused(
            workshop, 'conn.execute("ALTER TABLE parents ADD COLUMN twin INTEGER DEFAULT 9 REFERENCES parents(id)")'
        )
        assert refusal.problem == "2 rows of parents refer to no row of parents"

    def test_what_dangled_before_may_stay(self, workshop: Workshop) -> None:
        """It is no fault of the migration; more of it is, and then both are counted."""
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            connection.execute("INSERT INTO children VALUES (30, 9)")
        workshop.write(2, 'conn.execute("UPDATE children SET id = id + 100")')
        assert len(workshop.migrate().migrations) == 1
        workshop.write(3, 'conn.execute("DELETE FROM parents WHERE id = 1")')
        with pytest.raises(MigrationError, match=r"2 rows of children refer to no row of parents \(1 did before it\)"):
            workshop.migrate()
        assert status(workshop.path, "users", folder=workshop.folder).version == 2

    def test_a_reference_must_lead_to_a_key(self, workshop: Workshop) -> None:
        """SQLite takes such a table and then refuses every write to it."""
        refusal = refused(
            workshop,
            'conn.execute("CREATE TABLE pets (parent TEXT REFERENCES parents(name))")\n'
            "conn.execute(\"INSERT INTO pets VALUES ('one')\")",
        )
        assert refusal.problem == "pets refers to columns that are not unique"

    def test_a_key_may_not_lose_its_index(self, workshop: Workshop) -> None:
        """References that led to a unique column lead nowhere without the index that made it one."""
        workshop.write(
            2,
            'conn.execute("CREATE UNIQUE INDEX names ON parents(name)")\n'
            'conn.execute("CREATE TABLE pets (parent TEXT REFERENCES parents(name))")\n'
            "conn.execute(\"INSERT INTO pets VALUES ('one')\")",
        )
        workshop.migrate()
        workshop.write(3, 'conn.execute("DROP INDEX names")')
        with pytest.raises(MigrationError, match="pets refers to columns that are not unique"):
            workshop.migrate()

    @pytest.mark.parametrize(
        ("after", "loses"),
        [
            ("CREATE TABLE t (a, b TEXT)", False),
            ("CREATE TABLE t (a)", False),
            ("CREATE TABLE t (a, b REFERENCES t(a))", True),
            ("CREATE TABLE t (b)", True),
            (None, True),
        ],
    )
    def test_only_a_plain_new_column_needs_no_look(self, after: str | None, loses: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """The rows of a large table are not read for a column that refers to nothing."""
        assert _loses_references("CREATE TABLE t (a)", after) is loses
