"""Data and encryption key belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import ConflictError, InvalidValueError
from aragora_persist.service.encryption_key import RECORD, check_encryption_key

if TYPE_CHECKING:
    from pathlib import Path


def _key_file(folder: Path, key: str) -> Path:
    path = folder / "key"
    path.write_text(key + "\n")
    return path


def test_data_takes_the_first_key_and_knows_it_again(tmp_path: Path) -> None:
    """The first key is recorded, not itself but a digest, and accepted afterwards."""
    key = "k" * 44
    check_encryption_key(_key_file(tmp_path, key), tmp_path / "data")
    record = tmp_path / "data" / RECORD
    before = record.read_text()
    check_encryption_key(_key_file(tmp_path, key), tmp_path / "data")
    assert record.read_text() == before
    assert key not in before
    assert [path.name for path in (tmp_path / "data").iterdir()] == [RECORD]


def test_another_key_is_refused_and_the_record_stays(tmp_path: Path) -> None:
    """A key that the data was not written with changes nothing."""
    check_encryption_key(_key_file(tmp_path, "a" * 44), tmp_path)
    before = (tmp_path / RECORD).read_text()
    with pytest.raises(ConflictError, match="another encryption key") as caught:
        check_encryption_key(_key_file(tmp_path, "b" * 44), tmp_path)
    assert "b" * 44 not in str(caught.value)
    assert (tmp_path / RECORD).read_text() == before


def test_a_new_key_in_front_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """With the old one behind it, it is accepted, and afterwards alone; the old one alone is another key then."""
    old, new = "a" * 44, "b" * 44
    check_encryption_key(_key_file(tmp_path, old), tmp_path)
    both = f"{new}\n{old}"
    for accepted in (both, both, new):
        check_encryption_key(_key_file(tmp_path, accepted), tmp_path)
    with pytest.raises(ConflictError, match="another encryption key"):
        check_encryption_key(_key_file(tmp_path, old), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([RECORD, "key"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", "ab é".encode()])
def test_a_damaged_record_fits_no_key(tmp_path: Path, content: bytes) -> None:
    """Whatever the record holds, the key is refused and the record stays."""
    (tmp_path / RECORD).write_bytes(content)
    with pytest.raises(ConflictError, match="another encryption key"):
        check_encryption_key(_key_file(tmp_path, "a" * 44), tmp_path)
    assert (tmp_path / RECORD).read_bytes() == content


@pytest.mark.parametrize("content", ["", "short", "k" * 44 + "\nshort"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    """An empty or truncated secret never becomes the data's key."""
    with pytest.raises(InvalidValueError, match="no key"):
        check_encryption_key(_key_file(tmp_path, content), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """A mount that is not there is an error that names the path."""
    with pytest.raises(InvalidValueError, match="nowhere"):
        check_encryption_key(tmp_path / "nowhere", tmp_path)
