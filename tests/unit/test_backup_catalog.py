"""The catalog's lines: what was written is read, what was not is noticed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.lines import parse, to_line
from aragora_persist.backup.records import BackupEntry, Drill, Shipment
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import BusyError
from tests.full_disk import largest_file
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


MOMENT = datetime(2026, 3, 9, tzinfo=UTC)


def entry(number: int) -> BackupEntry:
    """Return an entry whose every field has something to lose."""
    return BackupEntry(
        id=f"users_{number}",
        database="users",
        file=f"users_{number}.db",
        created_at=datetime(2026, 3, 1, 12, 0, number, 5, tzinfo=UTC),
        duration_s=0.25,
        size_bytes=4096,
        sha256="ab" * 32,
        plain_size_bytes=16384,
        plain_sha256="ef" * 32,
        content=Content(
            schema_version=2, foreign_key_violations=1, tables={"üsers": TableContent(rows=3, digest="cd" * 32)}
        ),
        method="sqlite-backup-api",
        package_version="0.1.0",
        run="20260301_120000_0a1b2c3d",
        recipients=("0123456789abcdef", "fedcba9876543210"),
    )


def drill(number: int, *, ok: bool = True, database: str = "users") -> Drill:
    """Return what came of a drill of a backup."""
    return Drill(
        backup=f"{database}_{number}",
        database=database,
        at=MOMENT.replace(second=number % 60),
        ok=ok,
        seconds=1.5,
        source="local",
        problem="" if ok else "rows are missing",
    )


def shipment(number: int) -> Shipment:
    """Return the record of a backup that is off-site."""
    return Shipment(backup=f"users_{number}", at=MOMENT, url="s3://bucket/prefix")


def write(directory: Path, *numbers: int) -> Catalog:
    """Return a catalog to which these entries were added."""
    catalog = Catalog(directory)
    for number in numbers:
        with catalog.writing(timeout_s=PATIENCE_S) as writer:
            writer.add_backup(entry(number))
    return catalog


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Entries come back equal and in order; a deletion moves one to the deleted."""
    catalog = write(tmp_path, 1, 2, 3)
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.add_deletion(entry(2), at=datetime(2026, 3, 9, tzinfo=UTC), reason="older than 7 days")
    state = catalog.read()
    assert state.backups == (entry(1), entry(3))
    assert state.deleted == (entry(2),)
    assert (state.damaged_lines, state.torn) == ((), False)
    assert state.known_files == {"users_1.db", "users_2.db", "users_3.db"}


def test_a_line_of_the_first_release_is_a_plain_backup(tmp_path: Path) -> None:
    """Fields that it lacks have the values that were true of all its backups, and 0.1.0 reads our lines too."""
    record = {
        "kind": "backup",
        "id": "elo_20261123_120000",
        "database": "elo",
        "file": "elo_20261123_120000.db",
        "created_at": "2026-11-23T12:00:00.000000Z",
        "duration_s": 0.5,
        "size_bytes": 4096,
        "sha256": "00",
        "schema_version": 3,
        "foreign_key_violations": 0,
        "tables": {"ratings": {"rows": 1, "digest": "11"}},
        "method": "sqlite-backup-api",
        "package_version": "0.1.0",
    }
    (tmp_path / "catalog.jsonl").write_bytes(to_line(record))
    (read,) = Catalog(tmp_path).read().backups
    assert (read.run, read.recipients) == ("", ())
    assert (read.plain_size_bytes, read.plain_sha256) == (read.size_bytes, read.sha256) == (4096, "00")
    assert record.keys() <= json.loads(read.to_line()).keys()


def test_an_entry_can_travel_as_a_line(tmp_path: Path) -> None:
    """What is off-site is the same line; one of another kind, or of a file elsewhere, is none."""
    assert BackupEntry.from_line(entry(1).to_line()) == entry(1)
    assert Catalog(tmp_path).path.exists() is False
    assert BackupEntry.from_line(to_line({"kind": "deleted", "id": "users_1"})) is None
    assert BackupEntry.from_line(entry(1).to_line()[:-2]) is None
    for file in ("../users_1.db", "users_2.db", "users_1", ""):
        assert BackupEntry.from_line(replace(entry(1), file=file).to_line()) is None, file


@pytest.mark.parametrize(
    "id_", ["", ".", "..", "../users_1", "/users_1", "users_1\0", "elo_1", ".users_1", "users_*", 7]
)
def test_no_line_names_a_file_elsewhere(tmp_path: Path, id_: str) -> None:
    """Whoever can write lines, and their checksums, makes nobody read or remove what is no backup."""
    for file in (f"{id_}.db", id_):
        line = replace(entry(1), id=id_, file=file).to_line()
        assert BackupEntry.from_line(line) is None
        (tmp_path / "catalog.jsonl").write_bytes(line)
        assert (Catalog(tmp_path).read().backups, Catalog(tmp_path).read().damaged_lines) == ((), (1,))
    assert BackupEntry.from_line(replace(entry(1), database="../users").to_line()) is None


def test_drills_and_shipments_are_read(tmp_path: Path) -> None:
    """Of drills the last of each database and its last good one count; of shipments the last of each backup."""
    catalog = write(tmp_path, 1, 2)
    drills = [drill(1), drill(1, database="elo"), drill(2), drill(3, ok=False), drill(4, ok=False)]
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        for one in drills:
            writer.add_drill(one)
        for number in (1, 2, 2):
            writer.add_shipment(shipment(number))
    state = catalog.read()
    assert state.drills == (drills[1], drills[2], drills[4])
    assert state.shipments == {"users_1": shipment(1), "users_2": shipment(2)}
    assert [*catalog.drills_newest_first()] == drills[::-1]
    assert [one.id for one in catalog.newest_first()] == ["users_2", "users_1"]


def test_drills_do_not_make_the_catalog_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When many have come together, only those that count are left, and no other line is touched."""
    monkeypatch.setattr("aragora_persist.backup.catalog._MOST_DRILLS", 20)
    catalog = write(tmp_path, 1)
    with catalog.path.open("ab") as file:
        file.write(b"damaged\n")
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.add_shipment(shipment(1))
        for number in range(50):
            writer.add_drill(drill(number, ok=number != 40))
    state = catalog.read()
    assert len(catalog.path.read_bytes().splitlines()) <= 3 + 20
    assert (state.drills, state.shipments) == ((drill(49),), {"users_1": shipment(1)})
    assert (state.backups, state.damaged_lines) == ((entry(1),), (2,))


def test_what_is_forgotten_takes_its_shipments_along(tmp_path: Path) -> None:
    """The drill that is the last good one of its database stays, although its backup is gone."""
    catalog = write(tmp_path, 1, 2)
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.add_shipment(shipment(1))
        writer.add_drill(drill(1))
        writer.add_deletion(entry(1), at=MOMENT, reason="old")
        writer.forget([entry(1)])
    state = catalog.read()
    assert (state.backups, state.deleted, state.shipments, state.drills) == ((entry(2),), (), {}, (drill(1),))


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    """Reading creates nothing."""
    assert Catalog(tmp_path / "missing").read().backups == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_line_torn_by_a_crash_goes_with_the_next_write(tmp_path: Path, cut: int) -> None:
    """An incomplete last line is neither offered nor called damage, and the next entry stands in its place."""
    catalog = write(tmp_path, 1, 2)
    whole = catalog.path.read_bytes()
    catalog.path.write_bytes(whole[:-cut])
    state = catalog.read()
    # Without its newline alone, a line is still complete.
    assert state.backups == ((entry(1), entry(2)) if cut == 1 else (entry(1),))
    assert (state.damaged_lines, state.torn) == ((), cut > 1)
    write(tmp_path, 3)
    state = catalog.read()
    assert state.backups == ((entry(1), entry(2), entry(3)) if cut == 1 else (entry(1), entry(3)))
    assert (state.damaged_lines, state.torn) == ((), False)


def test_a_last_line_whose_newline_was_changed_is_damaged_and_stays(tmp_path: Path) -> None:
    """No crash leaves that: the next write, which removes what a crash left, must not remove an entry with it."""
    catalog = write(tmp_path, 1, 2)
    catalog.path.write_bytes(catalog.path.read_bytes()[:-1] + b"\x0b")
    for number in (3, 4):
        state = catalog.read()
        assert (state.damaged_lines, state.torn) == ((2,), False)
        write(tmp_path, number)
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.forget([entry(1)])
    assert catalog.read().backups == (entry(3), entry(4))
    assert entry(2).to_line()[:-1] in catalog.path.read_bytes()


def catalog_of_every_kind(directory: Path) -> Catalog:
    """Return a catalog that has a line of each kind."""
    catalog = write(directory, 1)
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.add_drill(drill(1))
        writer.add_shipment(shipment(1))
        writer.add_deletion(entry(1), at=MOMENT, reason="old")
    return catalog


def test_every_flipped_bit_makes_a_line_none(tmp_path: Path) -> None:
    """Whichever single bit of a line of whatever kind changes, nothing is read from it."""
    lines = catalog_of_every_kind(tmp_path).path.read_bytes().splitlines()
    assert [parse(line) is None for line in lines] == [False] * 4
    for line in lines:
        for bit in range(len(line) * 8):
            changed = bytearray(line)
            changed[bit // 8] ^= 1 << bit % 8
            assert parse(bytes(changed)) is None, (line, bit)


def test_damage_anywhere_in_the_catalog_is_noticed(tmp_path: Path) -> None:
    """Newlines too: what a damaged line says is not there, and nothing else is there instead."""
    catalog = catalog_of_every_kind(tmp_path)
    whole = catalog.path.read_bytes()
    newlines = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for place, bit in [*((n, 1 << n % 8) for n in range(0, len(whole), 5)), *product(newlines, (1, 2, 4, 8, 64, 128))]:
        changed = bytearray(whole)
        changed[place] ^= bit
        catalog.path.write_bytes(changed)
        state = catalog.read()
        assert state.damaged_lines or state.torn, place
        assert all(one == entry(1) for one in (*state.backups, *state.deleted)), place
        assert state.drills in {(), (drill(1),)}, place
        assert state.shipments in ({}, {"users_1": shipment(1)}), place


def test_a_damaged_line_is_reported_and_stays(tmp_path: Path) -> None:
    """Damage in the middle is named by its line, costs only that entry, and later writes do not hide it."""
    catalog = write(tmp_path, 1, 2)
    catalog.path.write_bytes(catalog.path.read_bytes().replace(b'"users_1"', b'"users_7"'))
    write(tmp_path, 3)
    state = catalog.read()
    assert state.backups == (entry(2), entry(3))
    assert state.damaged_lines == (1,)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b"\xff", b'{"kind": "backup"}', b"[" * 100_000])
def test_foreign_lines_are_damage(tmp_path: Path, line: bytes) -> None:
    """Whatever else stands in the file is reported, and nothing breaks."""
    catalog = write(tmp_path, 1)
    with catalog.path.open("ab") as file:
        file.write(line + b"\n")
    state = catalog.read()
    assert state.backups == (entry(1),)
    assert state.damaged_lines == (2,)


@pytest.mark.parametrize("record", [{}, {"kind": "backup"}, {"kind": "backup", "id": []}, {"kind": "deleted"}])
def test_a_sound_line_without_its_fields_is_damage(tmp_path: Path, record: dict[str, object]) -> None:
    """A checksum alone makes no entry."""
    catalog = write(tmp_path, 1)
    with catalog.path.open("ab") as file:
        file.write(to_line(record))
    assert catalog.read().damaged_lines == (2,)


def test_lines_of_a_later_release_are_passed_over(tmp_path: Path) -> None:
    """A kind of line that this release does not know is neither damage nor a backup."""
    catalog = write(tmp_path, 1)
    with catalog.path.open("ab") as file:
        file.write(to_line({"kind": "moon", "id": "users_1"}))
    assert (catalog.read().backups, catalog.read().damaged_lines) == ((entry(1),), ())


def test_a_full_disk_leaves_no_halfto_line(tmp_path: Path) -> None:
    """A write that stops in its middle is taken back, and the next one stands on a line of its own."""
    catalog = write(tmp_path, 1)
    whole = catalog.path.read_bytes()
    with largest_file(len(whole) + 50), pytest.raises(OSError, match="File too large"):
        write(tmp_path, 2)
    assert catalog.path.read_bytes() == whole
    write(tmp_path, 3)
    assert catalog.read().backups == (entry(1), entry(3))


def test_forgetting_keeps_a_last_line_without_its_newline(tmp_path: Path) -> None:
    """What a reader counts as a backup is not lost with those that are forgotten."""
    catalog = write(tmp_path, 1, 2)
    catalog.path.write_bytes(catalog.path.read_bytes()[:-1])
    with catalog.writing(timeout_s=PATIENCE_S) as writer:
        writer.forget([entry(1)])
    assert catalog.read().backups == (entry(2),)


def test_writers_do_not_interleave(tmp_path: Path) -> None:
    """Many writers at once lose no entry and damage none."""
    threads = [threading.Thread(target=write, args=(tmp_path, *range(start, 40, 8))) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = Catalog(tmp_path).read()
    assert sorted(one.created_at.second for one in state.backups) == list(range(40))
    assert (state.damaged_lines, state.torn) == ((), False)


def test_a_held_catalog_is_busy(tmp_path: Path) -> None:
    """Whoever waits for the lock longer than the timeout gets a BusyError, and the catalog is as it was."""
    catalog = write(tmp_path, 1)
    with catalog.writing(timeout_s=PATIENCE_S), pytest.raises(BusyError), catalog.writing(timeout_s=0.1):
        raise AssertionError("two writers at once")
    assert catalog.read().backups == (entry(1),)
