"""When the objects of a listing are a whole backup, whatever else is there and whoever made the parts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.backup.offsite.layout import is_of, line_name, part_name, parts
from aragora_persist.backup.offsite.objects import StoredObject
from tests.backup_entries import entry_of

if TYPE_CHECKING:
    from aragora_persist.backup.records import BackupEntry


def sized(size_bytes: int) -> BackupEntry:
    """Return an entry of a file of this size."""
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    return entry_of("users_20260131_120000", moment, file="users_20260131_120000.db.zst", size_bytes=size_bytes)


def listing(entry: BackupEntry, sizes: list[int]) -> dict[str, StoredObject]:
    """Return the objects of parts of these sizes, one after the other."""
    offsets = [sum(sizes[:number]) for number in range(len(sizes))]
    names = [part_name(entry, offset) for offset in offsets]
    return {name: StoredObject(name, size, "") for name, size in zip(names, sizes, strict=True)}


@given(sizes=st.lists(st.integers(1, 1 << 40), min_size=1, max_size=8), data=st.data())
@settings(max_examples=100)
def test_parts_of_any_sizes_are_whole_together_and_not_without_one(sizes: list[int], data: st.DataObject) -> None:
    """They are found in their order; one that is missing, or a last one of another size, makes them no backup."""
    entry = sized(sum(sizes))
    known = listing(entry, sizes)
    found = parts(entry, known)
    assert found is not None
    assert [(part.offset, part.size_bytes) for part in found] == [
        (sum(sizes[:number]), size) for number, size in enumerate(sizes)
    ]
    name = data.draw(st.sampled_from(sorted(known)))
    assert parts(entry, {key: one for key, one in known.items() if key != name}) is None
    last = max(known)
    size = data.draw(st.integers(0, 1 << 41).filter(lambda size: size != known[last].size_bytes))
    assert parts(entry, {**known, last: StoredObject(last, size, "")}) is None


def test_what_lies_behind_its_end_takes_no_backup_away() -> None:
    """As when another machine, with a longer file of the same name, tried to go on behind it."""
    entry = sized(10)
    known = listing(entry, [4, 6, 5])
    assert parts(entry, known) == parts(entry, listing(entry, [4, 6]))
    assert parts(entry, known) is not None


def test_names_stand_in_the_order_of_the_bytes() -> None:
    """In a listing, which is sorted as text."""
    entry = sized(1)
    names = [part_name(entry, offset) for offset in (0, 9, 10, 8 << 20, 1 << 39)]
    assert names == sorted(names)
    assert names[0] == "users/users_20260131_120000.db.zst/000000000000"
    assert line_name(entry) == "users/users_20260131_120000.json"
    assert is_of(entry, "users/users_20260131_120000.json")
    assert not is_of(entry, "elo/users_20260131_120000.json")
