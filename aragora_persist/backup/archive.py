"""The file in which a backup is kept: the database file as it is, compressed (``.zst``), encrypted (``.age``) or both.

Both directions stream: memory does not grow with the database. Both formats are those of their own tools: ``age -d``
and ``zstd -d`` open an archive without this package. Leaves out: where it is kept (``keeping``), and whether what is
inside is a sound database (``verify``).
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from aragora_persist.backup import encryption
from aragora_persist.backup.files import write_all
from aragora_persist.backup.names import COMPRESSED, ENCRYPTED
from aragora_persist.errors import DamagedError, UnsupportedError
from aragora_persist.settings import Compression

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LEVEL = 3
_THREADS = 2
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """How large a file that was written is, and its SHA-256."""

    size_bytes: int
    sha256: str


def check(*, compression: Compression, recipients: Sequence[str]) -> None:
    """Return when an archive can be made so.

    Raises:
        InvalidValueError: a recipient is not a public key.
        UnsupportedError: a library that this needs is not installed.

    """
    encryption.check_recipients(recipients)
    if compression is Compression.ZSTD:
        _library()


def ending(*, compression: Compression, recipients: Sequence[str]) -> str:
    """Return what the name of such an archive ends in, after the ending of what is inside."""
    return (COMPRESSED if compression is Compression.ZSTD else "") + (ENCRYPTED if recipients else "")


def pack(plain: Path, target: BinaryIO, *, compression: Compression, recipients: Sequence[str]) -> Stored:
    """Write the file ``plain`` into ``target``, compressed and encrypted as said; not flushed to the disk.

    Raises:
        InvalidValueError: a recipient is not a public key.
        UnsupportedError: a library that this needs is not installed.
        OSError: one of the files cannot be read or written.

    """
    out = _Out(target)
    with plain.open("rb") as file:
        read = _Compressing(file).read if compression is Compression.ZSTD else file.read
        if recipients:
            encryption.encrypt(read, out.write, recipients)
        else:
            while data := read(_AT_ONCE):
                out.write(data)
    return out.stored()


def unpack(archive: Path, target: Path, *, identity_file: Path | None) -> Stored:
    """Write what is in ``archive``, as the endings of its name say, to the new file ``target``.

    It is not flushed to the disk, and removed again when this fails. The caller compares what is returned with what it
    expects.

    Raises:
        DamagedError: the archive is not what was written, or not all of it.
        AccessDeniedError: none of the identities can read it.
        InvalidValueError: it is encrypted, and there is no usable identity file.
        UnsupportedError: a library that this needs is not installed.
        OSError: one of the files cannot be read or written.

    """
    encrypted = archive.name.endswith(ENCRYPTED)
    compressed = archive.name.removesuffix(ENCRYPTED).endswith(COMPRESSED)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb", buffering=0) as file, archive.open("rb") as source:  # noqa: PTH123 - a descriptor
            out = _Out(file)
            plain = _Decompressing(out.write, archive) if compressed else None
            write = plain.write if plain else out.write
            if encrypted:
                encryption.decrypt(source, write, identity_file, archive=archive)
            else:
                while data := source.read(_AT_ONCE):
                    write(data)
            if plain:
                plain.finish()
    except BaseException:
        target.unlink()
        raise
    return out.stored()


class _Out:
    """Writes to a file all that it is given, and keeps its digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
        write_all(self._file, data)

    def stored(self) -> Stored:
        return Stored(self._size_bytes, self._digest.hexdigest())


class _Compressing:
    """Reads from a file what zstd makes of it: one frame, with a checksum of what is inside."""

    def __init__(self, file: BinaryIO) -> None:
        library = _library()
        parameter = library.CompressionParameter
        options = {
            parameter.compression_level: _LEVEL,
            parameter.checksum_flag: 1,
            parameter.nb_workers: min(_THREADS, parameter.nb_workers.bounds()[1]),
        }
        self._file = file
        self._compressor = library.ZstdCompressor(options=options)
        self._ready = memoryview(b"")
        self._ended = False

    def read(self, size: int) -> bytes:
        while not self._ready and not self._ended:
            if data := self._file.read(_AT_ONCE):
                self._ready = memoryview(self._compressor.compress(data))
            else:
                self._ready = memoryview(self._compressor.flush(self._compressor.FLUSH_FRAME))
                self._ended = True
        taken, self._ready = self._ready[:size], self._ready[size:]
        return bytes(taken)


class _Decompressing:
    """Hands on what was in a frame as it comes, a bounded piece at a time."""

    def __init__(self, write: Callable[[bytes], None], archive: Path) -> None:
        library = _library()
        self._error: type[Exception] = library.ZstdError
        self._decompressor = library.ZstdDecompressor()
        self._write = write
        self._archive = archive

    def write(self, data: bytes) -> None:
        zstd = self._decompressor
        while data or not (zstd.needs_input or zstd.eof):
            if zstd.eof:
                raise self._damaged("goes on after its end")
            try:
                plain = zstd.decompress(data, max_length=_AT_ONCE)
            except self._error as error:
                raise self._damaged(str(error)) from error
            data = zstd.unused_data
            self._write(plain)

    def finish(self) -> None:
        if not self._decompressor.eof:
            raise self._damaged("ends too early")

    def _damaged(self, problem: str) -> DamagedError:
        hint = "take another backup, or its off-site copy"
        return DamagedError("decompress", self._archive, f"is damaged: {problem}", hint=hint)


def _library() -> Any:  # noqa: ANN401 - one of two modules, by the version of Python
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - only who compresses pays for it
        else:
            from backports import zstd  # noqa: PLC0415 - as above
    except ImportError as error:
        problem = "needs the library backports.zstd, which is not installed"
        hint = "pip install 'aragora-persist[backup]'"
        raise UnsupportedError("compress backups", "the zstd format", problem, hint=hint) from error
    return zstd
