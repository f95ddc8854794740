"""Archives: what was packed comes out again, or an error says why not; nothing else ever comes out."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.archive import Stored, ending, pack, unpack
from aragora_persist.backup.names import is_packed
from aragora_persist.settings import Compression
from tests.age_identities import make_identity

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"".join(b"%d rows of some content\n" % number for number in range(40))
FORMS = [
    pytest.param(Compression.ZSTD, False, id="zst"),
    pytest.param(Compression.NONE, True, id="age"),
    pytest.param(Compression.ZSTD, True, id="zst.age"),
]


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    """Return a file with a new identity, and its public key."""
    path = tmp_path / "identity"
    return path, make_identity(path)


def packed(
    folder: Path, content: bytes, compression: Compression, recipients: tuple[str, ...] = ()
) -> tuple[Path, Stored]:
    """Return an archive of these bytes and what packing it said."""
    plain = folder / "plain.db"
    plain.write_bytes(content)
    archive = folder / f"users_1.db{ending(compression=compression, recipients=recipients)}"
    with archive.open("wb") as file:
        stored = pack(plain, file, compression=compression, recipients=recipients)
    return archive, stored


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_001])
@pytest.mark.parametrize(("compression", "encrypted"), [*FORMS, (Compression.NONE, False)])
def test_what_was_packed_comes_out(
    tmp_path: Path, identity: tuple[Path, str], size: int, compression: Compression, *, encrypted: bool
) -> None:
    """Of every size and in every form; both sides say the size and the digest of what they wrote."""
    content = random.Random(size).randbytes(size // 2) * 2 + b"x" * (size % 2)  # noqa: S311 - any bytes will do
    archive, stored = packed(tmp_path, content, compression, (identity[1],) if encrypted else ())
    plain = unpack(archive, tmp_path / "out", identity_file=identity[0])
    assert (tmp_path / "out").read_bytes() == content
    assert plain == Stored(size, hashlib.sha256(content).hexdigest())
    assert stored == Stored(archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert is_packed(archive.name) == (archive.name != "users_1.db")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
