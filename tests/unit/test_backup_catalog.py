"""The catalog's lines: what was written is read, what was not is noticed."""

from __future__ import annotations

import resource
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import BackupEntry, Catalog
from aragora_persist.backup.lines import to_line
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import BusyError
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


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


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Whichever single bit of the file changes, the entry it belongs to is not offered as something else."""
    catalog = write(tmp_path, 1, 2)
    whole = catalog.path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        catalog.path.write_bytes(changed)
        state = catalog.read()
        assert state.backups in ((), (entry(1),), (entry(2),)), position
        assert state.damaged_lines or state.torn, position


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
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
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
