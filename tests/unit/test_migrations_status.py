"""Status, rehearsal and rolling back, on real files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError, MigrationError, NotFoundError
from aragora_persist.migrations.folder import latest_version
from aragora_persist.migrations.rehearsal import rehearse
from aragora_persist.migrations.runner import migrate, rollback, status
from aragora_persist.migrations.standing import Expected
from aragora_persist.migrations.undoing import rehearse_undo
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 1."""
    workshop = Workshop(tmp_path)
    workshop.start()
    return workshop


class TestRehearse:
    """The dry run."""

    def test_never_writes_the_original(self, workshop: Workshop) -> None:
        """It says what would be applied, and not a byte has changed."""
        workshop.write(2, 'conn.execute("DROP TABLE children")')
        before = {file.name: file.read_bytes() for file in workshop.path.parent.iterdir()}
        done = rehearse(workshop.path, "users", folder=workshop.folder).migrations
        assert [step.migration.name for step in done] == ["002_step"]
        assert {file.name: file.read_bytes() for file in workshop.path.parent.iterdir()} == before

    def test_finds_what_would_fail(self, workshop: Workshop) -> None:
        """The copy has the real rows: a migration that fails on them fails here."""
        workshop.write(2, 'conn.execute("CREATE UNIQUE INDEX one_child ON children(parent_id)")')
        with pytest.raises(MigrationError, match="UNIQUE"):
            rehearse(workshop.path, "users", folder=workshop.folder)

    def test_makes_no_missing_file(self, tmp_path: Path) -> None:
        """For a database that is not there, the whole list is rehearsed on nothing."""
        steps = rehearse(tmp_path / "data" / "users.db", "users").migrations
        assert [step.migration.version for step in steps] == list(range(1, latest_version("users") + 1))
        assert list(tmp_path.iterdir()) == []


class TestRollback:
    """Undoing."""

    def test_restores_the_earlier_schema(self, workshop: Workshop) -> None:
        """Schema and ledger are those of the version before, and the snapshot holds what was undone."""
        before = workshop.content()
        workshop.write(
            2,
            'conn.execute("ALTER TABLE parents ADD COLUMN age INTEGER DEFAULT 1")',
            'conn.execute("ALTER TABLE parents DROP COLUMN age")',
        )
        workshop.migrate()
        with_age = workshop.content()
        change = workshop.rollback()
        assert workshop.content() == before
        assert change.snapshot is not None
        assert workshop.content(change.snapshot) == with_age

    def test_goes_to_any_version(self, workshop: Workshop) -> None:
        """Several steps at once, and all of them down to an empty database."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', 'conn.execute("DROP TABLE more")')
        workshop.write(3, 'conn.execute("CREATE TABLE most (a)")', 'conn.execute("DROP TABLE most")')
        workshop.migrate()
        told: list[str] = []
        change = rollback(
            workshop.path, "users", to=0, folder=workshop.folder, settings=workshop.settings, progress=told.append
        )
        assert [step.version for step in change.migrations] == [3, 2, 1]
        steps = ["003_step 1/3", "002_step 2/3", "001_step 3/3"]
        assert told == [*(f"rehearsing {step}" for step in steps), *steps]
        assert status(workshop.path, "users", folder=workshop.folder).version == 0
        assert [step.version for step in workshop.migrate().migrations] == [1, 2, 3]

    def test_tells_what_goes_with_it(self, workshop: Workshop) -> None:
        """Rows of tables, values of columns, and rows that a downgrade deletes; what is empty is no loss."""
        workshop.write(
            2,
            'conn.execute("CREATE TABLE more (a)")\nconn.execute("INSERT INTO more VALUES (1), (2)")\n'
            'conn.execute("CREATE TABLE most (a)")\n'
            'conn.execute("ALTER TABLE parents ADD COLUMN age INTEGER")\n'
            'conn.execute("ALTER TABLE parents ADD COLUMN height INTEGER")\n'
            'conn.execute("UPDATE parents SET age = 1 WHERE id = 1")',
            'conn.execute("DROP TABLE more"); conn.execute("DROP TABLE most")\n'
            'conn.execute("ALTER TABLE parents DROP COLUMN age")\n'
            'conn.execute("ALTER TABLE parents DROP COLUMN height")\n'
            'conn.execute("DELETE FROM children WHERE id = 10")',
        )
        workshop.migrate()
        assert sorted(workshop.rollback().lost) == [
            "1 row of table children",
            "1 value of column parents.age",
            "2 rows of table more",
        ]
        assert workshop.migrate().lost == ()

    @pytest.mark.parametrize("down", [None, "pass", 'conn.execute("DROP TABLE children")', "raise ValueError"])
    def test_is_refused_when_it_does_not_restore(self, workshop: Workshop, down: str | None) -> None:
        """A missing, empty, wrong or failing downgrade changes nothing, and the way out names the snapshot."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', down)
        snapshot = workshop.migrate().snapshot
        before = workshop.files()
        with pytest.raises(MigrationError) as refused:
            workshop.rollback()
        assert refused.value.hint == f"nothing was changed; write the downgrade, or restore {snapshot}"
        assert workshop.files() == before

    def test_says_what_would_differ(self, workshop: Workshop) -> None:
        """By name; without a snapshot of that version, the way out is a backup."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', "pass")
        workshop.migrate()
        for path in workshop.settings.backup_dir.iterdir():
            path.unlink()
        with pytest.raises(MigrationError, match="schema of version 1: more would differ") as refused:
            workshop.rollback()
        assert "a backup from before it (aragora-persist backups)" in refused.value.hint

    def test_counts_only_what_goes_with_it(self, workshop: Workshop) -> None:
        """Not what others write while it is rehearsed."""
        row = "INSERT INTO children (parent_id) VALUES (1)"
        others = f"import sqlite3\nother = sqlite3.connect({str(workshop.path)!r})\nother.execute({row!r})\n"
        down = f'{others}other.commit()\nother.close()\nconn.execute("DROP TABLE more")'
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")\nconn.execute("INSERT INTO more VALUES (1)")', down)
        workshop.migrate()
        with closing(sqlite3.connect(workshop.path)) as connection:
            expected = Expected(workshop.path, "users", workshop.folder)
            rehearsed = rehearse_undo(workshop.path, expected, None, workshop.settings, lambda _: None)
            assert rehearsed == (1, ("1 row of table more",))
            assert connection.execute("SELECT count(*) FROM children").fetchone() == (4,)

    def test_needs_nothing_of_what_is_pending(self, workshop: Workshop) -> None:
        """A release whose next migration does not work can still be taken back."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', 'conn.execute("DROP TABLE more")')
        workshop.migrate()
        workshop.write(3, 'raise ValueError("not in an empty database")')
        assert [migration.version for migration in workshop.rollback().migrations] == [2]

    def test_says_once_what_failed(self, workshop: Workshop) -> None:
        """As a rollback, and with the driver's own error as its only cause."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', 'conn.execute("DROP TABLE nowhere")')
        workshop.migrate()
        with pytest.raises(MigrationError, match=r"roll back: 002_step: .*nowhere") as refused:
            workshop.rollback()
        assert isinstance(refused.value.__cause__, sqlite3.OperationalError)

    def test_refuses_several_steps_as_a_whole(self, workshop: Workshop) -> None:
        """Where the second step back would fail, the first is not made either."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', "pass")
        workshop.write(3, 'conn.execute("CREATE TABLE most (a)")', 'conn.execute("DROP TABLE most")')
        workshop.migrate()
        before = workshop.files()
        with pytest.raises(MigrationError, match="002_step: its downgrade does not restore"):
            workshop.rollback(to=1)
        assert workshop.files() == before

    def test_needs_something_to_undo(self, workshop: Workshop) -> None:
        """Neither a missing file nor an empty ledger is made or changed."""
        with pytest.raises(NotFoundError):
            rollback(workshop.root / "none.db", "users", folder=workshop.folder, settings=workshop.settings)
        assert not (workshop.root / "none.db").exists()
        workshop.rollback()
        with pytest.raises(InvalidValueError):
            workshop.rollback()

    @pytest.mark.parametrize("name", [database.name for database in DATABASES])
    def test_every_own_migration_can_be_undone(self, tmp_path: Path, name: str) -> None:
        """Each of this package's databases goes down to nothing and up again, to the same schema."""
        workshop = Workshop(tmp_path)
        migrate(workshop.path, name, settings=workshop.settings)
        before, _ = workshop.content()
        rollback(workshop.path, name, to=0, settings=workshop.settings)
        assert status(workshop.path, name).version == 0
        migrate(workshop.path, name, settings=workshop.settings)
        assert workshop.content()[0] == before


class TestStatus:
    """Looking."""

    def test_tells_missing_outdated_and_current(self, workshop: Workshop) -> None:
        """Three states, the versions, and the names of what is pending."""
        missing = status(workshop.root / "none" / "users.db", "users", folder=workshop.folder)
        assert (missing.state, missing.version, missing.latest, missing.exists) == ("missing", 0, 1, False)
        assert status(workshop.path, "users", folder=workshop.folder).state == "current"
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        outdated = status(workshop.path, "users", folder=workshop.folder)
        assert (outdated.state, outdated.version, outdated.latest) == ("outdated", 1, 2)
        assert [step.name for step in outdated.pending] == ["002_step"]
        assert [row.name for row in outdated.applied] == ["001_step"]

    def test_makes_nothing(self, workshop: Workshop) -> None:
        """Neither the folder, nor the file, nor anything beside it; also while somebody has the file open."""
        status(workshop.root / "none" / "users.db", "users")
        status(workshop.path, "users", folder=workshop.folder)
        assert not (workshop.root / "none").exists()
        assert [file.name for file in workshop.path.parent.iterdir()] == ["aragora_users.db"]
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM children")
            before = workshop.files()
            assert status(workshop.path, "users", folder=workshop.folder).state == "current"
            assert workshop.files() == before
