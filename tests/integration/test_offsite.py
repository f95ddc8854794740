"""Backups off-site and back, on a real S3 server and in a folder; after each failure, what is there is looked at."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.offsite import (
    RemoteState,
    check,
    fetch,
    look,
    oldest_unshipped_age_s,
    remote_entries,
    ship,
    shipping,
)
from aragora_persist.backup.offsite.layout import line_name
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.backup.report import take_report
from aragora_persist.errors import (
    ConflictError,
    DamagedError,
    NotFoundError,
    PersistError,
    StorageError,
)
from tests.age_identities import make_identity
from tests.full_disk import largest_file

if TYPE_CHECKING:
    from aragora_persist.backup.records import BackupEntry
    from tests.offsite_fixtures import Machine

pytest_plugins = ("tests.offsite_fixtures",)


def ship_all(machine: Machine) -> list[str]:
    """Ship without a failure, and return the ids of what was shipped."""
    outcomes = list(ship(machine.settings()))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return [outcome.entry.id for outcome in outcomes]


def ship_one_failing(machine: Machine) -> PersistError:
    """Ship, and return the one error that comes of it."""
    [error] = [outcome.error for outcome in ship(machine.settings()) if outcome.error]
    return error


def stored(machine: Machine, entry: BackupEntry) -> bytes:
    """Return the bytes of a backup's file here."""
    return (machine.settings().backup_dir / entry.file).read_bytes()


def fetched(machine: Machine, entry: BackupEntry) -> bytes:
    """Fetch a backup into a new place and return its bytes; nothing is left beside it."""
    folder = machine.home / "fetched"
    folder.mkdir(exist_ok=True)
    target = folder / entry.file
    fetch(entry, target, machine.settings())
    assert [path.name for path in folder.iterdir()] == [target.name]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    data = target.read_bytes()
    target.unlink()
    return data


def test_backups_are_shipped_once_the_oldest_first(machine: Machine) -> None:
    """Each lies there in parts with its line, is recorded here, and comes back byte by byte."""
    entries = [machine.back_up(name) for name in ("users", "elo", "users")]
    state = Catalog(machine.settings().backup_dir).read()
    assert oldest_unshipped_age_s(state, machine.settings(), times.utc_now()) is not None
    assert ship_all(machine) == [entry.id for entry in entries]
    before = machine.names()
    assert ship_all(machine) == []
    assert machine.names() == before
    state = Catalog(machine.settings().backup_dir).read()
    assert oldest_unshipped_age_s(state, machine.settings(), times.utc_now()) is None
    for entry in entries:
        assert state.shipments[entry.id].url.endswith(f"/{entry.database}/{entry.id}.json")
        parts = [name for name in before if name.startswith(f"{entry.database}/{entry.file}/")]
        assert len(parts) == -(-entry.size_bytes // machine.part_bytes)
        assert b"".join((machine.objects / name).read_bytes() for name in parts) == stored(machine, entry)
        assert fetched(machine, entry) == stored(machine, entry)
    assert remote_entries(machine.settings()) == tuple(entries)
    assert [one.state for one in check(machine.settings(), look(machine.settings()))] == [RemoteState.WHOLE] * 3


def test_the_lag_is_the_age_of_the_oldest_that_is_not_there(folder_machine: Machine) -> None:
    """Without an off-site there is none."""
    first, _ = folder_machine.back_up(), folder_machine.back_up("elo")
    state = Catalog(folder_machine.settings().backup_dir).read()
    now = first.created_at + timedelta(hours=1)
    assert oldest_unshipped_age_s(state, folder_machine.settings(), now) == 3600
    assert oldest_unshipped_age_s(state, folder_machine.settings(ARAGORA_OFFSITE_URL=""), now) is None


def test_another_off_site_gets_everything_that_is_here(machine: Machine, tmp_path: Path) -> None:
    """What was shipped to the old one is not there; and where nothing can be, all of it waits."""
    entries = [machine.back_up(), machine.back_up("elo")]
    ship_all(machine)
    (tmp_path / "other").mkdir()
    settings = machine.settings(ARAGORA_OFFSITE_URL=f"{(tmp_path / 'other').as_uri()}/")
    state = Catalog(settings.backup_dir).read()
    for unusual in (settings, machine.settings(ARAGORA_OFFSITE_URL="ftp://nowhere")):
        assert oldest_unshipped_age_s(state, unusual, entries[0].created_at) == 0
    assert [outcome.entry for outcome in ship(settings)] == entries
    assert list(ship(settings)) == []
    assert remote_entries(settings) == tuple(entries)
    assert oldest_unshipped_age_s(Catalog(settings.backup_dir).read(), settings, times.utc_now()) is None


def test_an_upload_goes_on_where_it_stopped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are there are compared and not made again, whatever size their maker chose for them."""
    entry = machine.back_up()
    asked = iter([False] * 3)
    assert list(ship(machine.settings(), stop=lambda: next(asked, True))) == []
    begun = {name: (machine.objects / name).stat().st_ino for name in machine.names()}
    assert len(begun) == 2
    assert look(machine.settings()) == ()
    monkeypatch.setattr(shipping, "_PART_BYTES", machine.part_bytes // 2)
    assert ship_all(machine) == [entry.id]
    assert {name: (machine.objects / name).stat().st_ino for name in begun} == begun
    assert fetched(machine, entry) == stored(machine, entry)


def test_a_catalog_that_forgot_what_was_shipped_finds_it(machine: Machine) -> None:
    """The line off-site may say more of the same file than a catalog made anew."""
    entry = machine.back_up()
    ship_all(machine)
    line = machine.line(entry).read_bytes()
    catalog = machine.settings().backup_dir / "catalog.jsonl"
    forgetful = replace(entry, run="", duration_s=0.0)
    catalog.write_bytes(forgetful.to_line())
    assert ship_all(machine) == [entry.id]
    assert machine.line(entry).read_bytes() == line


def test_another_content_under_the_name_is_a_conflict_that_loses_nothing(machine: Machine) -> None:
    """The error names both; the other backups are shipped all the same."""
    entry, other = machine.back_up(), machine.back_up("elo")
    theirs = machine.objects / entry.database / entry.file / "000000000000"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"of another machine")
    error = ship_one_failing(machine)
    assert isinstance(error, ConflictError)
    assert error.target == str(machine.settings().backup_dir / entry.file)
    assert f"/{entry.database}/{entry.file}/000000000000 is there with another content" in error.problem
    assert theirs.read_bytes() == b"of another machine"
    assert hashlib.sha256(stored(machine, entry)).hexdigest() == entry.sha256
    assert remote_entries(machine.settings()) == (other,)


def test_another_line_under_the_name_is_a_conflict_too(machine: Machine) -> None:
    """As when two machines ship to one place: give each a prefix of its own."""
    entry = machine.back_up()
    theirs = replace(entry, sha256="0" * 64).to_line()
    assert Objects(machine.settings()).create(line_name(entry), theirs, {})
    error = ship_one_failing(machine)
    assert isinstance(error, ConflictError)
    assert "ARAGORA_OFFSITE_URL" in error.hint
    assert machine.line(entry).read_bytes() == theirs
    assert Catalog(machine.settings().backup_dir).read().shipments == {}


@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_what_is_damaged_here_is_not_shipped(machine: Machine, harm: str) -> None:
    """Not a byte of it, since nothing there can be taken away again; what comes after it is shipped."""
    entry, other = machine.back_up(), machine.back_up("elo")
    path = machine.settings().backup_dir / entry.file
    data = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(data[:-1] if harm == "cut" else bytes([data[0] ^ 1]) + data[1:])
    error = ship_one_failing(machine)
    assert isinstance(error, DamagedError)
    assert error.target == str(path)
    assert {name.partition("/")[0] for name in machine.names()} == {"elo"}
    assert remote_entries(machine.settings()) == (other,)


def test_what_changes_on_its_way_becomes_no_backup(machine: Machine) -> None:
    """Not even where each of its parts arrived as it was read: the line is not made."""
    entry = machine.back_up()
    path = machine.settings().backup_dir / entry.file
    asked = 0

    def change_before_the_second_part() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            with path.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"?")
        return False

    [outcome] = ship(machine.settings(), stop=change_before_the_second_part)
    assert isinstance(outcome.error, DamagedError)
    assert "changed while it was shipped" in outcome.error.problem
    assert look(machine.settings()) == ()
    assert Catalog(machine.settings().backup_dir).read().shipments == {}


def test_only_what_is_whole_is_offered(machine: Machine) -> None:
    """A wrong checksum, a line without its parts, one under another's name: all are shown, none is offered."""
    entries = [machine.back_up() for _ in range(5)]
    ship_all(machine)
    whole, damaged, incomplete, renamed, shortened = entries
    line = machine.line(damaged)
    line.write_bytes(line.read_bytes().replace(b"file-copy", b"reflink--").replace(b"users_", b"Users_", 1))
    machine.part(incomplete, 1).unlink()
    machine.line(renamed).rename(machine.objects / "users" / "users_20200101_000000.json")
    os.truncate(machine.part(shortened, -1), 1)
    (machine.objects / "users" / "notes.txt").write_text("no line")
    states = {one.name.partition("/")[2]: one.state for one in look(machine.settings())}
    assert states == {
        f"{whole.id}.json": RemoteState.WHOLE,
        f"{damaged.id}.json": RemoteState.DAMAGED,
        f"{incomplete.id}.json": RemoteState.INCOMPLETE,
        "users_20200101_000000.json": RemoteState.DAMAGED,
        f"{shortened.id}.json": RemoteState.INCOMPLETE,
    }
    assert remote_entries(machine.settings()) == (whole,)
    with pytest.raises(NotFoundError, match="is not there as a whole"):
        fetched(machine, incomplete)


@pytest.mark.parametrize(
    "lie",
    [
        {"file": "../../users.db"},
        {"file": "users_20260101_000000.db/../../../x", "id": "users_20260101_000000"},
        {"file": "other.db"},
        {"file": 5},
        {"file": "..", "id": "."},
        {"sha256": "../../../x"},
        {"sha256": 5},
        {"size_bytes": "many"},
    ],
)
def test_a_line_that_lies_is_not_believed(machine: Machine, lie: dict[str, object]) -> None:
    """Whoever can write there shall not choose names of files here, or end the listing."""
    entry = machine.back_up()
    ship_all(machine)
    evil = replace(entry, **lie)  # type: ignore[arg-type] # a line can hold anything
    (machine.objects / "users" / f"{evil.id}.json").write_bytes(evil.to_line())
    states = {one.name: (one.state, one.entry) for one in look(machine.settings())}
    assert states[f"users/{evil.id}.json"] == (RemoteState.DAMAGED, None)


def test_a_flipped_bit_off_site_is_found_and_never_published(machine: Machine) -> None:
    """By a check, and by whoever fetches it: nothing is left of it here."""
    entry = machine.back_up()
    ship_all(machine)
    part = machine.part(entry, 2)
    data = part.read_bytes()
    with part.open("r+b") as file:
        file.write(bytes([data[0] ^ 1]))
    assert [one.state for one in look(machine.settings())] == [RemoteState.WHOLE]
    assert [one.state for one in check(machine.settings(), look(machine.settings()))] == [RemoteState.DAMAGED]
    target = machine.home / entry.file
    with pytest.raises(DamagedError, match="is not what was shipped"):
        fetch(entry, target, machine.settings())
    assert [path.name for path in machine.home.iterdir() if entry.id in path.name] == []


def hidden(machine: Machine, entry: BackupEntry) -> Path:
    """Return where a backup grows that is being fetched into the machine's home."""
    return machine.home / f".{entry.file}.{entry.sha256[:8]}.fetched"


@pytest.mark.parametrize("of_it", [40_000, 100_000, 10_000_000])
def test_a_fetch_goes_on_with_what_it_has(machine: Machine, of_it: int) -> None:
    """In the middle of a part, too. What a loss of power left, with other bytes or too many, is fetched anew."""
    entry = machine.back_up()
    ship_all(machine)
    data = stored(machine, entry)
    for begun in (data[:of_it], data[: of_it - 1000] + bytes(1000)):
        hidden(machine, entry).write_bytes(begun)
        fetch(entry, machine.home / entry.file, machine.settings())
        assert (machine.home / entry.file).read_bytes() == data
        assert not hidden(machine, entry).exists()
        (machine.home / entry.file).unlink()


def test_a_fetch_removes_what_one_of_another_backup_left(machine: Machine) -> None:
    """Unless that goes on just now: each may be as large as the database."""
    entry, _ = machine.back_up(), machine.back_up("elo")
    ship_all(machine)
    names = (".users_20200101_000000.db.0123abcd.fetched", ".users_20210101_000000.db.0123abcd.fetched")
    left, running = (machine.home / name for name in names)
    left.write_bytes(b"left")
    with running.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        fetch(entry, machine.home / entry.file, machine.settings())
    assert not left.exists()
    assert running.exists()


def test_a_fetch_that_cannot_be_written_leaves_nothing(machine: Machine) -> None:
    """What does not fit must not fill the disk."""
    entry = machine.back_up()
    ship_all(machine)
    with largest_file(machine.part_bytes + 1), pytest.raises(StorageError, match="File too large"):
        fetch(entry, machine.home / entry.file, machine.settings())
    assert [path.name for path in machine.home.iterdir() if entry.file in path.name] == []


def test_a_fetch_replaces_nothing(machine: Machine) -> None:
    """An existing file stays as it is."""
    entry = machine.back_up()
    ship_all(machine)
    target = machine.home / entry.file
    target.write_text("mine")
    with pytest.raises(ConflictError):
        fetch(entry, target, machine.settings())
    assert target.read_text() == "mine"


def test_two_that_fetch_the_same_do_not_meet(machine: Machine) -> None:
    """As a drill and a restore: the second one has a file of its own, and what the first one has stays."""
    entry = machine.back_up()
    ship_all(machine)
    with hidden(machine, entry).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("of the first")
        other.flush()
        fetch(entry, machine.home / entry.file, machine.settings())
    assert (machine.home / entry.file).read_bytes() == stored(machine, entry)
    assert hidden(machine, entry).read_text() == "of the first"


def test_a_folder_has_on_disk_what_it_has_by_name(folder_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object is flushed before it gets its name, its folder afterwards, and only its owner may read it."""
    entry = folder_machine.back_up()
    flushed: list[tuple[str, list[str]]] = []
    flush = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), folder_machine.names()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    ship_all(folder_machine)
    monkeypatch.undo()
    for name in folder_machine.names():
        path = folder_machine.objects / name
        before = [
            at
            for at, (flushed_path, names) in enumerate(flushed)
            if f".{path.name}." in flushed_path and name not in names
        ]
        after = [at for at, (folder, names) in enumerate(flushed) if folder == str(path.parent) and name in names]
        assert before, name
        assert after, name
        assert before[-1] < after[0]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert remote_entries(folder_machine.settings()) == (entry,)


def test_what_a_killed_process_left_in_a_folder_goes_with_the_next_object(folder_machine: Machine) -> None:
    """It never had a name, so no listing takes it for a part."""
    entry = folder_machine.back_up()
    folder = folder_machine.objects / entry.database / entry.file
    folder.mkdir(parents=True)
    (folder / ".000000000000.0123abcd.partial").write_bytes(b"half")
    assert ship_all(folder_machine) == [entry.id]
    assert [name for name in folder_machine.names() if "partial" in name] == []


def test_a_folder_that_is_not_there_is_not_made(folder_machine: Machine) -> None:
    """It may be where a disk is mounted: a folder made in its place would be on this machine's own."""
    entry = folder_machine.back_up()
    folder_machine.objects.rmdir()
    with pytest.raises(NotFoundError, match="there is no such folder"):
        list(ship(folder_machine.settings()))
    assert not folder_machine.objects.exists()
    folder_machine.objects.mkdir()
    objects = Objects(folder_machine.settings())
    folder_machine.objects.rmdir()  # as when it is unmounted in the middle
    with pytest.raises(NotFoundError, match="there is no such folder"):
        objects.create("users/x", b"x", {})
    assert not folder_machine.objects.exists()
    folder_machine.objects.mkdir()
    assert ship_all(folder_machine) == [entry.id]


def test_variables_of_aws_mean_nothing_here(s3_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are those of this package; what a machine has for other programs must not lead backups elsewhere."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SECRET_ACCESS_KEY": "another",
        "AWS_SESSION_TOKEN": "another",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_BUCKET": "another",
        "AWS_REGION": "another",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_CONDITIONAL_PUT": "disabled",
        "AWS_CHECKSUM_ALGORITHM": "crc64nvme",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_REQUEST_PAYER": "true",
    }.items():
        monkeypatch.setenv(name, value)
    entry = s3_machine.back_up()
    assert ship_all(s3_machine) == [entry.id]
    assert remote_entries(s3_machine.settings()) == (entry,)


def test_what_is_not_encrypted_stays_here_once_there_are_recipients(machine: Machine, tmp_path: Path) -> None:
    """Not a byte of it leaves, which is said each time; it does not count as late, and goes where nobody encrypts."""
    plain = machine.back_up(more={"ARAGORA_BACKUP_COMPRESSION": "zstd"})
    machine.environ["ARAGORA_BACKUP_RECIPIENTS"] = make_identity(tmp_path / "identity")
    settings = machine.settings()
    assert list(ship(settings)) == []
    assert machine.names() == []
    secret = machine.back_up()
    said = backups_ship(machine)
    assert said[0] == f"Shipped: {secret.id}"
    assert said[1].endswith(f"not encrypted and there are recipients: {plain.id}")
    assert remote_entries(settings) == (secret,)
    assert [name for name in machine.names() if plain.id in name and secret.id not in name] == []
    report = take_report(settings, times.utc_now())
    assert (report.offsite_lag_s, report.offsite_held_back) == (0.0, 1)
    del machine.environ["ARAGORA_BACKUP_RECIPIENTS"]
    assert backups_ship(machine) == [f"Shipped: {plain.id}"]


def backups_ship(machine: Machine) -> list[str]:
    """Ship as an operator does, and return what is said."""
    command = (sys.executable, "-m", "aragora_persist", "--nomic-dir", str(machine.home), "backups", "--ship")
    return subprocess.run(command, env=machine.environ, capture_output=True, text=True, check=True).stdout.splitlines()
