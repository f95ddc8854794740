"""Copies made by hand: each documented way of making one is taken; what is wrong with one is told, with a way out."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from aragora_persist.backup.restore.handmade import opened_file
from aragora_persist.backup.restore.restoring import Way, restore
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import verify
from aragora_persist.cli import main
from aragora_persist.errors import (
    ConflictError,
    DamagedError,
    MigrationError,
    NotFoundError,
    PersistError,
    SchemaOutdatedError,
    SchemaTooNewError,
    StorageError,
)
from aragora_persist.migrations.folder import folder_of, latest_version
from aragora_persist.migrations.runner import migrate
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable

LATER = "9999-12-31T00:00:00.000000Z"
# Writes a row that stays in the log, and is killed.
KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
connection.execute("INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES ('in the log', '9', '1')")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own, with a database of tokens in it that nobody has open."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data"), "DB_TIMEOUT": "5"})
    add(settings, "first")
    return settings


def live(settings: Settings) -> Path:
    """Return the path of the live database."""
    return settings.nomic_dir / "aragora_tokens.db"


def add(settings: Settings, *keys: str) -> None:
    """Add rows to the live database as a service does."""
    with open_engine(None, "tokens", settings=settings) as engine:
        for key in keys:
            with engine.transaction("test.add") as tx:
                insert = "INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, ?, ?)"
                tx.execute(insert, (key, LATER, LATER))


def keys(path: Path) -> list[str]:
    """Return the rows of a sound database."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [key for (key,) in connection.execute("SELECT jti FROM token_blacklist ORDER BY jti")]


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder with its bytes: what a read without a trace leaves as it is."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def by_cp(settings: Settings, copy: Path) -> list[str]:
    """Copy as documented, while nobody has the database open."""
    shutil.copyfile(live(settings), copy)
    return ["first"]


def by_sqlite3(settings: Settings, copy: Path) -> list[str]:
    """Copy with the `.backup` of SQLite's shell."""
    command = [sys.executable, "-m", "apsw", str(live(settings)), f".backup '{copy}'"]
    subprocess.run(command, check=True, capture_output=True)
    return ["first"]


def with_its_log(settings: Settings, copy: Path) -> list[str]:
    """Copy all files of a killed service."""
    subprocess.run([sys.executable, "-c", KILLED, str(live(settings))], check=False)
    for ending in ("", "-wal", "-shm"):
        shutil.copyfile(f"{live(settings)}{ending}", f"{copy}{ending}")
    return ["first", "in the log"]


def with_its_log_alone(settings: Settings, copy: Path) -> list[str]:
    """Copy the database and its log, without the shared memory."""
    found = with_its_log(settings, copy)
    Path(f"{copy}-shm").unlink()
    return found


def with_a_journal(settings: Settings, copy: Path) -> list[str]:
    """Copy a database in rollback mode in the middle of a transaction, with the journal that undoes it."""
    shutil.copyfile(live(settings), copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = 1", "cache_spill = 1"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for number in range(300):
            insert = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, '9', '1')"
            connection.execute(insert, (f"undone {number}", "x" * 400))
        halfway = {ending: Path(f"{copy}{ending}").read_bytes() for ending in ("", "-journal")}
    for ending, content in halfway.items():
        Path(f"{copy}{ending}").write_bytes(content)
    return ["first"]


def compressed(settings: Settings, copy: Path) -> list[str]:
    """Take a backup of the sidecar's form whose catalog is lost."""
    environ = {"NOMIC_DIR": str(settings.nomic_dir), "ARAGORA_BACKUP_COMPRESSION": "zstd"}
    packed = Settings.from_env(environ)
    (packed.backup_dir / take_backup("tokens", packed).file).rename(copy.with_suffix(".db.zst"))
    return ["first"]


def replaced(settings: Settings, copy: Path) -> list[str]:
    """Take the file that a restore has kept."""
    take_backup("tokens", settings)
    add(settings, "before the restore")
    kept = restore("tokens", settings).replaced
    assert kept
    kept.rename(copy)
    return ["before the restore", "first"]


@pytest.mark.parametrize(
    "made", [by_cp, by_sqlite3, with_its_log, with_its_log_alone, with_a_journal, compressed, replaced]
)
def test_a_copy_is_taken_however_it_was_made(
    settings: Settings, tmp_path: Path, made: Callable[[Settings, Path], list[str]]
) -> None:
    """Its committed rows are live afterwards, it was read without a trace, and the rows from before are kept."""
    folder = tmp_path / "copies"
    folder.mkdir()
    expected = made(settings, folder / "copy.db")
    (file,) = (path for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm", "-journal")))
    add(settings, "later")
    before, live_before = listing(folder), keys(live(settings))
    result = restore("tokens", settings, file=file)
    assert keys(live(settings)) == expected
    assert result.replaced is not None
    assert keys(result.replaced) == live_before
    assert (result.equal, result.entry, result.source) == (True, None, str(file))
    assert listing(folder) == before


def test_a_copy_without_its_log_says_what_may_be_missing(settings: Settings, tmp_path: Path) -> None:
    """A plain cp of a database in WAL mode is told of; one that is whole by itself is not."""
    by_cp(settings, tmp_path / "cp.db")
    by_sqlite3(settings, tmp_path / "shell.db")
    assert "last transactions" in restore("tokens", settings, file=tmp_path / "cp.db").notes[0]
    with closing(sqlite3.connect(tmp_path / "shell.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    assert restore("tokens", settings, file=tmp_path / "shell.db").notes == ()


def torn(copy: Path) -> None:
    """Exchange a page in the middle, as a copy of a file that is being written has it."""
    data = copy.read_bytes()
    copy.write_bytes(data[:4096] + data[8192:12288] + data[8192:])


def without_tables(copy: Path) -> None:
    """Leave what a killed `.backup` leaves: it opens, passes every check, and holds nothing."""
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("VACUUM")


def cut_off(copy: Path) -> None:
    """Leave what a killed cp leaves."""
    copy.write_bytes(copy.read_bytes()[:8192])


def dumped(copy: Path) -> None:
    """Put a dump in its place."""
    copy.write_text("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n")


def zipped(copy: Path) -> None:
    """Compress it by hand."""
    copy.write_bytes(gzip.compress(copy.read_bytes()))


def beside_an_old_log(copy: Path) -> None:
    """Copy a database over another one, whose log stays beside it: what the documented restore does."""
    other = copy.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE mine (a)")
        connection.executemany("INSERT INTO mine VALUES (?)", [("x" * 500,)] * 200)
        shutil.copyfile(f"{other}-wal", f"{copy}-wal")
    other.unlink()


def newer(copy: Path) -> None:
    """Make its ledger that of a release from the future."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO schema_version SELECT version + 1, '999_future', 'x', applied_at, 1, '99.0.0', '99.0.0' "
            "FROM schema_version ORDER BY version DESC LIMIT 1"
        )


def another(copy: Path) -> None:
    """Put another database of this package in its place."""
    copy.unlink()
    open_engine(copy, "elo", settings=Settings.from_env({})).close()


def foreign(copy: Path) -> None:
    """Put a database of another program in its place."""
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE token_blacklist (jti TEXT)")


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (Path.unlink, NotFoundError, "is not there"),
        (lambda copy: copy.write_bytes(b""), DamagedError, "is empty"),
        (lambda copy: copy.write_bytes(b"not a database" * 100), DamagedError, "is not a SQLite database"),
        (lambda copy: (copy.unlink(), copy.mkdir()), StorageError, "is a folder"),
        (cut_off, DamagedError, "is cut off: 8.0 KiB of"),
        (torn, DamagedError, r"torn or damaged copy.*recover tokens --from"),
        (without_tables, DamagedError, "holds no table"),
        (dumped, DamagedError, "is SQL text.*sqlite3 NEW <"),
        (zipped, DamagedError, "gzip.*gunzip"),
        (beside_an_old_log, DamagedError, "does not belong to the -wal.*move .*-wal away"),
        (newer, SchemaTooNewError, "99.0.0.*upgrade aragora-persist"),
        (another, MigrationError, "is a database 'elo'"),
        (foreign, MigrationError, "migrate --adopt --db tokens --from"),
    ],
)
def test_what_is_wrong_with_a_copy_is_told_before_anything_is_touched(
    settings: Settings, tmp_path: Path, spoil: Callable[[Path], object], error: type[PersistError], said: str
) -> None:
    """The error names the copy, what is wrong, and the way out; live database and copy are as before."""
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = folder / "copy.db"
    by_cp(settings, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    spoil(copy)
    before = listing(folder), listing(settings.nomic_dir)
    with pytest.raises(error, match=said) as raised:
        restore("tokens", settings, file=copy)
    assert raised.value.target == str(copy)
    assert raised.value.hint
    assert (listing(folder), listing(settings.nomic_dir)) == before


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one sound copy in rollback mode, to be spoiled again and again."""
    folder = tmp_path_factory.mktemp("copies")
    open_engine(folder / "sound.db", "tokens", settings=Settings.from_env({})).close()
    with closing(sqlite3.connect(folder / "sound.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return folder


@given(length=st.integers(0, 24576), places=st.lists(st.integers(0, 24575), max_size=4), log=st.binary(max_size=64))
@settings_of_hypothesis(max_examples=25)
def test_whatever_a_file_holds_it_is_taken_whole_or_refused(
    copies: Path, length: int, places: list[int], log: bytes
) -> None:
    """Cut off anywhere, with bytes changed anywhere and any log beside it: no error but one with a way out."""
    data = bytearray((copies / "sound.db").read_bytes())
    for place in places:
        data[place % len(data)] ^= 0xFF
    spoilt = copies / "spoilt.db"
    spoilt.write_bytes(data[: length or None])
    Path(f"{spoilt}-wal").write_bytes(log)
    before, refused = listing(copies), None
    try:
        with opened_file(spoilt, "tokens", Settings.from_env({})) as (copy, found, _):
            assert verify(copy) == found
    except PersistError as error:
        refused = error
    assert refused is None or (refused.target, refused.hint != "") == (str(spoilt), True)
    assert listing(copies) == before


def test_the_live_database_is_no_copy_of_itself(settings: Settings, tmp_path: Path) -> None:
    """It is refused, under another name too, and so are the other live ones."""
    (tmp_path / "link.db").symlink_to(live(settings))
    (tmp_path / "same.db").hardlink_to(live(settings))
    open_engine(None, "elo", settings=settings).close()
    for name in (live(settings), tmp_path / "link.db", tmp_path / "same.db", settings.nomic_dir / "aragora_elo.db"):
        with pytest.raises(ConflictError, match="is a live database"):
            restore("tokens", settings, file=name)
    assert keys(live(settings)) == ["first"]


def test_a_file_of_the_catalog_is_compared_with_its_entry(settings: Settings) -> None:
    """Named as a file, a backup is the backup; with one bit changed it is refused, though it looks sound."""
    entry = take_backup("tokens", settings)
    file = settings.backup_dir / entry.file
    add(settings, "later")
    assert restore("tokens", settings, file=file).entry == entry
    assert keys(live(settings)) == ["first"]
    data = bytearray(file.read_bytes())
    data[data.index(LATER.encode())] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedError):
        restore("tokens", settings, file=file)


def old_ratings(settings: Settings, path: Path) -> None:
    """Make a database of ratings with the first of its migrations alone."""
    folder = settings.nomic_dir.parent / "migrations"
    folder.mkdir()
    shutil.copy(folder_of("elo") / "001_initial.py", folder)
    migrate(path, "elo", folder=folder, settings=settings)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def test_an_older_schema_is_migrated_before_it_takes_anything_s_place(settings: Settings, tmp_path: Path) -> None:
    """Without --migrate it is not put under a newer live database; a migration that fails changes nothing."""
    copy, place = tmp_path / "old.db", settings.nomic_dir / "aragora_elo.db"
    old_ratings(settings, copy)
    assert "version 1 of" in restore("elo", settings, file=copy, to=tmp_path / "as_it_is.db").notes[0]
    open_engine(None, "elo", settings=settings).close()
    before = listing(settings.nomic_dir), listing(tmp_path)
    with pytest.raises(SchemaOutdatedError, match=r"has schema 1.*--migrate"):
        restore("elo", settings, file=copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX idx_history_order ON elo_history(id)")
    with pytest.raises(MigrationError, match="already exists"):
        restore("elo", settings, file=copy, migrate=True)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("DROP INDEX idx_history_order")
    assert listing(settings.nomic_dir) == before[0]
    result = restore("elo", settings, file=copy, migrate=True)
    assert result.migrated[0] == "002_history_order"
    assert (result.way, result.equal) == (Way.INTO, True)
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (latest_version("elo"),)
    assert sorted(listing(tmp_path)) == sorted(before[1])


def test_an_older_backup_is_migrated_too(settings: Settings) -> None:
    """One from the catalog, onto a machine that has no such database."""
    place = settings.nomic_dir / "aragora_elo.db"
    old_ratings(settings, place)
    take_backup("elo", settings)
    place.unlink()
    assert restore("elo", settings, migrate=True).migrated[0] == "002_history_order"
    open_engine(None, "elo", settings=settings).close()
    assert place.exists()


def test_the_command_says_what_is_wrong_and_what_was_done(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The note of a plain cp stands in the answer, a refusal on stderr; what does not go together is exit code 2."""
    by_cp(settings, tmp_path / "cp.db")
    start = ["restore", "--nomic-dir", str(settings.nomic_dir)]
    assert main([*start, "tokens", str(tmp_path / "cp.db")]) == 0
    assert "Note: it is a copy of a database in WAL mode" in capsys.readouterr().out
    assert main([*start, "tokens", "--to", str(tmp_path / "new.db"), str(tmp_path / "cp.db")]) == 0
    assert f"Restored {tmp_path / 'cp.db'} to a new file" in capsys.readouterr().out
    assert main([*start, "tokens", str(tmp_path / "missing.db")]) == 1
    assert "way out: " in capsys.readouterr().err
    pair = ["tokens", "x.db"]
    for wrong in ([], ["tokens", "--all"], [*pair, "--backup", "y"], [*pair, "z"], ["tokens", "--json", ""]):
        with pytest.raises(SystemExit, match="2"):
            main([*start, *wrong])
