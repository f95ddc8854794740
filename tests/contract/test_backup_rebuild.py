"""A catalog that is lost or damaged is made anew from the files: what is listed is proven, what is not is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from aragora_persist import times
from aragora_persist.backup.catalog import FILE_NAME, Catalog
from aragora_persist.backup.inventory import take_inventory
from aragora_persist.backup.lines import to_line
from aragora_persist.backup.offsite import ship
from aragora_persist.backup.rebuild import METHOD, Rebuilt, rebuild
from aragora_persist.backup.records import Drill, Shipment
from aragora_persist.backup.take import apply_retention, take_backup
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.backup.verify import verify
from aragora_persist.errors import BusyError, NotFoundError, StorageError
from aragora_persist.settings import Compression, Settings
from tests.age_identities import make_identity
from tests.contract.backup_folders import flip, make_database, names_in, refused_to_nobody
from tests.full_disk import largest_file
from tests.waiting import PATIENCE_S


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a folder of its own, with databases in it and an identity that reads what is encrypted."""
    make_identity(tmp_path / "identity")
    settings = Settings.from_env(
        {"NOMIC_DIR": str(tmp_path / "data"), "ARAGORA_BACKUP_IDENTITY_FILE": str(tmp_path / "identity")}
    )
    make_database(settings)
    make_database(settings, "elo", rows=5)
    return settings


def with_recipient(settings: Settings) -> Settings:
    """Return settings that encrypt to the identity."""
    assert settings.backup_identity_file
    comment = settings.backup_identity_file.read_text().splitlines()[1]
    return replace(settings, backup_recipients=(comment.rpartition(" ")[2],))


def problems_of(result: Rebuilt) -> dict[str, str]:
    """Return why which file is not listed."""
    return {refused.file: refused.problem for refused in result.refused}


def test_a_lost_catalog_is_made_anew_from_files_of_every_form(settings: Settings) -> None:
    """Plain, compressed, encrypted: each is read, verified, listed at its time, and says that it was rebuilt."""
    encrypted = with_recipient(settings)
    forms = (
        settings,
        replace(settings, backup_compression=Compression.ZSTD),
        encrypted,
        replace(encrypted, backup_compression=Compression.ZSTD),
    )
    before = [take_backup(name, form) for form in forms for name in ("users", "elo")]
    Catalog(settings.backup_dir).path.unlink()
    result = rebuild(settings)
    assert (result.kept, result.refused, result.replaced) == ((), (), None)
    assert take_inventory(settings, check=True).intact() == result.found
    expected = {
        entry.id: replace(
            entry, created_at=entry.created_at.replace(microsecond=0), duration_s=0.0, method=METHOD, run=""
        )
        for entry in before
    }
    assert {entry.id: entry for entry in result.found} == expected
    for entry in result.found:
        with opened_backup(entry, settings) as plain:
            assert verify(plain).content == entry.content
    assert rebuild(settings).found == ()


def test_a_damaged_line_costs_no_backup(settings: Settings) -> None:
    """Sound lines stay as they are, bit for bit; the backup of the damaged one is found and has its place again."""
    entries = [take_backup("users", settings) for _ in range(3)]
    catalog = Catalog(settings.backup_dir)
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.add_drill(
            Drill(backup=entries[0].id, database="users", at=times.utc_now(), ok=True, seconds=1, source="local")
        )
        writer.add_shipment(Shipment(backup=entries[2].id, at=times.utc_now(), url="file:///there"))
    lines = catalog.path.read_bytes().splitlines(keepends=True)
    flip(catalog.path, len(lines[0]) + 100)
    with catalog.path.open("ab") as file:
        file.write(to_line({"kind": "backup", "id": "without the rest"}))
        file.write(b'{"torn')
    damaged = catalog.path.read_bytes()
    result = rebuild(settings)
    assert result.kept == (entries[0], entries[2])
    assert [entry.id for entry in result.found] == [entries[1].id]
    assert result.replaced
    assert result.replaced.read_bytes() == damaged
    after = catalog.path.read_bytes().splitlines(keepends=True)
    assert [after[0], *after[2:]] == [lines[0], *lines[2:]]
    state = catalog.read()
    assert [entry.id for entry in state.backups] == [entry.id for entry in entries]
    assert (state.damaged_lines, state.torn, len(state.drills)) == ((), False, 1)
    assert [*state.shipments] == [entries[2].id]


def test_a_sound_catalog_stays_as_it_is(settings: Settings) -> None:
    """Also one of a time when the clock was wrong: the order in which backups were made is not that of their times."""
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(times, "utc_now", lambda: datetime.now(UTC) + timedelta(days=3650))
        first = take_backup("users", settings)
    second = take_backup("users", settings)
    before = Catalog(settings.backup_dir).path.read_bytes()
    result = rebuild(settings)
    assert (result.kept, result.found, result.refused, result.replaced) == ((first, second), (), (), None)
    assert Catalog(settings.backup_dir).path.read_bytes() == before
    assert names_in(settings.backup_dir) == sorted([FILE_NAME, first.file, second.file])


def test_what_is_no_file_is_no_backup(settings: Settings) -> None:
    """A folder, a pipe or a link to nothing with the name of one neither ends the rebuild nor holds it up."""
    entry = take_backup("users", settings)
    (settings.backup_dir / "users_20240101_120000.db").mkdir()
    os.mkfifo(settings.backup_dir / "users_20240101_120001.db")
    (settings.backup_dir / "users_20240101_120002.db").symlink_to("nothing")
    (settings.backup_dir / FILE_NAME).unlink()
    result = rebuild(settings)
    assert ([found.id for found in result.found], result.refused) == ([entry.id], ())
    assert take_inventory(settings).uncatalogued == ()


def test_what_cannot_be_proven_is_named_and_stays(settings: Settings, tmp_path: Path) -> None:
    """Cut, flipped, encrypted to another, or a second one of its name: none is listed, and no file is touched."""
    encrypted = with_recipient(settings)
    good = take_backup("users", settings)
    cut = take_backup("users", replace(settings, backup_compression=Compression.ZSTD))
    flipped = take_backup("users", encrypted)
    make_identity(tmp_path / "other")
    other = take_backup("elo", replace(settings, backup_recipients=(make_identity(tmp_path / "other2"),)))
    folder = settings.backup_dir
    os.truncate(folder / cut.file, cut.size_bytes - 4)
    flip(folder / flipped.file)
    never_were = {
        *("users_20240101.db", "users_20261123_120000_before_migration.db", "moon_20261123_120000.db"),
        "users_20261123_129999.db",
    }
    for name in never_were:
        shutil.copy(folder / good.file, folder / name)
    (folder / "users_20261123_120000.db").write_bytes(b"no database" * 1000)
    (folder / f"{good.id}.db.zst").write_bytes((folder / good.file).read_bytes())
    (folder / "tokens_20261123_120000.db").touch()
    (folder / FILE_NAME).unlink()
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    result = rebuild(settings)
    assert [entry.id for entry in result.found] == [good.id]
    problems = problems_of(result)
    assert problems.keys() == before.keys() - {good.file} - never_were
    assert "none of the identities" in problems.pop(other.file)
    assert {file: text for file, text in problems.items() if "is damaged" in text}.keys() == {
        cut.file,
        flipped.file,
        f"{good.id}.db.zst",
    }
    assert problems["tokens_20261123_120000.db"] == "holds no table"
    assert {name: (folder / name).read_bytes() for name in names_in(folder) if name != FILE_NAME} == before
    assert take_inventory(settings, check=True).intact() == result.found


def test_two_files_with_the_name_of_one_backup_are_not_both_listed(settings: Settings) -> None:
    """A backup that someone unpacked beside its archive stands once in the catalog."""
    entry = take_backup("users", replace(settings, backup_compression=Compression.ZSTD))
    with opened_backup(entry, settings) as plain:
        shutil.copy(plain, settings.backup_dir / f"{entry.id}.db")
    result = rebuild(settings)
    assert len([*result.kept, *result.found]) == 1
    assert len(result.refused) == 1
    assert "another backup with the name" in result.refused[0].problem


def test_what_its_line_contradicts_is_not_listed(settings: Settings) -> None:
    """A line that is left decides: a file that SQLite would find sound, but that is not what was written, goes out."""
    changed, missing, kept = (take_backup("users", settings) for _ in range(3))
    flip(settings.backup_dir / changed.file, 5000)
    (settings.backup_dir / missing.file).unlink()
    verify(settings.backup_dir / changed.file)
    result = rebuild(settings)
    assert (result.kept, result.found) == ((kept,), ())
    assert problems_of(result) == {changed.file: "is not what was written"}
    assert Catalog(settings.backup_dir).read().backups == (kept,)


def test_what_was_removed_does_not_come_back(settings: Settings) -> None:
    """A file whose deletion is recorded stays deleted, and its name is not used again."""
    gone, kept = take_backup("users", settings), take_backup("users", settings)
    content = (settings.backup_dir / gone.file).read_bytes()
    apply_retention(settings, now=datetime.now(UTC) + timedelta(days=8))
    (settings.backup_dir / gone.file).write_bytes(content)
    with Catalog(settings.backup_dir).path.open("ab") as file:
        file.write(b"damaged\n")
    result = rebuild(settings)
    assert (result.kept, result.found, result.refused) == ((kept,), (), ())
    assert Catalog(settings.backup_dir).read().deleted == (gone,)


def test_a_full_disk_leaves_the_old_catalog(settings: Settings) -> None:
    """The new one is whole or not there; nothing is left of the attempt."""
    entries = [take_backup("users", settings) for _ in range(3)]
    catalog = Catalog(settings.backup_dir)
    flip(catalog.path, 50)
    before = {name: (settings.backup_dir / name).read_bytes() for name in names_in(settings.backup_dir)}
    with largest_file(100), pytest.raises(StorageError, match="File too large"):
        rebuild(settings)
    assert {name: (settings.backup_dir / name).read_bytes() for name in names_in(settings.backup_dir)} == before
    assert [entry.id for entry in (*rebuild(settings).found, *entries[1:])] == [entry.id for entry in entries]


def test_what_cannot_be_read_now_does_not_go_out_of_the_catalog(settings: Settings) -> None:
    """Asked as the wrong user, or while a disk fails, nothing is concluded from that."""
    entries = [take_backup("users", settings) for _ in range(2)]
    catalog = Catalog(settings.backup_dir).path
    flip(catalog, 50)
    before = catalog.read_bytes()
    catalog.chmod(0o666)
    settings.backup_dir.chmod(0o777)
    (settings.backup_dir / entries[1].file).chmod(0)
    told = refused_to_nobody(settings, "aragora_persist.backup.rebuild", "rebuild(Settings.from_env())")
    assert told.startswith("StorageError ")
    assert "Permission denied" in told
    assert catalog.read_bytes() == before
    assert names_in(settings.backup_dir) == sorted([FILE_NAME, *(entry.file for entry in entries)])


def test_a_backup_in_the_making_is_waited_for(settings: Settings) -> None:
    """While another process holds the catalog, nothing is read and nothing replaced."""
    take_backup("users", settings)
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S), pytest.raises(BusyError):
        rebuild(replace(settings, db_timeout_s=0.05))
    assert len(rebuild(settings).kept) == 1


def test_what_is_off_site_vouches_for_a_file(settings: Settings, tmp_path: Path) -> None:
    """A lost catalog comes back from the lines there; where they cannot be had, that is told and stops nothing."""
    shipping = replace(settings, offsite_url=(tmp_path / "there").as_uri())
    (tmp_path / "there").mkdir()
    entries = tuple(take_backup("users", settings) for _ in range(2))
    assert [*ship(shipping)]
    Catalog(settings.backup_dir).path.unlink()
    flip(settings.backup_dir / entries[0].file, 5000)
    result = rebuild(shipping)
    assert result.found == entries[1:]
    assert problems_of(result) == {entries[0].file: "is not what was written"}
    unreachable = rebuild(replace(settings, offsite_url="s3://none/there"))
    assert unreachable.kept == entries[1:]
    assert unreachable.offsite_problem


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of a folder with compressed backups of two databases, one of them made under a wrong clock."""
    environ = {"NOMIC_DIR": str(tmp_path_factory.mktemp("many")), "ARAGORA_BACKUP_COMPRESSION": "zstd"}
    settings = Settings.from_env(environ)
    for name in ("users", "elo"):
        make_database(settings, name)
    for days in (-1, 3000, 0):
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(times, "utc_now", lambda days=days: datetime.now(UTC) + timedelta(days=days))
            for name in ("users", "elo"):
                take_backup(name, settings)
    return settings


@hypothesis.given(
    lines=st.sets(st.integers(0, 5)),
    damaged=st.sets(st.integers(0, 5)),
    missing=st.sets(st.integers(0, 5)),
    lost=st.booleans(),
)
@hypothesis.settings(max_examples=30)
def test_whatever_was_spoilt_what_is_listed_is_sound(
    many: Settings, *, lines: set[int], damaged: set[int], missing: set[int], lost: bool
) -> None:
    """All sound files and no others, in the order that is known of them; and a second rebuild changes nothing."""
    with tempfile.TemporaryDirectory() as copy:
        settings = replace(many, backup_dir=Path(copy, "backups"))
        shutil.copytree(many.backup_dir, settings.backup_dir)
        catalog = Catalog(settings.backup_dir)
        entries = catalog.read().backups
        written = catalog.path.read_bytes().splitlines(keepends=True)
        catalog.path.write_bytes(b"".join(line[number in lines :] for number, line in enumerate(written)))
        if lost:
            catalog.path.unlink()
        for number in damaged:
            flip(settings.backup_dir / entries[number].file)
        for number in missing:
            (settings.backup_dir / entries[number].file).unlink()
        result = rebuild(settings)
        listed = take_inventory(settings, check=True)
        sound = {entry.id for number, entry in enumerate(entries) if number not in damaged | missing}
        assert {entry.id for entry in listed.intact()} == {one.entry.id for one in listed.backups} == sound
        assert {refused.file for refused in result.refused} == {entries[number].file for number in damaged - missing}
        left = [] if lost else [entry for number, entry in enumerate(entries) if number not in lines]
        assert [entry for entry in listed.intact() if entry in left] == [entry for entry in left if entry.id in sound]
        assert (rebuild(settings).replaced, catalog.read().damaged_lines) == (None, ())


def shell(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on these settings."""
    environ = {**os.environ, "NOMIC_DIR": str(settings.nomic_dir)}
    command = [sys.executable, "-m", "aragora_persist", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_where_there_is_no_folder_none_is_made(settings: Settings) -> None:
    """A misspelt ARAGORA_BACKUP_DIR is told as such."""
    none = replace(settings, backup_dir=settings.backup_dir.with_name("none"))
    with pytest.raises(NotFoundError, match="none: does not exist"):
        rebuild(none)
    assert not none.backup_dir.exists()


def test_the_command_tells_what_is_wrong_and_mends_it(settings: Settings) -> None:
    """The check names what is lost with the way out; the rebuild takes it; the check is then content."""
    entry = take_backup("users", settings)
    good = shell(settings, "backups", "--check")
    assert (good.returncode, good.stderr) == (0, "")
    (settings.backup_dir / FILE_NAME).unlink()
    lost = shell(settings, "backups", "--check")
    assert lost.returncode == 1
    assert "the catalog is lost" in lost.stderr
    assert "backups --rebuild" in lost.stderr
    broken = settings.backup_dir / "users_20240101_000000.db"
    broken.write_bytes(b"by hand")
    mended = shell(settings, "backups", "--rebuild")
    assert f"Listed again: {entry.id}" in mended.stdout
    assert f"{broken.name} is not listed: " in mended.stderr
    assert mended.returncode == 1
    assert shell(settings, "backups", "--check").returncode == 0
    again = json.loads(shell(settings, "backups", "--rebuild", "--json").stdout)
    assert (again["kept"], again["found"], again["replaced"]) == ([entry.id], [], None)
