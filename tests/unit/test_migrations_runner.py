"""Migrating real files: all or nothing, refused bodies, snapshots."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import MigrationError, SchemaTooNewError
from aragora_persist.migrations.folder import load
from aragora_persist.migrations.runner import migrate_connection, status
from aragora_persist.storage.sqlite.connecting import connect_memory
from aragora_persist.times import from_text, utc_now
from aragora_persist.version import VERSION
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 1."""
    workshop = Workshop(tmp_path)
    workshop.start()
    return workshop


class TestMigrate:
    """Applying."""

    def test_writes_the_ledger(self, workshop: Workshop) -> None:
        """Plain sqlite3 shows what was applied, when, by which release, and who can read it."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        (workshop.folder / "002_step.py").write_text(
            'MIN_READER = "0.0.9"\n' + (workshop.folder / "002_step.py").read_text()
        )
        change = workshop.migrate()
        with closing(sqlite3.connect(workshop.path)) as connection:
            rows = connection.execute("SELECT * FROM schema_version").fetchall()
        checksums = [migration.checksum for migration in load(workshop.folder)]
        assert [migration.name for migration in change.migrations] == ["002_step"]
        assert [(row[0], row[1], row[2], row[5], row[6]) for row in rows] == [
            (1, "001_step", checksums[0], VERSION, VERSION),
            (2, "002_step", checksums[1], VERSION, "0.0.9"),
        ]
        assert all((utc_now() - from_text(row[3])).total_seconds() < 60 and row[4] >= 0 for row in rows)

    def test_again_does_nothing(self, workshop: Workshop) -> None:
        """Without anything pending, nothing is written and no snapshot taken."""
        before = workshop.content()
        change = workshop.migrate()
        assert (change.migrations, change.snapshot) == ((), None)
        assert workshop.content() == before
        assert not workshop.settings.backup_dir.exists()

    def test_takes_a_snapshot_of_what_it_found(self, workshop: Workshop) -> None:
        """The snapshot holds exactly the state before; a new database needs none."""
        assert not workshop.settings.backup_dir.exists()
        before = workshop.content()
        workshop.write(2, "conn.execute(\"UPDATE parents SET name = 'changed'\")")
        change = workshop.migrate()
        assert change.snapshot is not None
        assert change.snapshot.parent == workshop.settings.backup_dir
        assert re.fullmatch(r"users_\d{8}_\d{6}_\d{6}_before_migration\.db", change.snapshot.name)
        assert workshop.content(change.snapshot) == before
        assert workshop.content() != before

    def test_is_all_or_nothing(self, workshop: Workshop) -> None:
        """A failure in the third of three leaves none of them, and the error names the snapshot."""
        before = workshop.content()
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.write(3, 'conn.execute("DROP TABLE children")')
        workshop.write(4, 'conn.execute("SELECT * FROM nowhere")')
        with pytest.raises(MigrationError, match="no such table: nowhere") as failed:
            workshop.migrate()
        snapshots = list(workshop.settings.backup_dir.glob("*.db"))
        assert failed.value.target == "004_step"
        assert len(snapshots) == 1
        assert str(snapshots[0]) in failed.value.hint
        assert workshop.content() == before == workshop.content(snapshots[0])

    def test_a_column_may_be_there_already(self, workshop: Workshop) -> None:
        """The documented example adds a column that an earlier migration has added, by ``safe_add_column``."""
        add = 'safe_add_column(conn, "parents", "locked_until", "TEXT", "NULL")'
        workshop.write(2, f"from aragora_persist.storage.schema import safe_add_column\nassert {add}")
        workshop.write(3, f"from aragora_persist.storage.schema import safe_add_column\nassert not {add}")
        assert [step.version for step in workshop.migrate().migrations] == [2, 3]
        with closing(sqlite3.connect(workshop.path)) as connection:
            assert connection.execute("SELECT locked_until FROM parents").fetchall() == [(None,), (None,)]

    def test_runs_again_after_a_fix(self, workshop: Workshop) -> None:
        """A failed migration leaves nothing in the way of the corrected one."""
        path = workshop.write(2, "raise ValueError('half')")
        with pytest.raises(MigrationError, match="ValueError: half"):
            workshop.migrate()
        path.write_text(path.read_text().replace("raise ValueError('half')", 'conn.execute("CREATE TABLE more (a)")'))
        assert [migration.name for migration in workshop.migrate().migrations] == ["002_step"]

    @pytest.mark.parametrize(
        "body",
        [
            "conn.executescript('CREATE TABLE more (a); CREATE TABLE most (a);')",
            "conn.execute('CREATE TABLE more (a)'); conn.commit()",
            "with conn:\n    conn.execute('CREATE TABLE more (a)')",
            "conn.execute('CREATE TABLE more (a)'); conn.execute('ROLLBACK')",
            "try:\n    conn.commit()\nexcept sqlite3.Error:\n    conn.execute('CREATE TABLE more (a)')",
        ],
    )
    def test_a_body_cannot_end_the_transaction(self, workshop: Workshop, body: str) -> None:
        """Each way to commit or roll back inside a body is refused, even one that swallows the refusal."""
        before = workshop.content()
        workshop.write(2, body)
        with pytest.raises(MigrationError, match="transaction") as refused:
            workshop.migrate()
        assert "conn.execute" in refused.value.hint
        assert workshop.content() == before

    def test_a_body_cannot_attach(self, workshop: Workshop) -> None:
        """Another file would be outside of the transaction and of the snapshot."""
        other = workshop.root / "other.db"
        workshop.write(2, f"conn.execute(\"ATTACH '{other}' AS other\")")
        with pytest.raises(MigrationError, match="attaches"):
            workshop.migrate()
        assert not other.exists()

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

    def test_a_table_that_is_not_named_keeps_its_rows(self, workshop: Workshop) -> None:
        """Rows that vanish behind the body's back make it fail: here by SQLite's own writable schema."""
        before = workshop.content()
        workshop.write(
            2,
            'conn.execute("PRAGMA writable_schema=ON")\n'
            'conn.execute("UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = '
            "'parents') WHERE name = 'children'\")\n"
            'conn.execute("PRAGMA writable_schema=RESET")',
        )
        with pytest.raises(MigrationError, match="children, which it does not name, had 3 rows and has 2"):
            workshop.migrate()
        assert workshop.content() == before

    def test_a_dangling_foreign_key_is_refused(self, workshop: Workshop) -> None:
        """References are checked before the commit, since they were off in the body."""
        before = workshop.content()
        workshop.write(2, 'conn.execute("DELETE FROM parents WHERE id = 2")')
        with pytest.raises(MigrationError, match=r"children .* refers to no row of parents"):
            workshop.migrate()
        assert workshop.content() == before

    @pytest.mark.parametrize(
        ("source", "problem"),
        [
            ("x = 1\n", "no function upgrade"),
            ("MIN_READER = 'soon'\ndef upgrade(conn): pass\n", "MIN_READER is 'soon'"),
            ("def upgrade(:\n", "SyntaxError"),
            ("import nothing_here\n", "nothing_here"),
        ],
    )
    def test_a_file_that_is_no_migration_is_refused(self, workshop: Workshop, source: str, problem: str) -> None:
        """A file without its function, or that does not even load, changes nothing."""
        before = workshop.content()
        (workshop.folder / "002_step.py").write_text(source)
        with pytest.raises(MigrationError, match=problem):
            workshop.migrate()
        assert workshop.content() == before

    def test_an_edited_file_is_refused(self, workshop: Workshop) -> None:
        """Even a comment: what was applied is what is there. Nothing pending is applied then."""
        before = workshop.content()
        path = workshop.folder / "001_step.py"
        path.write_text(path.read_text() + "# edited\n")
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        for act in (workshop.migrate, lambda: status(workshop.path, "users", folder=workshop.folder)):
            with pytest.raises(MigrationError, match="001_step was applied"):
                act()
        assert workshop.content() == before

    def test_a_newer_database_is_refused(self, workshop: Workshop) -> None:
        """An older release never touches it, nor takes a snapshot of it."""
        path = workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.migrate()
        before = workshop.content()
        path.unlink()
        with pytest.raises(SchemaTooNewError):
            workshop.migrate()
        with pytest.raises(SchemaTooNewError):
            status(workshop.path, "users", folder=workshop.folder)
        assert workshop.content() == before

    def test_foreign_keys_are_on_again(self, tmp_path: Path) -> None:
        """A connection that migrated, as one in memory does, enforces references afterwards, also after a failure."""
        workshop = Workshop(tmp_path)
        workshop.write(1, "raise ValueError")
        with closing(connect_memory()) as connection:
            with pytest.raises(MigrationError):
                migrate_connection(connection, None, "users", folder=workshop.folder, settings=workshop.settings)
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert not connection.in_transaction
            migrate_connection(connection, None, "users", settings=workshop.settings)
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
