"""Migrating real files: each migration all or nothing, snapshots, what is left after a failure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aragora_persist.errors import DamagedError, MigrationError, SchemaTooNewError, StorageError
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.rehearsal import rehearse
from aragora_persist.migrations.runner import migrate, migrate_connection
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.connecting import connect_memory
from aragora_persist.storage.token_blacklist import TokenBlacklist
from aragora_persist.times import from_text, utc_now
from aragora_persist.version import VERSION
from tests.unit.workshop import Workshop

LATE = datetime(9999, 1, 1, tzinfo=UTC)
KEPT = r"users_\d{8}_\d{6}_\d{6}_before_migration\.db"


def _exit(_signal: int, _frame: object) -> None:
    sys.exit(0)


class _InterruptedTwice(sqlite3.Connection):
    """A connection to whose user the second Ctrl-C comes just before the rollback of a migration."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3 declares it
        if sql == "ROLLBACK" and self.total_changes:
            raise KeyboardInterrupt
        return super().execute(sql, parameters)


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
        assert re.fullmatch(KEPT, change.snapshot.name)
        assert workshop.content(change.snapshot) == before
        assert workshop.content() != before

    def test_each_migration_is_a_transaction(self, workshop: Workshop) -> None:
        """A failure in the third of three leaves two; the error says where the database stands, and what was before."""
        before = workshop.content()
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.write(3, 'conn.execute("DROP TABLE children")')
        broken = workshop.write(4, 'conn.execute("CREATE TABLE most (a)")\nconn.execute("SELECT * FROM nowhere")')
        with pytest.raises(MigrationError, match="no such table: nowhere") as failed:
            workshop.migrate()
        (snapshot,) = workshop.settings.backup_dir.glob("*.db")
        assert failed.value.target == "004_step"
        assert "stands at version 3, and the next run goes on from there" in failed.value.hint
        assert str(snapshot) in failed.value.hint
        assert re.fullmatch(KEPT, snapshot.name)
        assert workshop.content(snapshot) == before
        schema, _ = workshop.content()
        assert {"more"} == {name for name, _ in schema} - {"parents", "schema_version"}
        broken.write_text(broken.read_text().replace('conn.execute("SELECT * FROM nowhere")', ""))
        assert [step.version for step in workshop.migrate().migrations] == [4]

    def test_a_failure_of_the_first_changes_nothing(self, workshop: Workshop) -> None:
        """Tried again and again, as a service does, it does not fill the disk with snapshots of one state."""
        before = workshop.content()
        path = workshop.write(2, 'conn.execute("DROP TABLE children")\nraise ValueError("half")')
        for _ in range(3):
            with pytest.raises(MigrationError, match="ValueError: half") as failed:
                workshop.migrate()
            (snapshot,) = workshop.settings.backup_dir.glob("*.db")
            assert failed.value.hint == f"a snapshot from before is {snapshot}"
            assert workshop.content() == before == workshop.content(snapshot)
        path.write_text(path.read_text().replace('raise ValueError("half")', ""))
        change = workshop.migrate()
        assert list(workshop.settings.backup_dir.glob("*.db")) == [change.snapshot]

    def test_the_snapshot_of_a_killed_run_is_kept(self, workshop: Workshop) -> None:
        """Under the name that a run's snapshot has first, it shows another version: then it is no copy of what is."""
        first = workshop.content()
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.write(3, "raise ValueError")
        with pytest.raises(MigrationError):
            workshop.migrate()
        with pytest.raises(MigrationError) as failed:
            workshop.migrate()
        unsettled = Path(failed.value.hint.rpartition(" ")[2])
        (kept,) = set(workshop.settings.backup_dir.glob("*.db")) - {unsettled}
        kept.replace(unsettled)
        with pytest.raises(MigrationError):
            workshop.migrate()
        kept_again = sorted(set(workshop.settings.backup_dir.glob("*.db")) - {unsettled})
        assert [workshop.content(path) for path in kept_again] == [first]

    def test_what_cannot_be_loaded_is_found_first(self, workshop: Workshop) -> None:
        """Nothing is applied, and no snapshot taken, when the last file of several is not even Python."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        (workshop.folder / "003_step.py").write_text("def upgrade(:\n")
        before = workshop.files()
        with pytest.raises(MigrationError, match="SyntaxError"):
            workshop.migrate()
        assert workshop.files() == before

    def test_an_interrupt_takes_back_one_migration(self, workshop: Workshop) -> None:
        """What was committed stays, and the note names the snapshot; so does a signal's exit."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        path = workshop.write(3, 'conn.execute("DROP TABLE parents")\nraise KeyboardInterrupt')
        with pytest.raises(KeyboardInterrupt) as interrupted:
            workshop.migrate()
        notes = interrupted.value.__notes__
        assert notes[0].startswith("the database stands at version 2")
        assert notes[1] == f"a snapshot from before is {next(workshop.settings.backup_dir.glob('*.db'))}"
        after = workshop.content()
        path.write_text(
            path.read_text().replace("raise KeyboardInterrupt", "import signal\n    signal.raise_signal(15)")
        )
        previous = signal.signal(signal.SIGTERM, _exit)
        try:
            with pytest.raises(SystemExit):
                workshop.migrate()
        finally:
            signal.signal(signal.SIGTERM, previous)
        assert workshop.content() == after

    def test_an_interrupt_of_the_rollback_commits_nothing(self, workshop: Workshop) -> None:
        """Whoever presses Ctrl-C twice has the second one land where the first one's work is being taken back."""
        before = workshop.content()
        workshop.write(2, 'conn.execute("DELETE FROM children")\nraise KeyboardInterrupt')
        with (
            closing(sqlite3.connect(workshop.path, isolation_level=None, factory=_InterruptedTwice)) as connection,
            pytest.raises(KeyboardInterrupt),
        ):
            migrate_connection(connection, workshop.path, "users", folder=workshop.folder, settings=workshop.settings)
        assert workshop.content() == before

    def test_tells_how_far_it_is(self, workshop: Workshop) -> None:
        """Each migration as it begins, and what is reported inside of it."""
        workshop.write(2, "from aragora_persist.migrations.progress import report\nreport('5 of 9 rows')")
        workshop.write(3, "pass")
        told: list[str] = []
        migrate(workshop.path, "users", folder=workshop.folder, settings=workshop.settings, progress=told.append)
        assert told == ["002_step 2/3", "002_step 2/3: 5 of 9 rows", "003_step 3/3"]

    def test_without_room_for_the_snapshot_nothing_changes(self, workshop: Workshop) -> None:
        """Or without the right to write it; the way out is told."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.settings.backup_dir.write_bytes(b"a file in the place of the folder")
        before = workshop.files()
        with pytest.raises(StorageError, match="--no-backup"):
            workshop.migrate()
        assert workshop.files() == before

    def test_a_damaged_database_is_not_migrated(self, workshop: Workshop) -> None:
        """The snapshot is verified: a copy of what is broken would be no way back."""
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            number = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'children'").fetchone()[0]
        with workshop.path.open("r+b") as file:
            page = (number - 1) * 4096
            file.seek(page + 10)  # the pointer to the second row, whose id stands behind its length
            second = int.from_bytes(file.read(2), "big")
            file.seek(page + second + 1)
            assert file.read(1) == b"\x14"
            file.seek(page + second + 1)
            file.write(b"\x50")
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        before = workshop.path.read_bytes()
        with pytest.raises(DamagedError, match=r"out of order.*restore a backup"):
            workshop.migrate()
        assert workshop.path.read_bytes() == before

    def test_a_folder_may_be_named_in_bytes(self, tmp_path: Path) -> None:
        """Migrating, rebuilding, rehearsing and rolling back where a path is no text in UTF-8."""
        root = tmp_path / os.fsdecode(b"\xff ?#%20")
        root.mkdir()
        workshop = Workshop(root)
        workshop.start()
        rebuild = (
            "from aragora_persist.storage.schema import rebuild_table\n"
            'rebuild_table(conn, "parents", "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)")'
        )
        workshop.write(2, f'{rebuild}\nconn.execute("DELETE FROM children")', rebuild)
        assert len(rehearse(workshop.path, "users", folder=workshop.folder).migrations) == 1
        assert len(workshop.migrate().migrations) == 1
        assert len(workshop.rollback().migrations) == 1

    def test_a_current_database_is_only_looked_at(self, workshop: Workshop) -> None:
        """Its lock is not even asked for: another's long transaction does not keep a service from starting."""
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            assert workshop.migrate().migrations == ()

    def test_a_column_may_be_there_already(self, workshop: Workshop) -> None:
        """The documented example adds a column that an earlier migration has added, by ``safe_add_column``."""
        add = 'safe_add_column(conn, "parents", "locked_until", "TEXT", "NULL")'
        workshop.write(2, f"from aragora_persist.storage.schema import safe_add_column\nassert {add}")
        workshop.write(3, f"from aragora_persist.storage.schema import safe_add_column\nassert not {add}")
        assert [step.version for step in workshop.migrate().migrations] == [2, 3]
        with closing(sqlite3.connect(workshop.path)) as connection:
            assert connection.execute("SELECT locked_until FROM parents").fetchall() == [(None,), (None,)]

    @pytest.mark.parametrize(
        ("source", "problem"),
        [
            ("x = 1\n", "no function upgrade"),
            ("MIN_READER = 'soon'\ndef upgrade(conn): pass\n", "MIN_READER is 'soon'"),
            ("def upgrade(:\n", "SyntaxError"),
            ("import nothing_here\n", "nothing_here"),
            ("import sys\nsys.exit(0)\n", "calls sys.exit"),
        ],
    )
    def test_a_file_that_is_no_migration_is_refused(self, workshop: Workshop, source: str, problem: str) -> None:
        """A file without its function, or that does not even load, changes nothing."""
        before = workshop.content()
        (workshop.folder / "002_step.py").write_text(source)
        with pytest.raises(MigrationError, match=problem):
            workshop.migrate()
        assert workshop.content() == before

    def test_the_previous_release_goes_on(self, tmp_path: Path) -> None:
        """With the file open while it is migrated, and opening it afterwards, as far as the migration allows that."""
        settings = Settings.from_env({"NOMIC_DIR": str(tmp_path)})
        folder = tmp_path / "newer"
        shutil.copytree(folder_of("tokens"), folder)
        step = folder / f"{len(load(folder)) + 1:03d}_more.py"
        step.write_text('MIN_READER = "0.0.1"\ndef upgrade(conn):\n    conn.execute("CREATE TABLE more (a)")\n')
        with TokenBlacklist(tmp_path / "tokens.db", settings=settings) as tokens:
            tokens.revoke("first", LATE)
            migrate(tmp_path / "tokens.db", "tokens", folder=folder, settings=settings)
            tokens.revoke("second", LATE)
            with TokenBlacklist(tmp_path / "tokens.db", settings=settings) as again:
                assert [jti in again for jti in ("first", "second", "third")] == [True, True, False]
            with pytest.raises(SchemaTooNewError):
                migrate(tmp_path / "tokens.db", "tokens", settings=settings)

    def test_a_commit_survives_a_loss_of_power(self, workshop: Workshop) -> None:
        """Whatever the connection was set to: it is set to that again."""
        workshop.write(2, "assert conn.execute('PRAGMA synchronous').fetchone() == (2,)")
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            change = migrate_connection(
                connection, workshop.path, "users", folder=workshop.folder, settings=workshop.settings
            )
            assert len(change.migrations) == 1
            assert connection.execute("PRAGMA synchronous").fetchone() == (1,)

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
