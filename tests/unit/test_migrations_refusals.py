"""Databases that are not migrated, and folders that nothing is migrated from: the state, the error, and no change."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import DamagedError, MigrationError, PersistError, SchemaTooNewError, StorageError
from aragora_persist.migrations.rehearsal import rehearse
from aragora_persist.migrations.runner import migrate, rollback, status
from aragora_persist.settings import Settings
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 3."""
    workshop = Workshop(tmp_path)
    workshop.start()
    workshop.write(2, 'conn.execute("CREATE TABLE more (a)")', 'conn.execute("DROP TABLE more")')
    workshop.write(3, 'conn.execute("CREATE TABLE most (a)")', 'conn.execute("DROP TABLE most")')
    workshop.migrate()
    return workshop


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder into which everybody may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


def edited(workshop: Workshop) -> str:
    """Change a comment of a file."""
    path = workshop.folder / "002_step.py"
    path.write_text(f"{path.read_text()}# edited\n")
    return "002_step was applied, and its file was edited since"


def removed(workshop: Workshop) -> str:
    """Put another file into the place of one."""
    (workshop.folder / "002_step.py").unlink()
    (workshop.folder / "002_other.py").write_text("def upgrade(conn): pass\n")
    return r"002_step was applied, and its file is gone \(002_other is in its place\)"


def reordered(workshop: Workshop) -> str:
    """Exchange two numbers, and give the files names that say so."""
    second, third = (workshop.folder / f"00{number}_step.py" for number in (2, 3))
    second.rename(workshop.folder / "003_second.py")
    third.rename(workshop.folder / "002_third.py")
    return "002_step was applied, and its file is 003_second now: the migrations were reordered"


def gap(workshop: Workshop) -> str:
    """Take a row out of the ledger."""
    with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM schema_version WHERE version = 2")
    return "its ledger has no version 002, but 003_step"


def newer(workshop: Workshop) -> str:
    """Be an older release."""
    (workshop.folder / "003_step.py").unlink()
    return r"has schema 3, this release \(.*\) knows 2 and not 003_step"


def by_hand(workshop: Workshop) -> str:
    """Have tables, and no ledger."""
    with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE schema_version")
    return "has tables, and no ledger .* --adopt --db users"


def of_another_program(workshop: Workshop) -> str:
    """Have a ledger with other columns."""
    with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE schema_version")
        connection.execute("CREATE TABLE schema_version (module TEXT, version INTEGER)")
    return "has tables, and no ledger .* --adopt --db users"


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (edited, "edited"),
        (removed, "edited"),
        (reordered, "edited"),
        (gap, "edited"),
        (newer, "newer"),
        (by_hand, "foreign"),
        (of_another_program, "foreign"),
    ],
)
def test_a_refused_database_is_as_it_was(workshop: Workshop, spoil: Callable[[Workshop], str], state: str) -> None:
    """Neither a byte of it changes, nor is anything made beside it; the status tells what migrating would raise."""
    problem = spoil(workshop)
    workshop.write(4, 'conn.execute("CREATE TABLE unwanted (a)")') if state == "edited" else None
    before = workshop.files()
    for act in (workshop.migrate, workshop.rollback):
        with pytest.raises((MigrationError, SchemaTooNewError), match=problem) as refused:
            act()
        assert refused.value.hint
        assert workshop.files() == before
    found = status(workshop.path, "users", folder=workshop.folder)
    assert (found.state, found.pending, found.exists) == (state, (), True)
    assert type(found.refusal) is type(refused.value)
    assert workshop.files() == before


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_database_of_another_name_is_told_apart(tmp_path: Path, journal_mode: str) -> None:
    """The ledger says whose it is: two files were exchanged, and neither is touched."""
    path, settings = tmp_path / "aragora_users.db", Settings.from_env({"NOMIC_DIR": str(tmp_path)})
    migrate(path, "elo", settings=settings)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
    before = path.read_bytes()
    for name in ("users", "tokens"):
        with pytest.raises(MigrationError, match=f"is a database 'elo' by its ledger, not '{name}'"):
            migrate(path, name, settings=settings)
        assert status(path, name).state == "foreign"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["aragora_users.db"]
    assert status(path, "elo").state == "current"


@pytest.mark.parametrize(("name", "problem"), [("002_again", "002 is there twice"), ("005_step", "004 is missing")])
def test_a_folder_that_does_not_count_is_refused(workshop: Workshop, name: str, problem: str) -> None:
    """Also for a database that is not there: none is made."""
    (workshop.folder / f"{name}.py").write_text("def upgrade(conn): pass\n")
    before = workshop.files()
    for act in (workshop.migrate, workshop.rollback):
        with pytest.raises(MigrationError, match=problem):
            act()
    with pytest.raises(MigrationError, match=problem):
        migrate(workshop.root / "new" / "users.db", "users", folder=workshop.folder, settings=workshop.settings)
    assert workshop.files() == before
    assert not (workshop.root / "new").exists()


def test_a_file_that_is_no_database_is_refused(workshop: Workshop) -> None:
    """By every action."""
    workshop.path.write_bytes(b"no database at all, and longer than a header: " * 100)
    before = workshop.files()
    acts = (workshop.migrate, workshop.rollback, lambda: status(workshop.path, "users", folder=workshop.folder))
    for act in acts:
        with pytest.raises(DamagedError):
            act()
        assert workshop.files() == before


def folder(path: Path) -> None:
    """Make a folder of the name."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Make a pipe of the name: to open it is to wait for its other end."""
    os.mkfifo(path)


def loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "problem"), [(folder, "is a folder, not a file"), (pipe, "is not a file"), (loop, "symbolic links")]
)
def test_what_is_no_file_is_refused(workshop: Workshop, make: Callable[[Path], None], problem: str) -> None:
    """By every action, at once, and the message says what is there."""
    workshop.path.unlink()
    make(workshop.path)
    before = sorted(workshop.path.parent.iterdir())
    acts = (
        workshop.migrate,
        workshop.rollback,
        lambda: status(workshop.path, "users", folder=workshop.folder),
        lambda: rehearse(workshop.path, "users", folder=workshop.folder),
    )
    for act in acts:
        with pytest.raises(StorageError, match=problem):
            act()
        assert sorted(workshop.path.parent.iterdir()) == before


def test_a_file_in_the_place_of_the_folder_is_refused(workshop: Workshop) -> None:
    """A database is not missing there: none could be made."""
    below = workshop.path / "users.db"
    for act in (status, rehearse, migrate, rollback):
        with pytest.raises(StorageError, match=r"Not a directory|File exists"):
            act(below, "users", folder=workshop.folder)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o755), (0o444, 0o555), (0o666, 0o555)])
def test_what_cannot_be_written_is_refused(open_folder: Path, file_mode: int, folder_mode: int) -> None:
    """A read-only file or folder is an error that says so; the status answers all the same."""
    workshop = Workshop(open_folder)
    workshop.start()
    workshop.write(2, 'conn.execute("CREATE TABLE unwanted (a)")')
    before = workshop.files()
    workshop.path.chmod(file_mode)
    workshop.path.parent.chmod(folder_mode)
    child = os.fork()
    if child == 0:  # pragma: no cover -- runs in the child
        code = 1
        try:
            if os.getuid() == 0:
                os.setuid(NOBODY)  # nothing is forbidden to root
            looked = status(workshop.path, "users", folder=workshop.folder).state == "outdated"
            code = 0 if looked and _refuses(workshop.migrate) and _refuses(workshop.rollback) else 2
        finally:
            os._exit(code)
    code = os.waitpid(child, 0)[1]
    workshop.path.parent.chmod(0o755)
    assert code == 0
    assert workshop.files() == before


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except StorageError:
        return True
    except PersistError:
        return False
    return False


def test_a_missing_database_cannot_be_rolled_back(workshop: Workshop) -> None:
    """It is not made for that."""
    with pytest.raises(PersistError, match="is not there"):
        rollback(workshop.root / "none.db", "users", folder=workshop.folder, settings=workshop.settings)
    assert not (workshop.root / "none.db").exists()
