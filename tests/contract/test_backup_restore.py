"""Restoring: rows are compared after each one, and the state after each refusal and each kill."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.inventory import take_inventory
from aragora_persist.backup.restore.candidates import made_candidate
from aragora_persist.backup.restore.intent import Intent, declare, finish_interrupted_restore
from aragora_persist.backup.restore.origins import opened_origin
from aragora_persist.backup.restore.restoring import Way, restore
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import read_content, verify
from aragora_persist.errors import (
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    NotFoundError,
    StorageError,
)
from aragora_persist.migrations.folder import latest_version
from aragora_persist.settings import Settings
from aragora_persist.storage.schema import get_wal_connection
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.sqlite.files import is_being_restored
from aragora_persist.storage.user_store import UserStore
from tests.contract.backup_folders import names_in
from tests.full_disk import largest_file
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


# A service with our engine: four threads that share commits, each of which says a row when it is written. The rest
# between two is for those who wait: SQLite looks for a free lock in growing steps, and would hardly ever meet one that
# is free for an instant. Asked for it, it says whether its readers, which are open all the time, see the marker.
SERVICE = """
import sys, threading, time
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.engine import open_engine
engine = open_engine(sys.argv[1], "tokens")
say = threading.Lock()
def write(thread):
    for number in range(10**9):
        key = f"{thread}-{number}"
        with engine.transaction("add") as tx:
            tx.execute("INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, '9', '1')", (key,))
        with say:
            print(key, flush=True)
        time.sleep(0.004)
for thread in range(4):
    threading.Thread(target=write, args=(thread,), daemon=True).start()
for _ in sys.stdin:
    row = engine.read_one("look", "SELECT count(*) FROM token_blacklist WHERE jti = 'marker'")
    with say:
        print("sees", row[0], flush=True)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own, with a live database and its first backup."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")})
    settings.nomic_dir.mkdir()
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)")
        connection.execute("CREATE INDEX by_email ON users (email)")
        connection.execute(
            "INSERT INTO users (email) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) "
            "SELECT printf('%04d@example.com', i) FROM n"
        )
    take_backup("users", settings)
    return settings


def live(settings: Settings) -> Path:
    """Return the path of the live database."""
    return settings.nomic_dir / "aragora_users.db"


def impatient(settings: Settings) -> Settings:
    """Return the same settings with a short timeout."""
    environ = {"NOMIC_DIR": str(settings.nomic_dir), "DB_TIMEOUT": "0.2"}
    return Settings.from_env(environ)


def emails(path: Path) -> list[str]:
    """Return the rows of a database, after SQLite has found it sound."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT email FROM users ORDER BY id")]


def change(settings: Settings, email: str = "later") -> list[str]:
    """Add a row to the live database and return all."""
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        connection.execute("INSERT INTO users (email) VALUES (?)", (email,))
    return emails(live(settings))


def break_header(path: Path) -> None:
    """Make the file one that SQLite does not open."""
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def test_the_last_backup_comes_back_and_the_replaced_rows_are_kept(settings: Settings) -> None:
    """The live database has the backup's rows again, and the file kept beside it has those from before."""
    first = emails(live(settings))
    changed = change(settings)
    result = restore("users", settings)
    assert (result.way, result.target, result.equal) == (Way.INTO, live(settings), True)
    assert emails(live(settings)) == first
    assert result.replaced is not None
    assert emails(result.replaced) == changed
    assert names_in(settings.nomic_dir) == sorted(["aragora_users.db", result.replaced.name, "backups"])


def test_idle_connections_survive_and_see_the_restored_rows(settings: Settings) -> None:
    """A connection that is open but in no transaction goes on with the restored rows, and writes to them."""
    first = emails(live(settings))
    with closing(get_wal_connection(live(settings))) as idle:
        idle.execute("ALTER TABLE users ADD COLUMN extra TEXT")
        idle.execute("INSERT INTO users (email, extra) VALUES ('later', 'x')")
        idle.commit()
        restore("users", settings)
        assert [row[0] for row in idle.execute("SELECT email FROM users ORDER BY id")] == first
        assert len(idle.execute("SELECT * FROM users LIMIT 1").fetchone()) == 2
        idle.execute("INSERT INTO users (email) VALUES ('after')")
        idle.commit()
    assert emails(live(settings)) == [*first, "after"]


def test_an_open_store_goes_on_with_the_restored_rows(tmp_path: Path) -> None:
    """A store of ours that stays open over the restore finds the old user, not the later one, and can write."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path)})
    with UserStore(settings=settings) as users:
        users.create(email="first@example.com")
        entry = take_backup("users", settings)
        assert entry.content.schema_version == latest_version("users")
        users.create(email="later@example.com")
        assert restore("users", settings).way is Way.INTO
        assert users.get_by_email("first@example.com") is not None
        assert users.get_by_email("later@example.com") is None
        users.create(email="later@example.com")
        assert users.get_by_email("later@example.com") is not None


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN"])
def test_an_open_transaction_of_another_refuses_the_restore(settings: Settings, statement: str) -> None:
    """A holder that writes or reads in a transaction is a BusyError in time, and nothing has changed."""
    changed = change(settings)
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as holder:
        holder.execute(statement)
        holder.execute("SELECT * FROM users").fetchone()
        with pytest.raises(BusyError):
            restore("users", impatient(settings))
        holder.execute("ROLLBACK")
    assert emails(live(settings)) == changed
    assert names_in(settings.nomic_dir) == ["aragora_users.db", "backups"]
    assert restore("users", settings).equal


def test_an_exclusive_holder_refuses_the_restore(settings: Settings) -> None:
    """A connection in exclusive locking mode is a BusyError too, and goes on undisturbed."""
    changed = change(settings)
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("COMMIT")
        with pytest.raises(BusyError):
            restore("users", impatient(settings))
        assert [row[0] for row in holder.execute("SELECT email FROM users ORDER BY id")] == changed
    assert names_in(settings.nomic_dir) == ["aragora_users.db", "backups"]


def test_a_database_in_rollback_mode_is_restored_too(settings: Settings) -> None:
    """A live file that was copied into place by hand, in rollback mode, gives way like any other."""
    first = emails(live(settings))
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    change(settings)
    assert restore("users", settings).way is Way.INTO
    assert emails(live(settings)) == first


def test_a_missing_database_is_restored_and_stale_side_files_are_not_replayed(
    settings: Settings, tmp_path: Path
) -> None:
    """Where only a -wal of an older file remains, it is moved aside, and the rows are the backup's alone."""
    first = emails(live(settings))
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        connection.execute("INSERT INTO users (email) VALUES ('in the wal')")
        wal = live(settings).with_name("aragora_users.db-wal").read_bytes()
    live(settings).unlink()
    live(settings).with_name("aragora_users.db-wal").write_bytes(wal)
    result = restore("users", settings)
    assert (result.way, result.replaced) == (Way.IN_PLACE, None)
    assert emails(live(settings)) == first
    (aside,) = (path for path in settings.nomic_dir.iterdir() if ".replaced_" in path.name)
    assert aside.read_bytes() == wal
    # Without its file and without its folder it works as well: that is a new machine.
    moved = Settings.from_env(
        {"NOMIC_DIR": str(tmp_path / "new" / "machine"), "ARAGORA_BACKUP_DIR": str(settings.backup_dir)}
    )
    restore("users", moved)
    assert emails(live(moved)) == first


def test_a_file_that_sqlite_cannot_open_is_moved_aside(settings: Settings) -> None:
    """The damaged file is kept byte for byte, with its -wal, and the backup stands in its place."""
    first = emails(live(settings))
    break_header(live(settings))
    broken = live(settings).read_bytes()
    live(settings).with_name("aragora_users.db-wal").write_bytes(b"w" * 100)
    result = restore("users", settings)
    assert result.way is Way.IN_PLACE
    assert result.replaced is not None
    assert result.replaced.read_bytes() == broken
    assert result.replaced.with_name(result.replaced.name + "-wal").read_bytes() == b"w" * 100
    assert emails(live(settings)) == first
    assert not is_being_restored(live(settings))


def with_a_broken_page(path: Path) -> None:
    """Overwrite a page in the middle."""
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)


def cut_off(path: Path) -> None:
    """Leave the first half."""
    os.truncate(path, path.stat().st_size // 2)


def with_another_s_log(path: Path) -> None:
    """Leave a log beside it that belongs to another state, as the documented `cp` does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE users SET email = email || 'x' WHERE id > 100")
        log = path.with_name(f"{path.name}-wal").read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM users WHERE id < 300")
        connection.execute("VACUUM")
    path.with_name(f"{path.name}-wal").write_bytes(log)


@pytest.mark.parametrize("spoil", [with_a_broken_page, cut_off, with_another_s_log, break_header, Path.unlink])
def test_no_damage_survives_the_restore(settings: Settings, spoil: Callable[[Path], None]) -> None:
    """Whatever is wrong with the live file: afterwards every page is the backup's, and what was there is kept."""
    first = emails(live(settings))
    spoil(live(settings))
    size = live(settings).stat().st_size if live(settings).exists() else None
    result = restore("users", settings)
    assert result.equal
    assert emails(live(settings)) == first
    assert (result.replaced.stat().st_size if result.replaced else None) == size


def test_a_full_disk_changes_nothing_and_leaves_nothing(settings: Settings) -> None:
    """Where the log cannot grow, the error says so; the copy that was to be kept does not take the last room."""
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        connection.execute("DELETE FROM users WHERE id > 1")
        connection.execute("VACUUM")
    rows = emails(live(settings))
    with largest_file(34_000), pytest.raises(StorageError):
        restore("users", settings)
    assert emails(live(settings)) == rows
    assert names_in(settings.nomic_dir) == ["aragora_users.db", "backups"]


def test_another_page_size_is_replaced_in_place_and_only_without_holders(settings: Settings) -> None:
    """SQLite cannot write pages of another size into a file: then the file is exchanged, unless someone has it open."""
    first = emails(live(settings))
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        for statement in ("journal_mode = DELETE", "page_size = 8192"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")
    changed = change(settings)
    with closing(get_wal_connection(live(settings))) as idle:
        with pytest.raises(BusyError):
            restore("users", impatient(settings))
        assert [row[0] for row in idle.execute("SELECT email FROM users ORDER BY id")] == changed
    assert names_in(settings.nomic_dir) == ["aragora_users.db", "backups"]
    result = restore("users", settings)
    assert result.way is Way.IN_PLACE
    assert emails(live(settings)) == first
    assert result.replaced is not None
    assert emails(result.replaced) == changed


def test_to_writes_a_new_file_and_never_overwrites(settings: Settings, tmp_path: Path) -> None:
    """With a path the live database is not touched; a path that is taken, or whose -wal is, is refused."""
    first = emails(live(settings))
    changed = change(settings)
    target = tmp_path / "scratch" / "users.db"
    assert restore("users", settings, to=target).way is Way.NEW_FILE
    assert emails(target) == first
    assert emails(live(settings)) == changed
    for taken in (target, tmp_path / "scratch" / "other.db-wal"):
        taken.write_bytes(b"mine")
        with pytest.raises(ConflictError):
            restore("users", settings, to=tmp_path / "scratch" / taken.name.removesuffix("-wal"))
        assert taken.read_bytes() == b"mine"
    assert names_in(tmp_path / "scratch") == ["other.db-wal", "users.db"]


def test_a_backup_is_found_by_its_id_and_by_a_moment(settings: Settings, tmp_path: Path) -> None:
    """An id names one backup; a moment names the newest that is not younger; neither is a guess."""
    (first,) = take_inventory(settings).intact()
    change(settings)
    second = take_backup("users", settings)
    assert restore("users", settings, to=tmp_path / "a.db", backup_id=first.id).entry == first
    assert restore("users", settings, to=tmp_path / "b.db", at=second.created_at).entry == second
    between = second.created_at - timedelta(microseconds=1)
    assert restore("users", settings, to=tmp_path / "c.db", at=between).entry == first
    for moment in (first.created_at - timedelta(microseconds=1), datetime(2000, 1, 1, tzinfo=UTC)):
        with pytest.raises(NotFoundError):
            restore("users", settings, to=tmp_path / "d.db", at=moment)
    with pytest.raises(NotFoundError, match="users_never"):
        restore("users", settings, to=tmp_path / "d.db", backup_id="users_never")
    with pytest.raises(NotFoundError):
        restore("elo", settings, to=tmp_path / "d.db", backup_id=first.id)
    with pytest.raises(InvalidValueError):
        restore("users", settings, to=tmp_path / "d.db", at=datetime(2030, 1, 1))  # noqa: DTZ001 - naive on purpose
    assert names_in(tmp_path) == ["a.db", "b.db", "c.db", "data"]


@pytest.mark.parametrize("damage", ["gone", "shorter", "one bit"])
def test_a_damaged_backup_is_never_restored(settings: Settings, damage: str) -> None:
    """The live database stays as it is, and the hint names the newest sound backup."""
    (sound,) = take_inventory(settings).intact()
    changed = change(settings)
    backup = settings.backup_dir / take_backup("users", settings).file
    data = bytearray(backup.read_bytes())
    data[6000] ^= 1
    if damage == "gone":
        backup.unlink()
    else:
        backup.write_bytes(data[:-1] if damage == "shorter" else data)
    with pytest.raises(DamagedError) as raised:
        restore("users", settings)
    assert sound.id in raised.value.hint
    assert emails(live(settings)) == changed
    assert names_in(settings.nomic_dir) == ["aragora_users.db", "backups"]


def test_a_file_without_an_entry_is_never_restored(settings: Settings) -> None:
    """A newer file in the folder that no entry vouches for is passed over."""
    first = emails(live(settings))
    change(settings)
    (settings.backup_dir / "users_29990101_000000.db").write_bytes(b"")
    restore("users", settings)
    assert emails(live(settings)) == first


def test_a_running_service_sees_the_restored_rows_and_loses_none(tmp_path: Path) -> None:
    """While its threads commit together: each row that it was told is written is in a kept file or in the live one."""
    settings, said = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")}), tmp_path / "said"
    path = settings.nomic_dir / "aragora_tokens.db"
    open_engine(path, "tokens", settings=settings).close()
    take_backup("tokens", settings)
    with closing(get_wal_connection(path)) as connection, connection:
        connection.execute("INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES ('marker', '9', '1')")
    with (
        said.open("wb") as output,
        subprocess.Popen([sys.executable, "-c", SERVICE, str(path)], stdin=subprocess.PIPE, stdout=output) as service,
    ):
        assert service.stdin is not None

        def look(count: int) -> None:
            assert service.stdin is not None
            service.stdin.write(b"?\n")
            service.stdin.flush()
            wait_until(lambda: said.read_bytes().count(b"sees ") == count, "the service to say what it sees")

        try:
            look(1)
            for number in range(1, 4):
                already = len(said.read_bytes().splitlines())
                wait_until(lambda least=already + 40: len(said.read_bytes().splitlines()) > least, "rows")  # type: ignore[misc] # a default binds the number
                assert restore("tokens", settings).way is Way.INTO
                look(1 + number)
        finally:
            service.kill()
    lines = [line.decode().strip() for line in said.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert [line for line in lines if line.startswith("sees")] == ["sees 1", "sees 0", "sees 0", "sees 0"]
    kept = [path for path in settings.nomic_dir.iterdir() if ".replaced_" in path.name]
    assert len(kept) == 3
    found = {key for file in (*kept, path) for key in jtis(file)}
    assert {line for line in lines if not line.startswith("sees")} - found == set()


def jtis(path: Path) -> list[str]:
    """Return the tokens in a database that is sound."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT jti FROM token_blacklist")]


def test_a_hot_journal_is_rolled_back_before_it_could_be_replayed(settings: Settings) -> None:
    """A writer in rollback mode was cut off: what was committed before is kept, and the rows are the backup's."""
    first = emails(live(settings))
    with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
        for statement in ("journal_mode = DELETE", "synchronous = OFF", "cache_size = 1", "cache_spill = 1"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("INSERT INTO users (email) VALUES ('later')")
        connection.execute("BEGIN")
        connection.execute("UPDATE users SET email = email || printf('%.200c', 'x')")
        halfway = {ending: live(settings).with_name(f"aragora_users.db{ending}") for ending in ("", "-journal")}
        content = {path: path.read_bytes() for path in halfway.values()}
    for path, data in content.items():
        path.write_bytes(data)
    result = restore("users", settings)
    assert emails(live(settings)) == first
    assert result.replaced is not None
    assert emails(result.replaced) == [*first, "later"]
    assert not halfway["-journal"].exists()


@pytest.mark.parametrize("what", ["its header is broken", "it was removed"])
def test_who_has_a_lost_file_open_holds_up_the_restore(settings: Settings, what: str) -> None:
    """It would go on writing to what is moved aside or gone; when it has ended, the restore goes ahead."""
    first = emails(live(settings))
    with closing(get_wal_connection(live(settings))) as holder:
        holder.execute("SELECT * FROM users").fetchall()
        content = live(settings).read_bytes()
        if what == "it was removed":
            live(settings).unlink()
        else:
            break_header(live(settings))
        before = names_in(settings.nomic_dir)
        with pytest.raises(BusyError, match="stop the services"):
            restore("users", impatient(settings))
        assert names_in(settings.nomic_dir) == before
        if what != "it was removed":
            live(settings).write_bytes(content)  # so that the holder can end in good order
    if what != "it was removed":
        break_header(live(settings))
    assert restore("users", settings).way is Way.IN_PLACE
    assert emails(live(settings)) == first


def test_what_takes_a_file_s_place_has_its_rights(settings: Settings) -> None:
    """A group that could read the database still can."""
    live(settings).chmod(0o640)
    break_header(live(settings))
    result = restore("users", settings)
    assert (result.way, live(settings).stat().st_mode & 0o777) == (Way.IN_PLACE, 0o640)


def test_a_place_that_cannot_be_written_is_told(settings: Settings) -> None:
    """The error names it and the way out; nothing is made."""
    changed = change(settings)
    (settings.nomic_dir / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="cannot be written") as raised:
        restore("users", settings, to=settings.nomic_dir / "file" / "users.db")
    assert raised.value.hint
    assert emails(live(settings)) == changed


def test_every_step_of_an_exchange_can_be_the_last_one_before_a_kill(settings: Settings, tmp_path: Path) -> None:
    """From each state that a kill can leave, the next opener completes the exchange and finds the new rows."""
    first = emails(live(settings))
    restore("users", settings, to=tmp_path / "new.db")
    new = (tmp_path / "new.db").read_bytes()
    for moved in range(4):
        change(settings)
        with closing(sqlite3.connect(live(settings), isolation_level=None)) as connection:
            connection.execute("INSERT INTO users (email) VALUES ('in the wal')")
            files = {
                ending: live(settings).with_name(f"aragora_users.db{ending}").read_bytes() for ending in ("-wal", "")
            }
        for ending, content in files.items():
            live(settings).with_name(f"aragora_users.db{ending}").write_bytes(content)
        staged = live(settings).with_name("aragora_users.db.restored")
        staged.write_bytes(new)
        aside = live(settings).with_name(f"aragora_users.replaced_{moved}.db")
        declare(live(settings), Intent(staged=staged.name, replaced=aside.name))
        if moved >= 1:
            live(settings).with_name("aragora_users.db-wal").rename(f"{aside}-wal")
        if moved >= 2:
            live(settings).rename(aside)
        if moved >= 3:
            staged.rename(live(settings))
        get_wal_connection(live(settings)).close()
        assert emails(live(settings)) == first
        assert aside.exists()
        assert not is_being_restored(live(settings))


def test_openers_give_way_to_an_exchange_that_cannot_be_completed(settings: Settings) -> None:
    """While someone has the old file open, or when the new one is lost, opening is refused and nothing is moved."""
    changed = change(settings)
    staged = live(settings).with_name("aragora_users.db.restored")
    with closing(get_wal_connection(live(settings))) as holder:
        staged.write_bytes(b"new")
        declare(live(settings), Intent(staged=staged.name, replaced="aside.db"))
        with pytest.raises(BusyError):
            finish_interrupted_restore(live(settings), timeout_s=0.1)
        assert [row[0] for row in holder.execute("SELECT email FROM users ORDER BY id")] == changed
        assert staged.read_bytes() == b"new"
    staged.unlink()
    live(settings).rename(live(settings).with_name("elsewhere.db"))
    with pytest.raises(DamagedError, match="restore"):
        get_wal_connection(live(settings))
    assert not live(settings).exists()
    # A new restore takes the place of the one that cannot be completed.
    restore("users", settings)
    assert emails(live(settings)) == changed[:-1]
    assert not is_being_restored(live(settings))


def test_a_restored_file_equals_its_entry_in_every_table(settings: Settings, tmp_path: Path) -> None:
    """The entry's rows and digests are those of the restored file and of the live database."""
    entry = restore("users", settings, to=tmp_path / "copy.db").entry
    assert entry is not None
    assert verify(tmp_path / "copy.db").sha256 == entry.sha256
    restore("users", settings)
    with closing(get_wal_connection(live(settings))) as connection:
        assert read_content(connection, live(settings)) == entry.content


def test_pages_are_compared_but_for_what_the_header_counts(settings: Settings, tmp_path: Path) -> None:
    """A database that was restored differs from its backup in its counters and its mode alone; one bit more is seen."""
    with (
        opened_origin("users", settings, backup_id=None, at=None, file=None) as origin,
        made_candidate(origin, "users", live=None, migrate=False) as candidate,
    ):
        restore("users", settings)
        copy = tmp_path / "copy.db"
        copy_into(live(settings), copy, timeout_s=PATIENCE_S)
        data = copy.read_bytes()
        assert data != origin.path.read_bytes()
        assert candidate.has_the_pages_of(copy)
        for place in (20, 60, 101, 5000, len(data) - 1):
            copy.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert not candidate.has_the_pages_of(copy)
        copy.write_bytes(data + b"x")
        assert not candidate.has_the_pages_of(copy)
