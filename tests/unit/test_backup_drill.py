"""Drills: what passes, and that each thing that can be wrong with a backup makes one fail, with its name."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyrage
import pytest

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.drill import drill
from aragora_persist.backup.offsite import ship
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import TableContent
from aragora_persist.cli import main
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.databases import DATABASES, StoreName, find_database
from aragora_persist.migrations import runner
from aragora_persist.settings import Compression, Settings
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.elo_store import EloStore
from aragora_persist.storage.memory_store import MemoryStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.position_store import PositionStore
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.trace import new_trace
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.token_blacklist import TokenBlacklist
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.storage.webhook_store import WebhookStore
from aragora_persist.testing import temporary_settings
from tests.contract.backup_folders import flip
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.backup.records import Drill

USAGE = type(shutil.disk_usage("/"))
NAMES = [database.name for database in DATABASES]


@pytest.fixture(scope="module")
def live() -> Iterator[Settings]:
    """Give a folder with all databases, and a row for each store to read; tests copy from it."""
    with temporary_settings() as settings:
        fill(settings)
        yield settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings for an empty folder, and scratch space of the test's own."""
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (data := tmp_path / "data").mkdir()
    return Settings.from_env({"NOMIC_DIR": str(data)})


def fill(settings: Settings) -> None:
    """Make every database with a row in each store."""
    with closing(open_engine(None, "users", settings=settings)) as users:
        owner = UserStore(users, settings=settings).create("ada@example.com")
        org = OrganizationStore(users, settings=settings).create("Lovelace", owner.id)
        AuditStore(users, settings=settings).log("user.create", user_id=owner.id)
        UsageStore(users, settings=settings).record(org.id, "debate")
        ShareLinkStore(users, settings=settings).create("debate-1", owner.id)
        WebhookStore(users, settings=settings).create(org.id, "https://93.184.216.34/", ["*"])
    with EloStore(settings=settings) as ratings:
        ratings.record_match("d1", ranking=["ada", "bob"])
    with MemoryStore(settings=settings) as memories:
        memories.add("The engine weaves algebraical patterns.")
    with PositionStore(settings=settings) as positions:
        positions.record("ada", "It can compose music.", 0.9, "d1")
    with ReplayStore(settings=settings) as replays:
        replays.begin(new_trace("d1", "task", ["ada"], datetime(2026, 1, 1, tzinfo=UTC)))
    with TokenBlacklist(settings=settings) as tokens:
        tokens.revoke("jti-1", datetime(2100, 1, 1, tzinfo=UTC), user_id=owner.id)
    with Outbox(settings=settings) as outbox:
        outbox.enqueue([StreamEvent("loop", 1, "error", {}).to_record()])


def copy_live(live: Settings, settings: Settings, *names: str) -> None:
    """Copy databases that nobody has open."""
    for name in names:
        shutil.copy(find_database(name).path(live.nomic_dir), settings.nomic_dir)


def only(settings: Settings, *, offsite: bool = False) -> Drill:
    """Drill the one database that there is; the live database is as it was, and nothing is left in scratch space."""
    (found,) = drill(settings, offsite=offsite)
    assert found in Catalog(settings.backup_dir).read().drills
    assert list((settings.nomic_dir.parent / "scratch").iterdir()) == []
    return found


def test_all_databases_with_their_backups_pass(live: Settings, settings: Settings) -> None:
    """Each has its line in the catalog, with its backup and the measured time."""
    copy_live(live, settings, *NAMES)
    taken = {name: take_backup(name, settings).id for name in NAMES}
    done = list(drill(settings))
    assert {one.database: (one.backup, one.ok, one.source, one.problem) for one in done} == {
        name: (taken[name], True, "local", "") for name in NAMES
    }
    assert all(one.seconds > 0 for one in done)
    assert Catalog(settings.backup_dir).read().drills == tuple(done)


POISON = {
    "UserStore": "users.created_at",
    "OrganizationStore": "organizations.created_at",
    "AuditStore": "audit_log.timestamp",
    "UsageStore": "usage_events.timestamp",
    "ShareLinkStore": "share_links.created_at",
    "WebhookStore": "webhooks.created_at",
    "EloStore": "ratings.updated_at",
    "MemoryStore": "memories.created_at",
    "PositionStore": "positions.created_at",
    "ReplayStore": "replays.started_at",
    "TokenBlacklist": "token_blacklist.revoked_at",
    "Outbox": "outbox.enqueued_at",
}
"""A time in the rows of each store."""


@pytest.mark.parametrize(
    "store", [store for database in DATABASES for store in database.stores], ids=lambda one: one.cls
)
def test_a_row_that_its_store_cannot_read_fails_the_drill(live: Settings, settings: Settings, store: StoreName) -> None:
    """Sound by its digest, and yet no database to work with: each store's read comes upon a row of its own."""
    (name,) = (database.name for database in DATABASES if store in database.stores)
    copy_live(live, settings, name)
    table, _, column = POISON[store.cls].partition(".")
    with closing(sqlite3.connect(find_database(name).path(settings.nomic_dir))) as connection, connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(f"UPDATE {table} SET {column} = '0: no time'")
    take_backup(name, settings)
    found = only(settings)
    assert not found.ok
    assert f"{store.cls}.{store.read} fails on it" in found.problem


def test_a_flipped_bit_in_the_newest_backup_fails_the_drill(live: Settings, settings: Settings) -> None:
    """Though an earlier one is whole; the way out names that one, and a good drill of the next backup heals it."""
    copy_live(live, settings, "tokens")
    earlier, newest = take_backup("tokens", settings), take_backup("tokens", settings)
    flip(settings.backup_dir / newest.file, newest.size_bytes // 2)
    found = only(settings)
    assert (found.ok, found.backup) == (False, newest.id)
    assert "damaged" in found.problem
    assert earlier.id in found.problem
    take_backup("tokens", settings)
    assert only(settings).ok


def test_a_missing_file_is_not_made_up_for_from_elsewhere(live: Settings, settings: Settings) -> None:
    """A drill of this machine's backups fails though off-site there may be another copy."""
    copy_live(live, settings, "tokens")
    entry = take_backup("tokens", settings)
    (settings.backup_dir / entry.file).unlink()
    found = only(replace(settings, offsite_url="s3://bucket/prefix"))
    assert (found.ok, "missing" in found.problem) == (False, True)


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        (TableContent(rows=2, digest="0" * 64), "the table token_blacklist has 1 row, and had 2"),
        (TableContent(rows=1, digest="0" * 64), "rows of the table token_blacklist are not what they were"),
    ],
)
def test_counts_and_digests_are_compared_with_the_catalog(
    live: Settings, settings: Settings, recorded: TableContent, told: str
) -> None:
    """A file that is whole, and does not hold what its entry says: which table it is, is told."""
    copy_live(live, settings, "tokens")
    entry = take_backup("tokens", settings)
    tables = {**entry.content.tables, "token_blacklist": recorded}
    wrong = replace(entry, content=replace(entry.content, tables=tables))
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        writer.add_backup(wrong)
    found = only(settings)
    assert (found.ok, found.backup) == (False, entry.id)
    assert told in found.problem


def test_an_older_schema_is_migrated_in_scratch_space(live: Settings, settings: Settings) -> None:
    """An upgrade after the backup is no reason for a drill to fail; the file stays as it is."""
    copy_live(live, settings, "memory")
    runner.rollback(find_database("memory").path(settings.nomic_dir), "memory", backup=False, settings=settings)
    entry = take_backup("memory", settings)
    entry_path = settings.backup_dir / entry.file
    before = entry_path.read_bytes()
    assert runner.status(entry_path, "memory").pending
    assert only(settings).ok
    assert entry_path.read_bytes() == before


def test_packed_backups_are_unpacked(live: Settings, settings: Settings) -> None:
    """Compressed ones are restored as plain ones are."""
    copy_live(live, settings, "tokens")
    packed = replace(settings, backup_compression=Compression.ZSTD)
    assert take_backup("tokens", packed).file.endswith(".db.zst")
    assert only(packed).ok


def test_an_encrypted_backup_is_proved_with_its_identity_alone(live: Settings, settings: Settings) -> None:
    """Without it nobody knows whether a restore would work: the drill says so, and what is missing."""
    identity = pyrage.x25519.Identity.generate()
    file = settings.nomic_dir / "identity"
    file.write_text(str(identity))
    copy_live(live, settings, "tokens")
    sealed = replace(settings, backup_recipients=(str(identity.to_public()),))
    take_backup("tokens", sealed)
    assert only(replace(sealed, backup_identity_file=file)).ok
    found = only(sealed)
    assert not found.ok
    assert "ARAGORA_BACKUP_IDENTITY_FILE" in found.problem


def test_off_site_is_drilled_with_nothing_of_this_machine(live: Settings, settings: Settings, tmp_path: Path) -> None:
    """Whatever became of the file here; and what is damaged there fails, though it is whole here."""
    (away := tmp_path / "away").mkdir()
    shipping = replace(settings, offsite_url=away.as_uri())
    copy_live(live, settings, "tokens")
    entry = take_backup("tokens", shipping)
    assert [outcome.error for outcome in ship(shipping)] == [None]
    here = settings.backup_dir / entry.file
    sound = here.read_bytes()
    here.write_bytes(b"damage")
    assert not only(shipping).ok
    found = only(shipping, offsite=True)
    assert (found.ok, found.backup, found.source) == (True, entry.id, "offsite")
    empty = replace(shipping, nomic_dir=tmp_path / "empty", backup_dir=tmp_path / "empty" / "backups")
    (found,) = drill(empty, offsite=True)
    assert found.ok
    assert Catalog(empty.backup_dir).read().drills == (found,)
    here.write_bytes(sound)
    for part in (path for path in away.rglob("*") if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"):
        part.write_bytes(b"damage")
    assert (only(shipping).ok, only(shipping, offsite=True).ok) == (True, False)


def test_scratch_space_without_room_is_told_as_that(
    live: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written there, with the way out."""
    copy_live(live, settings, "tokens")
    size = take_backup("tokens", settings).plain_size_bytes
    packing = replace(settings, backup_compression=Compression.ZSTD)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage(size))
        assert only(settings).ok
    take_backup("tokens", packing)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2 * size - 1))  # it is unpacked, and then copied
    found = only(packing)
    assert "has no room" in found.problem
    assert "TMPDIR" in found.problem


def usage(free: int) -> object:
    """Return what is said of a disk with so much room."""
    return USAGE(free, 0, free)


def test_a_database_without_a_backup_is_told(settings: Settings) -> None:
    """Who asks for it by name learns it; where there is none at all, the command fails too."""
    (found,) = drill(settings, ["users"])
    assert (found.ok, found.backup) == (False, "")
    assert "no backup" in found.problem


@pytest.mark.parametrize("options", [[], ["--db", "users"]])
def test_an_empty_machine_is_told_of_what_is_off_site(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    """It has nothing to drill but what is there, and that only where there is such a place."""
    command = ["--nomic-dir", str(settings.nomic_dir), "drill", *options]
    assert main(command) == 1
    assert "--offsite" not in capsys.readouterr().err
    monkeypatch.setenv("ARAGORA_OFFSITE_URL", (tmp_path / "away").as_uri())
    (tmp_path / "away").mkdir()
    assert main(command) == 1
    assert "aragora-persist drill --offsite" in capsys.readouterr().err
    assert main([*command, "--offsite"]) == 1
    assert "aragora-persist backups --ship" in capsys.readouterr().err


def test_the_command_tells_and_fails(live: Settings, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each where it is good; on standard error what failed and the way out, exit 1; JSON holds all."""
    command = ["--nomic-dir", str(settings.nomic_dir), "drill"]
    assert main(command) == 1
    assert "there is no backup" in capsys.readouterr().err
    copy_live(live, settings, "tokens", "elo")
    take_backup("elo", settings)
    entry = take_backup("tokens", settings)
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("Drilled: elo (elo_")
    (settings.backup_dir / entry.file).unlink()
    assert main(command) == 1
    output = capsys.readouterr()
    assert f"aragora-persist: drill: {entry.id} (local): {settings.backup_dir / entry.file}: is missing" in output.err
    assert "Drilled: elo" in output.out
    assert main([*command, "--db", "tokens", "--json"]) == 1
    (record,) = json.loads(capsys.readouterr().out)["drills"]
    assert (record["backup"], record["ok"], record["source"]) == (entry.id, False, "local")
