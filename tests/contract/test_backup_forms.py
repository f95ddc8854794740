"""Compressed and encrypted backups: what is stored, what comes out again, and every way in which that must fail."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup import archive
from aragora_persist.backup.catalog import FILE_NAME, Catalog
from aragora_persist.backup.encryption import fingerprints
from aragora_persist.backup.inventory import FileState, file_state, take_inventory
from aragora_persist.backup.offsite import ship
from aragora_persist.backup.restore.choosing import choose_backup
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.backup.take import take_all, take_backup
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.backup.verify import verify
from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.settings import Compression, Settings
from tests.age_identities import make_identity
from tests.contract.backup_folders import execute, flip, make_database, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import BinaryIO

FORMS = ["", ".zst", ".age", ".zst.age"]


@pytest.fixture
def keyed(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own, with a recipient and its identity."""
    key = make_identity(tmp_path / "identity")
    return Settings.from_env(
        {
            "NOMIC_DIR": str(tmp_path / "data"),
            "ARAGORA_BACKUP_RECIPIENTS": key,
            "ARAGORA_BACKUP_IDENTITY_FILE": str(tmp_path / "identity"),
        }
    )


def in_form(settings: Settings, form: str) -> Settings:
    """Return settings whose backups end so."""
    return replace(
        settings,
        backup_compression=Compression.ZSTD if ".zst" in form else Compression.NONE,
        backup_recipients=settings.backup_recipients if ".age" in form else (),
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_backup_of_every_form_gives_back_its_database(keyed: Settings, form: str) -> None:
    """The entry says how it is stored and what is inside; what is opened is equal to it; nothing else is left."""
    settings = in_form(keyed, form)
    make_database(settings, rows=2000)
    entry = take_backup("users", settings)
    assert entry.file == f"{entry.id}.db{form}"
    assert entry.recipients == fingerprints(settings.backup_recipients)
    assert (entry.plain_sha256 == entry.sha256) == (form == "")
    assert (entry.size_bytes < entry.plain_size_bytes) == (".zst" in form)
    assert take_inventory(settings, check=True).intact() == (entry,)
    assert choose_backup("users", settings) == entry
    with opened_backup(entry, settings) as plain:
        found = verify(plain)
        assert (found.content, found.sha256, found.size_bytes) == (
            entry.content,
            entry.plain_sha256,
            entry.plain_size_bytes,
        )
    assert names_in(settings.backup_dir) == [FILE_NAME, entry.file]


def test_backups_of_one_run_are_known_as_such(keyed: Settings) -> None:
    """Those of one `backup` share their run, those of the next have another one, and so has each by itself."""
    for name in ("elo", "users"):
        make_database(keyed, name)
    runs = [[outcome.entry.run for outcome in take_all(keyed) if outcome.entry] for _ in range(2)]
    assert [len(run) for run in runs] == [2, 2]
    assert [len(set(run)) for run in runs] == [1, 1]
    assert len({runs[0][0], runs[1][0], take_backup("users", keyed).run, take_backup("users", keyed).run, ""}) == 5


def test_what_is_encrypted_is_nowhere_beside_it_in_plain_form(keyed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it is made nor afterwards does the folder of backups hold a row, and the catalog holds no key."""
    make_database(keyed)
    key, identity = keyed.backup_recipients[0], (keyed.nomic_dir.parent / "identity").read_text()
    seen: list[bytes] = []
    pack = archive.pack

    def watched(
        plain: Path, target: BinaryIO, *, compression: Compression, recipients: Sequence[str]
    ) -> archive.Stored:
        assert b"2@example.com" in plain.read_bytes()
        stored = pack(plain, target, compression=compression, recipients=recipients)
        seen.extend(path.read_bytes() for path in keyed.backup_dir.iterdir())
        return stored

    monkeypatch.setattr(archive, "pack", watched)
    entry = take_backup("users", keyed)
    seen.extend(path.read_bytes() for path in keyed.backup_dir.iterdir())
    assert len(seen) == 3
    assert not any(b"example.com" in content for content in seen)
    catalog = Catalog(keyed.backup_dir).path.read_text()
    assert key not in catalog
    assert not any(line in catalog for line in identity.split())
    assert f'"{entry.recipients[0]}"' in catalog


def test_a_recipient_that_is_none_is_refused_before_anything_is_made(keyed: Settings) -> None:
    """A misspelt key leads to no backup that nobody or everybody can read, and is told once for all databases."""
    make_database(keyed)
    make_database(keyed, "elo")
    wrong = replace(keyed, backup_recipients=(*keyed.backup_recipients, "age1misspelt"))
    with pytest.raises(InvalidValueError, match="ARAGORA_BACKUP_RECIPIENTS: number 2"):
        take_backup("users", wrong)
    with pytest.raises(InvalidValueError, match="ARAGORA_BACKUP_RECIPIENTS: number 2"):
        list(take_all(wrong))
    assert not wrong.backup_dir.exists()


@pytest.mark.parametrize("form", FORMS)
def test_damage_anywhere_in_the_file_is_found(keyed: Settings, form: str) -> None:
    """Every byte: the check says so. Opened, it is refused in favour of the newest sound one, which is named."""
    settings = in_form(keyed, form)
    path = make_database(settings)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"):
            connection.execute(statement)
    sound, entry = take_backup("users", settings), take_backup("users", settings)
    stored = settings.backup_dir / entry.file
    for place in range(entry.size_bytes):
        flip(stored, place, 1 << place % 8)
        assert file_state(settings.backup_dir, entry, check=True) is FileState.DAMAGED, place
        flip(stored, place, 1 << place % 8)
    assert file_state(settings.backup_dir, entry, check=True) is FileState.INTACT
    flip(stored)
    with pytest.raises(DamagedError, match=f"is damaged .*--backup {sound.id}"), opened_backup(entry, settings):
        raise AssertionError("it was opened")
    stored.unlink()
    flip(settings.backup_dir / sound.file)
    with pytest.raises(DamagedError, match=r"is missing .*no other sound backup"), opened_backup(entry, settings):
        raise AssertionError("it was opened")


def test_an_archive_that_holds_something_else_is_refused(keyed: Settings) -> None:
    """Even where the stored file is what its entry says, what comes out of it is held against the entry too."""
    settings = in_form(keyed, ".zst.age")
    make_database(settings)
    entry = replace(take_backup("users", settings), plain_sha256="00" * 32)
    with pytest.raises(DamagedError, match="does not hold what its entry says"), opened_backup(entry, settings):
        raise AssertionError("it was opened")


def test_the_wrong_identity_is_told_from_damage(
    keyed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the setting, live database and scratch space stay as they are, and the right one opens it."""
    (space := tmp_path / "space").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(space))
    path = make_database(keyed)
    entry = take_backup("users", keyed)
    before = (names_in(keyed.nomic_dir), path.read_bytes())
    make_identity(tmp_path / "other")
    for file, error in ((tmp_path / "other", AccessDeniedError), (None, InvalidValueError)):
        wrong = replace(keyed, backup_identity_file=file)
        with pytest.raises(error, match="ARAGORA_BACKUP_IDENTITY_FILE"), opened_backup(entry, wrong):
            raise AssertionError("it was opened")
        with pytest.raises(error, match="ARAGORA_BACKUP_IDENTITY_FILE"):
            restore("users", wrong)
        assert (names_in(keyed.nomic_dir), path.read_bytes(), names_in(space)) == (*before, [])
    assert take_inventory(keyed, check=True).intact() == (entry,)
    with opened_backup(entry, keyed) as plain:
        scratch = plain.parent
        assert verify(plain).content == entry.content
    assert not scratch.exists()


@pytest.mark.parametrize("form", ["", ".zst.age"])
def test_what_is_not_here_is_fetched_from_off_site(keyed: Settings, tmp_path: Path, form: str) -> None:
    """Missing, damaged, or gone with the whole folder: the backup is chosen and opened all the same."""
    (tmp_path / "there").mkdir()
    settings = replace(in_form(keyed, form), offsite_url=(tmp_path / "there").as_uri())
    make_database(settings)
    entry = take_backup("users", settings)
    assert [*ship(settings)]
    stored = settings.backup_dir / entry.file
    spoilers: list[Callable[[], object]] = [
        lambda: flip(stored),
        stored.unlink,
        lambda: shutil.rmtree(settings.backup_dir),
    ]
    for spoil in spoilers:
        spoil()
        assert choose_backup("users", settings) == entry
        with opened_backup(entry, settings) as plain:
            assert verify(plain).content == entry.content
    assert choose_backup("users", settings, at=entry.created_at, backup_id=None) == entry
    blind = replace(settings, backup_identity_file=None)
    if ".age" in form:
        with pytest.raises(InvalidValueError, match="is not set"), opened_backup(entry, blind):
            raise AssertionError("it was opened")
    with pytest.raises(NotFoundError, match="there is no backup none"):
        choose_backup("users", settings, backup_id="none")


@pytest.mark.parametrize("form", [".zst", ".age"])
def test_a_disk_that_is_full_leaves_everything_as_it_was(keyed: Settings, tmp_path: Path, form: str) -> None:
    """Scratch space while copying, the folder of backups while packing, scratch space while unpacking."""
    settings = in_form(keyed, form)
    path = make_database(settings, rows=20)
    first = take_backup("users", settings)
    execute(path, "INSERT INTO notes VALUES (1, hex(randomblob(150000)))")
    entry = take_backup("users", settings)
    before = {path: path.read_bytes() for path in settings.backup_dir.iterdir()}
    space = tmp_path / "space"
    space.mkdir()
    code = (
        "import resource, signal, sys\n"
        "from aragora_persist.backup.catalog import Catalog\n"
        "from aragora_persist.backup.take import take_backup\n"
        "from aragora_persist.backup.unpacking import opened_backup\n"
        "from aragora_persist.errors import StorageError\n"
        "from aragora_persist.settings import Settings\n"
        "settings = Settings.from_env()\n"
        "entry = Catalog(settings.backup_dir).read().backups[-1]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def act(limit, what):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try: what()\n"
        "    except StorageError as error: print(error)\n"
        "act(100_000, lambda: take_backup('users', settings))\n"
        "act(250_000, lambda: opened_backup(entry, settings).__enter__())\n"
        f"act({entry.size_bytes - 5000}, lambda: take_backup('users', settings))\n"
    )
    environ = {
        **os.environ,
        "TMPDIR": str(space),
        "NOMIC_DIR": str(settings.nomic_dir),
        "ARAGORA_BACKUP_COMPRESSION": settings.backup_compression.value,
        "ARAGORA_BACKUP_RECIPIENTS": " ".join(settings.backup_recipients),
        "ARAGORA_BACKUP_IDENTITY_FILE": str(settings.backup_identity_file),
    }
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert len(run.stdout.splitlines()) == 3, run
    assert "set TMPDIR to a folder with more room" in run.stdout.splitlines()[1]
    assert {path: path.read_bytes() for path in settings.backup_dir.iterdir()} == before
    assert names_in(space) == []
    assert take_inventory(settings, check=True).intact() == (first, entry)


def test_what_was_shipped_elsewhere_is_not_off_site(keyed: Settings, tmp_path: Path) -> None:
    """Where a backup's file is lost, a restore looks where off-site is now, and so does what tells of it."""
    settings = in_form(keyed, "")
    make_database(settings)
    entry = take_backup("users", settings)
    folders = (tmp_path / "here", tmp_path / "there")
    for folder in folders:
        folder.mkdir()
    here, there = (replace(settings, offsite_url=folder.as_uri()) for folder in folders)
    assert [outcome.error for outcome in ship(here)] == [None]
    assert [take_inventory(one).shipped for one in (here, there, settings)] == [{entry.id}, set(), set()]
