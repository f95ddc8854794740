"""Restoring all databases together: of one run, or nothing at all; and completed by whoever comes next."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.offsite import ship
from aragora_persist.backup.restore.intent import Intent, declare, declare_together, new_mark, put_mark
from aragora_persist.backup.restore.restoring import Way, restore
from aragora_persist.backup.restore.restoring_sets import restore_all
from aragora_persist.backup.take import take_all
from aragora_persist.backup.verify import verify
from aragora_persist.cli import main
from aragora_persist.errors import (
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    MigrationError,
    StorageError,
)
from aragora_persist.migrations.folder import folder_of
from aragora_persist.migrations.runner import migrate
from aragora_persist.settings import Compression, Settings
from aragora_persist.storage.schema import get_wal_connection
from tests.age_identities import make_identity
from tests.contract.backup_folders import names_in
from tests.full_disk import largest_file
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("elo", "users", "tokens")  # in the order of the registry


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own with three databases, backed up once, with a later row in each."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data"), "DB_TIMEOUT": "0.2"})
    settings.nomic_dir.mkdir()
    for name in NAMES:
        with closing(get_wal_connection(live(settings, name))) as connection:
            connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        add(settings, name, "first")
    back_up(settings)
    for name in NAMES:
        add(settings, name, "later")
    return settings


def back_up(settings: Settings) -> str:
    """Back up all databases, and return the run."""
    (run,) = {outcome.entry.run for outcome in take_all(settings) if outcome.entry}
    return run


def live(settings: Settings, name: str) -> Path:
    """Return the path of a live database."""
    return settings.nomic_dir / f"aragora_{name}.db"


def add(settings: Settings, name: str, text: str) -> None:
    """Add a row to a database."""
    with closing(get_wal_connection(live(settings, name))) as connection, connection:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def notes(path: Path) -> list[str]:
    """Return the rows of a sound database."""
    with closing(get_wal_connection(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY id")]


def all_notes(settings: Settings) -> list[list[str]]:
    """Return the rows of all databases."""
    return [notes(live(settings, name)) for name in NAMES]


OLD, NEW = [["first", "later"]] * 3, [["first"]] * 3


def test_all_databases_come_back_from_one_run(settings: Settings) -> None:
    """A live one while it is held, one that is damaged, one that is gone; what was there before is kept."""
    live(settings, "users").write_bytes(b"no database" * 1000)
    live(settings, "tokens").unlink()
    with closing(get_wal_connection(live(settings, "elo"))) as held:
        done = restore_all(settings)
        assert held.execute("SELECT text FROM notes").fetchall() == [("first",)]
    assert all_notes(settings) == NEW
    assert [result.database for result in done.results] == list(NAMES)
    assert [result.way for result in done.results] == [Way.INTO, Way.IN_PLACE, Way.IN_PLACE]
    assert [result.replaced is None for result in done.results] == [False, False, True]
    assert {result.entry.run for result in done.results if result.entry} == {done.chosen.run}
    assert all(result.equal for result in done.results)
    left = [name for name in names_in(settings.nomic_dir) if ".replaced_" not in name]
    assert left == sorted(["backups", *(live(settings, name).name for name in NAMES)])
    for name in NAMES:
        with closing(sqlite3.connect(live(settings, name))) as connection:
            assert connection.execute("PRAGMA application_id").fetchone() == (0,)


def test_the_number_of_another_program_comes_back(settings: Settings) -> None:
    """The mark that a set bears while it is restored leaves the number that a database had in its place."""
    with closing(sqlite3.connect(live(settings, "users"))) as connection:
        connection.execute("PRAGMA application_id = -252006")
    back_up(settings)
    restore_all(settings)
    found = []
    for name in NAMES:
        with closing(sqlite3.connect(live(settings, name))) as connection:
            found += connection.execute("PRAGMA application_id").fetchone()
    assert found == [0, -252006, 0]


def test_a_backup_that_is_damaged_or_a_transaction_that_does_not_end_changes_nothing(settings: Settings) -> None:
    """The last of the three is found before the first was touched, and no file stays behind."""
    before = names_in(settings.nomic_dir)
    with closing(sqlite3.connect(live(settings, "tokens"), isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            restore_all(settings)
        busy.execute("ROLLBACK")
    assert all_notes(settings) == OLD
    (backup,) = settings.backup_dir.glob("tokens_*.db")
    backup.write_bytes(backup.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        restore_all(settings)
    assert all_notes(settings) == OLD
    assert names_in(settings.nomic_dir) == before


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The database whose migration fails is the last one; the first is not migrated either."""
    settings, folder = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")}), tmp_path / "migrations"
    folder.mkdir()
    migrate(live(settings, "tokens"), "tokens", settings=settings)
    shutil.copy(folder_of("elo") / "001_initial.py", folder)
    migrate(live(settings, "elo"), "elo", folder=folder, settings=settings)
    with closing(get_wal_connection(live(settings, "elo"))) as connection:
        connection.execute("CREATE INDEX idx_history_order ON elo_history(id)")
    back_up(settings)
    before = [verify(live(settings, name)).sha256 for name in ("elo", "tokens")]
    with pytest.raises(MigrationError, match="idx_history_order"):
        restore_all(settings, migrate=True)
    assert [verify(live(settings, name)).sha256 for name in ("elo", "tokens")] == before


def test_an_earlier_run_is_restored_by_its_name_or_a_moment(settings: Settings) -> None:
    """The newest is not the only one; what is newer than the set is named."""
    first = restore_all(settings, to=settings.nomic_dir.parent / "first").chosen
    second = back_up(settings)
    assert restore_all(settings, run=first.run).notes[0].startswith("newer backups were not restored: elo_")
    assert all_notes(settings) == NEW
    assert restore_all(settings).chosen.run == second
    assert all_notes(settings) == OLD
    assert restore_all(settings, at=max(entry.created_at for entry in first.entries)).chosen == first
    assert all_notes(settings) == NEW


def test_to_a_folder_nothing_is_overwritten(settings: Settings, tmp_path: Path) -> None:
    """All become files there, under their own names; one that is taken refuses all."""
    folder = tmp_path / "look"
    done = restore_all(settings, to=folder)
    assert [notes(result.target) for result in done.results] == NEW
    assert all_notes(settings) == OLD
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "aragora_tokens.db-wal").write_bytes(b"mine")
    with pytest.raises(ConflictError, match=r"aragora_tokens\.db-wal"):
        restore_all(settings, to=tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["aragora_tokens.db-wal"]


def test_databases_in_several_folders_are_not_restored_together(settings: Settings, tmp_path: Path) -> None:
    """One step cannot begin in two folders; one at a time is the way out, and follows the link."""
    place = live(settings, "tokens")
    place.rename(tmp_path / "elsewhere.db")
    place.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(ConflictError, match="one by one"):
        restore_all(settings)
    assert all_notes(settings) == OLD
    result = restore("tokens", settings)
    assert (result.target, place.is_symlink()) == (tmp_path / "elsewhere.db", True)
    assert notes(tmp_path / "elsewhere.db") == ["first"]


def declared(settings: Settings, *, counts: bool) -> None:
    """Leave what a restore of all leaves that is killed behind its last note, before or after the notes count."""
    intents = []
    for name in NAMES:
        staged, mark = settings.nomic_dir / f"aragora_{name}.db.restored", new_mark()
        shutil.copyfile(next(settings.backup_dir.glob(f"{name}_*.db")), staged)
        put_mark(staged, mark)
        intents.append((live(settings, name), Intent(staged.name, f"aragora_{name}.replaced.db", mark)))
    if counts:
        declare_together(settings.nomic_dir, intents)
        return
    (settings.nomic_dir / ".restoring-all").touch()
    for database, intent in intents:
        declare(database, replace(intent, pending=".restoring-all"))


def test_notes_that_count_are_completed_by_whoever_opens(settings: Settings) -> None:
    """Also into a database that somebody holds; what was written after it was restored is not taken back."""
    with closing(sqlite3.connect(live(settings, "elo"), isolation_level=None)) as held:
        held.execute("SELECT * FROM notes").fetchall()
        declared(settings, counts=True)
        assert notes(live(settings, "elo")) == ["first"]
        held.execute("INSERT INTO notes (text) VALUES ('after')")
    assert all_notes(settings) == [["first", "after"], ["first"], ["first"]]
    assert not any(name.endswith((".restoring", ".restored", "-all")) for name in names_in(settings.nomic_dir))


def test_notes_that_do_not_count_yet_are_taken_back(settings: Settings) -> None:
    """All of them by the first who opens one of the databases, or restores one."""
    before = names_in(settings.nomic_dir)
    declared(settings, counts=False)
    assert notes(live(settings, "users")) == ["first", "later"]
    assert names_in(settings.nomic_dir) == before
    assert all_notes(settings) == OLD
    declared(settings, counts=False)
    restore("tokens", settings)
    assert all_notes(settings) == [*OLD[:2], ["first"]]


def test_a_set_that_does_not_count_takes_nothing_back_of_one_that_does(settings: Settings) -> None:
    """Of the first, one database is still to come when the second is cut off before it counts."""
    declared(settings, counts=True)
    assert [notes(live(settings, name)) for name in ("elo", "users")] == NEW[:2]
    add(settings, "elo", "between")
    staged = settings.nomic_dir / "aragora_elo.db.restored"
    shutil.copyfile(next(settings.backup_dir.glob("elo_*.db")), staged)
    (settings.nomic_dir / ".restoring-second").touch()
    declare(live(settings, "elo"), Intent(staged.name, "aragora_elo.replaced.db", pending=".restoring-second"))
    assert all_notes(settings) == [["first", "between"], ["first"], ["first"]]


def test_a_transaction_holds_up_its_own_database_alone(settings: Settings) -> None:
    """The others are completed; when it has ended, this one is too, by whoever opens it."""
    declared(settings, counts=True)
    with closing(sqlite3.connect(live(settings, "tokens"), isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            restore_all(settings)
        busy.execute("ROLLBACK")
        assert notes(live(settings, "elo")) == ["first"]
        assert busy.execute("SELECT text FROM notes").fetchall() == [("first",), ("later",)]
    assert all_notes(settings) == NEW


def test_a_fault_behind_the_first_exchange_says_what_is_done_and_what_is_not(settings: Settings) -> None:
    """The disk is full when the log of the second database grows; with room again, the same command completes it."""
    for text in ("x" * 40_000, "y"):
        add(settings, "users", text)
    back_up(settings)
    with closing(get_wal_connection(live(settings, "users"))) as connection:
        connection.execute("DELETE FROM notes WHERE text LIKE 'xxx%'")
        connection.commit()
        connection.execute("VACUUM")
    size = next(path.stat().st_size for path in settings.backup_dir.glob("users_*.db") if path.stat().st_size > 40_000)
    with largest_file(size + 1), pytest.raises(StorageError) as raised:  # a log is larger than what is in it
        restore_all(settings)
    assert raised.value.hint.startswith("restored so far: elo; still to come: users, tokens")
    restore_all(settings)
    assert [len(rows) for rows in all_notes(settings)] == [2, 4, 2]
    assert not any(name.endswith((".restoring", ".restored")) for name in names_in(settings.nomic_dir))


def test_a_database_that_was_restored_is_not_restored_over(settings: Settings) -> None:
    """The restored database bears the note's mark until the note is gone: rows written meanwhile stay."""
    place, staged, mark = live(settings, "elo"), settings.nomic_dir / "aragora_elo.db.restored", new_mark()
    shutil.copyfile(next(settings.backup_dir.glob("elo_*.db")), staged)
    for database in (staged, place):  # the second as if the restore had been killed behind its commit
        put_mark(database, mark)
    declare_together(settings.nomic_dir, [(place, Intent(staged.name, "aside.db", mark))])
    assert notes(place) == ["first", "later"]
    assert "aside.db" not in names_in(settings.nomic_dir)
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)


def test_no_room_is_found_before_anything_is_touched(settings: Settings) -> None:
    """Neither one database nor all are begun where the disk is too small; the error says how much is needed."""
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        for entry in writer.read().backups:
            writer.add_backup(replace(entry, plain_size_bytes=2**50))
    before = names_in(settings.nomic_dir)
    for restore_it in (lambda: restore_all(settings), lambda: restore("elo", settings)):
        with pytest.raises(StorageError, match=r"free, and this restore may take (1024|3072) TiB"):
            restore_it()
    assert names_in(settings.nomic_dir) == before
    assert all_notes(settings) == OLD


def test_where_there_is_room_for_the_new_file_alone_it_is_exchanged(settings: Settings) -> None:
    """To write into the open database takes room for a copy of it; nobody holds it, so its file gives way."""
    os.truncate(live(settings, "elo"), 2**42)  # SQLite does not mind what comes behind a database, and it takes no room
    result = restore("elo", settings)
    assert result.way is Way.IN_PLACE
    assert notes(live(settings, "elo")) == ["first"]
    assert result.replaced is not None
    assert result.replaced.stat().st_size == 2**42


def test_the_command_says_which_set_it_was(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Each database, then the run and when it began; as JSON the same."""
    run = restore_all(settings).chosen.run
    start = ["restore", "--nomic-dir", str(settings.nomic_dir), "--all"]
    assert main(start) == 0
    output = capsys.readouterr().out
    assert output.count("Restored ") == 3
    assert f"All are of run {run}, which began at 20" in output
    assert main([*start, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run"], len(document["databases"])) == (run, 3)
    assert main([*start, "--backup", "never"]) == 1
    assert "there is no run never" in capsys.readouterr().err


@pytest.mark.parametrize("offsite", [False, True])
def test_an_empty_machine_has_everything_again(settings: Settings, tmp_path: Path, *, offsite: bool) -> None:
    """With nothing but the backups, or the off-site store and the identity, in a folder that does not exist yet."""
    moved = replace(settings, nomic_dir=tmp_path / "new" / "machine")
    if offsite:
        (tmp_path / "bucket").mkdir()
        packed = replace(
            settings,
            backup_dir=tmp_path / "packed",
            backup_compression=Compression.ZSTD,
            backup_recipients=(make_identity(tmp_path / "identity"),),
            offsite_url=(tmp_path / "bucket").as_uri(),
        )
        restore_all(settings)
        back_up(packed)
        assert [outcome.error for outcome in ship(packed)] == [None] * 3
        lost = replace(packed, backup_dir=tmp_path / "new" / "backups", nomic_dir=moved.nomic_dir)
        with pytest.raises(InvalidValueError, match="IDENTITY"):
            restore_all(lost)
        moved = replace(lost, backup_identity_file=tmp_path / "identity")
    done = restore_all(moved)
    assert all_notes(moved) == NEW
    assert {result.way for result in done.results} == {Way.IN_PLACE}
