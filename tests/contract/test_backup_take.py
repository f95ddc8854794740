"""Taking, listing, verifying and removing backups, on real files; the state after each failure is asserted too."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist import times
from aragora_persist.backup.catalog import FILE_NAME, Catalog
from aragora_persist.backup.inventory import FileState, take_inventory
from aragora_persist.backup.lines import to_line
from aragora_persist.backup.restore.choosing import choose_backup
from aragora_persist.backup.take import apply_retention, foresee_retention, take_all, take_backup
from aragora_persist.backup.verify import verify
from aragora_persist.errors import DamagedError, InvalidValueError, NotFoundError, StorageError
from aragora_persist.migrations.progress import step
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.copying import copy_into
from tests.contract.backup_folders import execute, flip, make_database, names_in, refused_to_nobody
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own."""
    return Settings.from_env({"NOMIC_DIR": str(tmp_path / "data")})


def test_a_backup_is_a_verified_file_with_a_documented_name(settings: Settings) -> None:
    """The entry says what the file holds, the file is one that plain sqlite3 opens, and nothing else is left."""
    make_database(settings)
    before = datetime.now(UTC)
    entry = take_backup("users", settings)
    assert entry.file == f"users_{entry.created_at:%Y%m%d_%H%M%S}.db"
    assert before <= entry.created_at <= datetime.now(UTC)
    assert entry.content.schema_version == 2
    assert {name: table.rows for name, table in entry.content.tables.items()} == {
        "notes": 1,
        "schema_version": 2,
        "users": 3,
    }
    path = settings.backup_dir / entry.file
    verification = verify(path)
    assert (verification.sha256, verification.size_bytes) == (entry.sha256, entry.size_bytes)
    assert verification.content == entry.content
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]
    assert (path.stat().st_mode & 0o777, settings.backup_dir.stat().st_mode & 0o777) == (0o600, 0o700)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT email FROM users WHERE id = 2").fetchone() == ("2@example.com",)
    assert take_inventory(settings, check=True).intact("users") == (entry,)


def test_backups_within_one_second_do_not_collide(settings: Settings) -> None:
    """Takers at the same time each get a backup of their own, and all are sound."""
    make_database(settings)
    threads = [threading.Thread(target=take_backup, args=("users", settings)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = take_inventory(settings, check=True).intact("users")
    assert len({entry.id for entry in entries}) == 6
    assert names_in(settings.backup_dir) == sorted([FILE_NAME, *(entry.file for entry in entries)])


def test_a_name_is_not_used_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one second, neither a name of a removed backup nor that of a foreign file is taken."""
    make_database(settings)
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(times, "utc_now", lambda: moment)
    settings.backup_dir.mkdir()
    (settings.backup_dir / "users_20260301_120000.db").write_bytes(b"by hand")
    first, second = take_backup("users", settings), take_backup("users", settings)
    assert [first.id, second.id] == ["users_20260301_120000_2", "users_20260301_120000_3"]
    decisions = apply_retention(settings, now=moment + timedelta(days=8))
    assert [decision.keep for decision in decisions] == [False, True]
    assert take_backup("users", settings).id == "users_20260301_120000_4"
    assert (settings.backup_dir / "users_20260301_120000.db").read_bytes() == b"by hand"


def test_the_digest_follows_the_rows_alone(settings: Settings) -> None:
    """VACUUM moves pages and keeps the digests; a changed value, type or row changes that table's and no other."""
    path = make_database(settings)
    before = take_backup("users", settings).content.tables
    execute(path, "VACUUM")
    assert take_backup("users", settings).content.tables == before
    for change in (
        "UPDATE users SET email = 'x' WHERE id = 1",
        "UPDATE users SET extra = 1 WHERE id = 2",
        "UPDATE users SET extra = '1' WHERE id = 2",
        "UPDATE users SET extra = x'31' WHERE id = 2",
        "UPDATE users SET extra = NULL WHERE id = 2",
        "DELETE FROM users WHERE id = 2",
    ):
        execute(path, change)
        after = take_backup("users", settings).content.tables
        assert after["users"] != before["users"], change
        assert after["notes"] == before["notes"]
        before = after


def test_the_digest_has_the_form_that_earlier_releases_recorded(settings: Settings) -> None:
    """Every type, both quotes, newlines, backslashes, text outside of ASCII, and bytes that are no text."""
    path = make_database(settings)
    execute(path, "CREATE TABLE kinds (a, b TEXT)")
    for value in ("1", "1.0", "0.1", "1e300", "'it''s \"ü\"\n\\'", "x'00ff27220a5c'", "NULL", "CAST(x'ff41' AS TEXT)"):
        execute(path, f"INSERT INTO kinds VALUES ({value}, '😀')")
    found = take_backup("users", settings).content.tables["kinds"]
    assert (found.rows, found.digest) == (8, "41866e14c5c73825e97de96019092cce412b204fb0fbf9d764c28442d646b601")


def test_large_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    """Memory follows the largest row, not the table: a machine that holds the database can also back it up."""
    path = tmp_path / "large.db"
    execute(path, "CREATE TABLE large (content BLOB)")
    execute(path, f"INSERT INTO large {' UNION ALL '.join(['SELECT zeroblob(1000000)'] * 40)}")
    tracemalloc.start()
    try:
        assert verify(path).content.tables["large"].rows == 40
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_odd_tables_are_read(settings: Settings) -> None:
    """Tables without a rowid, with columns that hide it, with invalid text, or full-text ones do not stop a backup."""
    path = make_database(settings)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE keyed (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID")
        connection.execute("INSERT INTO keyed VALUES ('x', 2), ('y', 1)")
        connection.execute('CREATE TABLE "hid""ing" (rowid TEXT, oid TEXT, _ROWID_ TEXT)')
        connection.execute('INSERT INTO "hid""ing" VALUES (1, 2, 3)')
        connection.execute("CREATE TABLE torn (text TEXT)")
        connection.execute("INSERT INTO torn VALUES (CAST(x'ff41' AS TEXT)), ('ü\n')")
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        connection.execute("INSERT INTO words VALUES ('alpha beta')")
        connection.execute("CREATE TABLE _litestream_seq (id INTEGER)")
    tables = take_backup("users", settings).content.tables
    assert {name: table.rows for name, table in tables.items() if name in {"keyed", 'hid"ing', "torn"}} == {
        "keyed": 2,
        'hid"ing': 1,
        "torn": 2,
    }
    assert "_litestream_seq" not in tables
    assert tables["words_content"].rows == 1


@pytest.mark.parametrize("ledger", ["version TEXT DEFAULT 'v1'", "number INTEGER"])
def test_a_ledger_of_another_program_is_no_version(settings: Settings, ledger: str) -> None:
    """A table of the same name with other contents does not stop a backup."""
    path = make_database(settings)
    execute(path, "DROP TABLE schema_version")
    execute(path, f"CREATE TABLE schema_version ({ledger})")
    execute(path, "INSERT INTO schema_version DEFAULT VALUES")
    assert take_backup("users", settings).content.schema_version is None


def test_a_foreign_key_that_sqlite_cannot_check_does_not_end_backups(settings: Settings) -> None:
    """One that names columns which are not unique: the rest is counted, and the table is in the backup."""
    path = make_database(settings)
    execute(path, "INSERT INTO notes VALUES (99, 'orphan')")
    execute(path, "CREATE TABLE parent (a)")
    execute(path, "CREATE TABLE child (a REFERENCES parent(a))")
    execute(path, "INSERT INTO child VALUES (1)")
    content = take_backup("users", settings).content
    assert (content.foreign_key_violations, content.tables["child"].rows) == (1, 1)


def test_rows_that_refer_to_nothing_are_counted_and_do_not_end_backups(settings: Settings) -> None:
    """A foreign key that is broken in the live database is in the entry."""
    execute(make_database(settings), "INSERT INTO notes VALUES (99, 'orphan')")
    assert take_backup("users", settings).content.foreign_key_violations == 1


def test_a_damaged_database_makes_no_backup(settings: Settings) -> None:
    """Damage inside the live file is an error, and what was there before is all there is afterwards."""
    path = make_database(settings, rows=5000)
    entry = take_backup("users", settings)
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096 * 12)
        file.write(b"\xff" * 4096)
    with pytest.raises(DamagedError):
        take_backup("users", settings)
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]
    assert take_inventory(settings, check=True).intact() == (entry,)


@pytest.mark.parametrize("content", [None, "empty", "without tables"])
def test_what_holds_nothing_is_not_backed_up(settings: Settings, content: str | None) -> None:
    """A missing database, an empty file and one without tables are errors and leave no file."""
    settings.nomic_dir.mkdir()
    path = settings.nomic_dir / "aragora_users.db"
    if content == "empty":
        path.touch()
    elif content:
        execute(path, "PRAGMA journal_mode = WAL")
    with pytest.raises(NotFoundError):
        take_backup("users", settings)
    assert not settings.backup_dir.exists() or names_in(settings.backup_dir) == []
    assert path.exists() == (content is not None)


def test_an_unknown_database_is_refused(settings: Settings) -> None:
    """A name that is not in the registry is an error that lists those that are, and nothing is made."""
    with pytest.raises(InvalidValueError, match="users"):
        take_backup("../users", settings)
    assert not settings.nomic_dir.exists()


def test_one_failure_does_not_stop_the_others(settings: Settings) -> None:
    """Of three databases the damaged one is reported and the other two are backed up."""
    for name in ("elo", "users", "tokens"):
        make_database(settings, name)
    (settings.nomic_dir / "aragora_users.db").write_bytes(b"no database" * 1000)
    for ending in ("-wal", "-shm"):
        (settings.nomic_dir / f"aragora_users.db{ending}").unlink(missing_ok=True)
    outcomes = {outcome.database: outcome for outcome in take_all(settings)}
    assert set(outcomes) == {"elo", "users", "tokens"}
    assert isinstance(outcomes["users"].error, DamagedError)
    assert {entry.database for entry in take_inventory(settings, check=True).intact()} == {"elo", "tokens"}


def test_a_full_disk_leaves_the_catalog_and_the_backups_as_they_were(settings: Settings) -> None:
    """A process that may write no more bytes fails with our error; afterwards only the first backup is there."""
    make_database(settings, rows=20_000)
    entry = take_backup("users", settings)
    before = Catalog(settings.backup_dir).path.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from aragora_persist.backup.take import take_backup\n"
        "from aragora_persist.errors import PersistError\n"
        "from aragora_persist.settings import Settings\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    take_backup('users', Settings.from_env())\n"
        "except PersistError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    environ = {**os.environ, "NOMIC_DIR": str(settings.nomic_dir)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith("StorageError: "), run.stderr
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]
    assert Catalog(settings.backup_dir).path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(settings: Settings) -> None:
    """A file in the place of the backup folder is our error, and stays."""
    make_database(settings)
    settings.backup_dir.write_bytes(b"")
    with pytest.raises(StorageError, match=r"backups"):
        take_backup("users", settings)
    assert settings.backup_dir.read_bytes() == b""


def test_the_inventory_tells_what_became_of_the_files(settings: Settings) -> None:
    """Missing, shortened, changed and foreign files are each reported; only the intact one is offered."""
    make_database(settings)
    missing, short, changed, intact = (take_backup("users", settings) for _ in range(4))
    (settings.backup_dir / missing.file).unlink()
    with (settings.backup_dir / short.file).open("r+b") as file:
        file.truncate(4096)
    with (settings.backup_dir / changed.file).open("r+b") as file:
        file.seek(5000)
        file.write(b"\x01")
    (settings.backup_dir / "users_20240101.db").write_bytes(b"by hand")
    inventory = take_inventory(settings, check=True)
    states = [FileState.MISSING, FileState.DAMAGED, FileState.DAMAGED, FileState.INTACT]
    assert [listed.state for listed in inventory.backups] == states
    assert inventory.intact() == (intact,)
    assert inventory.uncatalogued == ("users_20240101.db",)
    # Without reading every byte, only the size tells.
    assert take_inventory(settings).intact() == (changed, intact)


def test_a_backup_that_is_made_during_a_check_is_no_foreign_file(settings: Settings) -> None:
    """A check may read for minutes; what is recorded meanwhile is neither listed by it nor called unknown."""
    make_database(settings)
    first = take_backup("users", settings)

    def hear(text: str) -> None:
        if text.endswith(first.id):
            take_backup("users", settings)

    with step(hear, "checking"):
        inventory = take_inventory(settings, check=True)
    assert (inventory.intact(), inventory.uncatalogued) == ((first,), ())
    assert len(take_inventory(settings).intact()) == 2


def test_retention_removes_what_is_old_and_says_why(settings: Settings) -> None:
    """After eight days the older backup goes, file and entry; a foreign file stays."""
    make_database(settings)
    make_database(settings, "elo")
    old, last, other = take_backup("users", settings), take_backup("users", settings), take_backup("elo", settings)
    foreign = settings.backup_dir / "users_20200101_000000.db"
    foreign.write_bytes(b"by hand")
    later = datetime.now(UTC) + timedelta(days=8)
    decisions = apply_retention(settings, now=later)
    assert [(d.entry, d.keep) for d in decisions] == [(old, False), (last, True), (other, True)]
    assert take_inventory(settings, check=True).intact() == (last, other)
    assert names_in(settings.backup_dir) == sorted([FILE_NAME, last.file, other.file, foreign.name])


def test_retention_of_one_database_leaves_the_others(settings: Settings) -> None:
    """A run for one database does not even decide about another one's backups."""
    for name in ("users", "users", "elo", "elo"):
        if not (settings.nomic_dir / f"aragora_{name}.db").exists():
            make_database(settings, name)
        take_backup(name, settings)
    decisions = apply_retention(settings, now=datetime.now(UTC) + timedelta(days=8), databases=["elo"])
    assert [decision.entry.database for decision in decisions] == ["elo", "elo"]
    assert [len(take_inventory(settings).intact(name)) for name in ("users", "elo")] == [2, 1]


def test_a_deletion_that_was_killed_before_the_file_went_is_finished(settings: Settings) -> None:
    """A file whose deletion is in the catalog is not offered, and the next run removes it."""
    make_database(settings)
    first, second = take_backup("users", settings), take_backup("users", settings)
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        writer.add_deletion(first, at=datetime.now(UTC), reason="test")
    assert take_inventory(settings, check=True).intact() == (second,)
    assert (settings.backup_dir / first.file).exists()
    apply_retention(settings)
    assert names_in(settings.backup_dir) == [FILE_NAME, second.file]


def test_the_catalog_does_not_grow_for_ever(settings: Settings) -> None:
    """When a thousand removed backups have come together, it forgets them, and nothing else."""
    make_database(settings)
    first, kept = take_backup("users", settings), take_backup("users", settings)
    catalog = Catalog(settings.backup_dir)
    lines = catalog.path.read_bytes() + b"damaged\n"
    removed = (replace(first, id=f"users_{number}", file=f"users_{number}.db") for number in range(1000))
    for entry in removed:
        lines += entry.to_line()
        lines += to_line(
            {"kind": "deleted", "id": entry.id, "deleted_at": "2026-01-01T00:00:00.000000Z", "reason": "old"}
        )
    catalog.path.write_bytes(lines)
    apply_retention(settings)
    assert len(catalog.read().deleted) == 1000
    apply_retention(settings, now=datetime.now(UTC) + timedelta(days=8))
    state = catalog.read()
    assert (state.backups, state.deleted, state.damaged_lines) == ((kept,), (), (2,))
    assert names_in(settings.backup_dir) == [FILE_NAME, kept.file]
    assert len(catalog.path.read_bytes().splitlines()) == 2


def test_the_last_sound_backup_stays_although_a_later_one_looks_whole(settings: Settings) -> None:
    """A later one of the right size and with a wrong bit does not count as the last verified one."""
    make_database(settings)
    older, sound, flipped = (take_backup("users", settings) for _ in range(3))
    flip(settings.backup_dir / flipped.file, 5000)
    apply_retention(settings, now=datetime.now(UTC) + timedelta(days=8))
    assert take_inventory(settings, check=True).intact() == (sound,)
    assert not (settings.backup_dir / older.file).exists()


def test_what_cannot_be_removed_keeps_nothing_else_from_going(settings: Settings) -> None:
    """The error names it with the way out; what comes after it goes, and it goes too once it can."""
    make_database(settings)
    stuck, other, last = (take_backup("users", settings) for _ in range(3))
    path = settings.backup_dir / stuck.file
    path.unlink()
    path.mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match=f"cannot be removed: .*{stuck.file}") as refused:
            apply_retention(settings, now=datetime.now(UTC) + timedelta(days=8))
        assert refused.value.hint
        assert names_in(settings.backup_dir) == [FILE_NAME, stuck.file, last.file]
    assert take_inventory(settings).intact() == (last,)
    assert other.file not in names_in(settings.backup_dir)
    path.rmdir()
    path.touch()
    apply_retention(settings)
    assert names_in(settings.backup_dir) == [FILE_NAME, last.file]


def test_retention_is_foreseen_as_it_will_be(settings: Settings) -> None:
    """After the backup that comes, not before it; every decision has its reasons; nothing is changed."""
    make_database(settings)
    make_database(settings, "elo")
    policy = replace(settings, backup_retention_days=1, backup_keep_last=2)
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(times, "utc_now", lambda: datetime.now(UTC) - timedelta(days=3))
        old = [take_backup("users", policy) for _ in range(2)]
        take_backup("elo", policy)
    before = names_in(settings.backup_dir)
    foreseen = foresee_retention(policy, ["users"])
    assert [(decision.entry, decision.keep) for decision in foreseen] == [(old[0], False), (old[1], True)]
    assert all(decision.reasons for decision in foreseen)
    assert names_in(settings.backup_dir) == before
    take_backup("users", policy)
    done = apply_retention(policy, databases=["users"])
    assert [(decision.entry, decision.keep) for decision in done][:2] == [(old[0], False), (old[1], True)]
    assert foresee_retention(replace(policy, backup_dir=settings.nomic_dir / "none"), ["users"]) == []


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps_ten_years_costs_no_backup(settings: Settings, years: int) -> None:
    """Backups of before, meanwhile and after are all there, the newest is the one made last, and the last one stays."""
    make_database(settings)
    with pytest.MonkeyPatch.context() as clock:
        before = take_backup("users", settings)
        clock.setattr(times, "utc_now", lambda: datetime.now(UTC) + timedelta(days=365 * years))
        meanwhile = take_backup("users", settings)
    after = take_backup("users", settings)
    inventory = take_inventory(settings, check=True)
    assert inventory.intact() == (before, meanwhile, after)
    assert choose_backup("users", settings) == after
    apply_retention(settings)
    dated_ahead = (meanwhile,) if years > 0 else ()
    assert take_inventory(settings, check=True).intact() == (before, *dated_ahead, after)
    apply_retention(settings, now=datetime.now(UTC) + timedelta(days=365 * 10 - 1))
    assert take_inventory(settings, check=True).intact() == (*dated_ahead, after)
    assert choose_backup("users", settings) == after


def test_processes_on_one_folder_do_not_disturb_each_other(settings: Settings) -> None:
    """Two that back up and remove at the same time: all that is listed is sound, and nothing else is left."""
    make_database(settings)
    make_database(settings, "elo")
    code = (
        "import sys\n"
        "from datetime import timedelta\n"
        "from aragora_persist import times\n"
        "from aragora_persist.backup.take import apply_retention, take_all\n"
        "from aragora_persist.settings import Settings\n"
        "settings = Settings.from_env()\n"
        "for _ in range(8):\n"
        "    for outcome in take_all(settings):\n"
        "        if outcome.error: sys.exit(str(outcome.error))\n"
        "    apply_retention(settings, now=times.utc_now() + timedelta(days=8))\n"
    )
    environ = {**os.environ, "NOMIC_DIR": str(settings.nomic_dir), "ARAGORA_BACKUP_COMPRESSION": "zstd"}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environ) for _ in range(2)]
    assert [process.wait(PATIENCE_S) for process in processes] == [0, 0]
    inventory = take_inventory(settings, check=True)
    assert {listed.state for listed in inventory.backups} == {FileState.INTACT}
    assert {listed.entry.database for listed in inventory.backups} == {"elo", "users"}
    assert (inventory.uncatalogued, inventory.damaged_lines, inventory.torn) == ((), (), False)
    listed = [FILE_NAME, *(listed.entry.file for listed in inventory.backups)]
    assert names_in(settings.backup_dir) == sorted(listed)


def test_a_database_that_is_deleted_during_the_backup(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied before it went is a backup; from then on there is nothing to back up, and nothing is lost."""
    path = make_database(settings)

    def copied(source: Path, target: Path, *, timeout_s: float) -> str:
        method = copy_into(source, target, timeout_s=timeout_s)
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return method

    monkeypatch.setattr("aragora_persist.backup.take.copy_into", copied)
    entry = take_backup("users", settings)
    assert entry.content.tables["users"].rows == 3
    with pytest.raises(NotFoundError):
        take_backup("users", settings)
    assert list(take_all(settings)) == []
    assert take_inventory(settings, check=True).intact() == (entry,)
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_target_that_cannot_be_written_is_an_error(settings: Settings, mode: int) -> None:
    """The folder is named; the database goes on, and what was there before is there afterwards."""
    path = make_database(settings)
    entry = take_backup("users", settings)
    for writable in (settings.nomic_dir, *settings.nomic_dir.iterdir()):
        writable.chmod(0o777)
    settings.backup_dir.chmod(mode)
    told = refused_to_nobody(settings, "aragora_persist.backup.take", "take_backup('users', Settings.from_env())")
    settings.backup_dir.chmod(0o700)
    assert told.startswith(f"StorageError backup: {settings.backup_dir}: cannot be written: Permission denied")
    execute(path, "INSERT INTO notes VALUES (1, 'goes on')")
    assert take_inventory(settings, check=True).intact() == (entry,)
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]
