"""Archives: what was packed comes out again, or an error says why not; nothing else ever comes out."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.archive import Stored, check, ending, pack, unpack
from aragora_persist.backup.encryption import fingerprints, readable_by, readers
from aragora_persist.backup.names import is_packed
from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError
from aragora_persist.settings import Compression
from tests.age_identities import make_identity
from tests.contract.backup_folders import flip
from tests.full_disk import largest_file

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"".join(b"row %d\n" % number for number in range(12))
PACKED = [
    pytest.param(Compression.ZSTD, False, id="zst"),
    pytest.param(Compression.NONE, True, id="age"),
    pytest.param(Compression.ZSTD, True, id="zst.age"),
]
MIB = 1 << 20


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
@pytest.mark.parametrize(("compression", "encrypted"), [*PACKED, pytest.param(Compression.NONE, False, id="plain")])
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


@pytest.mark.parametrize(("compression", "encrypted"), [PACKED[0], PACKED[2]])
def test_whatever_bit_flips_nothing_wrong_comes_out(
    tmp_path: Path, identity: tuple[Path, str], compression: Compression, *, encrypted: bool
) -> None:
    """Each single bit: an error and no file; or what was packed, where the bit only names a larger window to zstd."""
    archive, _ = packed(tmp_path, CONTENT, compression, (identity[1],) if encrypted else ())
    out = tmp_path / "out"
    harmless = []
    for bit in range(archive.stat().st_size * 8):
        flip(archive, bit // 8, 1 << bit % 8)
        try:
            unpack(archive, out, identity_file=identity[0])
        except (DamagedError, AccessDeniedError):
            assert not out.exists(), bit
        else:
            assert out.read_bytes() == CONTENT, bit
            out.unlink()
            harmless.append(bit // 8)
        flip(archive, bit // 8, 1 << bit % 8)
    assert set(harmless) <= (set() if encrypted else {4, 5})


@pytest.mark.parametrize(("compression", "encrypted"), PACKED)
def test_an_archive_that_is_cut_or_longer_is_damaged(
    tmp_path: Path, identity: tuple[Path, str], compression: Compression, *, encrypted: bool
) -> None:
    """Wherever it ends, or with one byte more; nothing is left of the attempt."""
    archive, _ = packed(tmp_path, CONTENT, compression, (identity[1],) if encrypted else ())
    whole = archive.read_bytes()
    for wrong in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        archive.write_bytes(wrong)
        with pytest.raises(DamagedError, match="is damaged"):
            unpack(archive, tmp_path / "out", identity_file=identity[0])
        assert not (tmp_path / "out").exists()


def test_each_recipient_can_read_it_alone(tmp_path: Path) -> None:
    """Of several, any one identity will do; by what the catalog knows the keys, it cannot be told what they are."""
    files = [tmp_path / f"identity{number}" for number in range(3)]
    keys = tuple(make_identity(file) for file in files)
    archive, _ = packed(tmp_path, CONTENT, Compression.ZSTD, keys[:2])
    for number in (0, 1):
        unpack(archive, tmp_path / f"out{number}", identity_file=files[number])
        assert (tmp_path / f"out{number}").read_bytes() == CONTENT
        assert readers(archive, files[number]) == fingerprints(keys[number : number + 1]) == readable_by(files[number])
    with pytest.raises(AccessDeniedError, match="none of the identities") as denied:
        unpack(archive, tmp_path / "out", identity_file=files[2])
    assert str(files[2]) in str(denied.value)
    assert not (tmp_path / "out").exists()
    assert not any(key in " ".join(fingerprints(keys)) for key in keys)


def test_one_file_holds_many_identities(tmp_path: Path) -> None:
    """As after a rotation: comments, empty lines and Windows line ends are passed over, each identity is tried."""
    texts = []
    keys = []
    for number in range(3):
        keys.append(make_identity(tmp_path / f"identity{number}"))
        texts.append((tmp_path / f"identity{number}").read_text())
    file = tmp_path / "all"
    file.write_bytes("\n\n".join(texts).replace("\n", "\r\n").encode())
    for number, key in enumerate(keys):
        archive, _ = packed(tmp_path, CONTENT, Compression.NONE, (key,))
        unpack(archive, tmp_path / f"out{number}", identity_file=file)
        assert (tmp_path / f"out{number}").read_bytes() == CONTENT
    assert readable_by(file) == fingerprints(keys)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no identity"),
        (b"# only a comment\n", "holds no identity"),
        (b"AGE-SECRET-KEY-1QQQQ\n", "line 1 of .* is no identity"),
        (b"# one\n\xff\xfe\n", "line 2 of .* is no identity"),
        (None, "is not there, or is not a file"),
    ],
)
def test_a_file_without_an_identity_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """Empty, foreign, cut off, missing or a folder: the error names the variable and the file, and no byte of it."""
    archive, _ = packed(tmp_path, CONTENT, Compression.NONE, (make_identity(tmp_path / "identity"),))
    file = tmp_path / "wrong"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidValueError, match=problem) as refused:
        unpack(archive, tmp_path / "out", identity_file=file)
    assert refused.value.target == "ARAGORA_BACKUP_IDENTITY_FILE"
    assert "QQQQ" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidValueError, match="is not set"):
        unpack(archive, tmp_path / "out", identity_file=None)


def test_an_identity_file_that_this_user_may_not_read_is_named(tmp_path: Path) -> None:
    """The error says why, as the system does."""
    archive, _ = packed(tmp_path, CONTENT, Compression.NONE, (make_identity(tmp_path / "identity"),))
    (tmp_path / "identity").chmod(0)
    tmp_path.chmod(0o777)
    archive.chmod(0o644)
    code = (
        "import os, sys, pathlib\n"
        "from aragora_persist.backup.archive import unpack\n"
        "from aragora_persist.errors import InvalidValueError\n"
        "import pyrage\n"
        "os.chdir(sys.argv[1])\n"
        "if os.getuid() == 0: os.setuid(65534)\n"  # root may read everything
        "try:\n"
        "    unpack(pathlib.Path(sys.argv[2]), pathlib.Path('plain'), identity_file=pathlib.Path('identity'))\n"
        "except InvalidValueError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), archive.name], capture_output=True, text=True, check=False
    )
    assert "identity cannot be read: Permission denied" in run.stdout, run.stderr


def test_whatever_bit_of_the_identity_flips_nothing_wrong_comes_out(tmp_path: Path) -> None:
    """Each single bit: it is no identity any more, or one that reads nothing, or only its comment changed."""
    file = tmp_path / "identity"
    archive, _ = packed(tmp_path, CONTENT, Compression.NONE, (make_identity(file),))
    whole = file.read_bytes()
    comment = whole.index(b"AGE-SECRET-KEY")
    out = tmp_path / "out"
    for bit in range(len(whole) * 8):
        flip(file, bit // 8, 1 << bit % 8)
        try:
            unpack(archive, out, identity_file=file)
        except (InvalidValueError, AccessDeniedError):
            assert not out.exists()
        else:
            assert bit // 8 < comment or bit // 8 == len(whole) - 1, bit
            assert out.read_bytes() == CONTENT
            out.unlink()
        flip(file, bit // 8, 1 << bit % 8)


@pytest.mark.parametrize("key", ["age1qqqq", "nonsense", "AGE-SECRET-KEY-1QQQQ", "ssh-ed25519"])
def test_a_recipient_that_is_none_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    """The error says which one it is, and a secret key that was put there by mistake is not shown again."""
    good = make_identity(tmp_path / "identity")
    with pytest.raises(InvalidValueError, match="number 2 is") as refused:
        check(compression=Compression.NONE, recipients=(good, key))
    assert refused.value.target == "ARAGORA_BACKUP_RECIPIENTS"
    assert key not in f"{refused.value} {refused.value.__cause__!r}"
    assert ("secret key" in str(refused.value)) == key.startswith("AGE-SECRET")


@pytest.mark.parametrize(("compression", "encrypted"), PACKED)
def test_a_full_disk_is_told_as_such(
    tmp_path: Path, identity: tuple[Path, str], compression: Compression, *, encrypted: bool
) -> None:
    """On the way in and on the way out: the system's own error comes through both libraries, and no file stays."""
    recipients = (identity[1],) if encrypted else ()
    content = random.Random(1).randbytes(300_000)  # noqa: S311 - any bytes will do
    archive, _ = packed(tmp_path, content, compression, recipients)
    with largest_file(200_000):
        with (tmp_path / "other").open("wb", buffering=0) as file, pytest.raises(OSError, match="File too large"):
            pack(tmp_path / "plain.db", file, compression=compression, recipients=recipients)
        with pytest.raises(OSError, match="File too large"):
            unpack(archive, tmp_path / "out", identity_file=identity[0])
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_database(tmp_path: Path) -> None:
    """Packing and unpacking 128 MiB takes a process far less than that more."""
    key = make_identity(tmp_path / "identity")
    code = (
        "import pathlib, re, resource, sys\n"
        "from aragora_persist.backup.archive import pack, unpack\n"
        "from aragora_persist.settings import Compression\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "def peak():\n"  # of this program alone: elsewhere than in /proc, that of the one which started it counts too
        "    status = pathlib.Path('/proc/self/status')\n"
        "    if not status.exists(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    return int(re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1]) * 1024\n"
        "before = peak()\n"
        "with (folder / 'plain.db').open('wb') as file: file.truncate(128 << 20)\n"
        "with (folder / 'x.db.zst.age').open('wb') as file:\n"
        "    pack(folder / 'plain.db', file, compression=Compression.ZSTD, recipients=sys.argv[2:])\n"
        "unpack(folder / 'x.db.zst.age', folder / 'out', identity_file=folder / 'identity')\n"
        "print((folder / 'out').stat().st_size, peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path), key], capture_output=True, text=True, check=True)
    size, grown = map(int, run.stdout.split())
    assert size == 128 * MIB
    assert grown < 80 * MIB


@pytest.mark.parametrize(
    ("module", "arguments"), [("pyrage", "NONE, recipients=['age1']"), ("zstd", "ZSTD, recipients=[]")]
)
def test_a_missing_library_is_named_with_the_way_out(module: str, arguments: str) -> None:
    """Before anything is copied; without compression and encryption neither is needed, nor imported."""
    code = (
        "import sys\n"
        "from aragora_persist.backup.archive import check\n"
        "from aragora_persist.errors import UnsupportedError\n"
        "from aragora_persist.settings import Compression\n"
        "check(compression=Compression.NONE, recipients=[])\n"
        "loaded = {'pyrage', 'backports.zstd', 'compression.zstd'} & {*sys.modules}\n"
        "for name in ('pyrage', 'backports', 'compression'): sys.modules[name] = None\n"
        f"try: check(compression=Compression.{arguments})\n"
        "except UnsupportedError as error: print(loaded, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("set() ")
    assert f"needs the library {module if module == 'pyrage' else 'backports.zstd'}" in run.stdout
    assert "pip install 'aragora-persist[backup]'" in run.stdout
