"""The age format, through its kept library: backups that only the holder of an identity can read.

Recipients are public keys and stand in the settings; identities are secret, stand in a file, and are read when
something is to be decrypted, not before. None of their bytes gets into an error, a log, an argument or the catalog,
which knows a recipient by its fingerprint. Leaves out: passphrases, plugins and SSH keys.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO

from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RECIPIENTS_VARIABLE = "ARAGORA_BACKUP_RECIPIENTS"
IDENTITY_VARIABLE = "ARAGORA_BACKUP_IDENTITY_FILE"
_OF_IDENTITIES = "AGE-SECRET-KEY-"
_NO_MATCH = "No matching keys found"


def check_recipients(keys: Sequence[str]) -> None:
    """Return when each of these is a public key that can be encrypted to; without any there is nothing to check.

    Raises:
        InvalidValueError: one is not; none is repeated in the error, because it may be a secret one.
        UnsupportedError: the library is not installed.

    """
    if keys:
        _recipients(keys)


def fingerprints(keys: Sequence[str]) -> tuple[str, ...]:
    """Return by what the catalog knows these public keys, in their order."""
    return tuple(dict.fromkeys(hashlib.sha256(key.encode()).hexdigest()[:16] for key in keys))


def public_keys(identities: str) -> tuple[str, ...]:
    """Return the public keys that belong to the identities in a text, one a line, in their order.

    Raises:
        InvalidValueError: a line is none.
        UnsupportedError: the library is not installed.

    """
    return tuple(str(identity.to_public()) for identity in _parsed(identities.split("\n")))


def readable_by(identity_file: Path | None) -> tuple[str, ...]:
    """Return the fingerprints of the public keys that belong to the identities in the file.

    Raises:
        InvalidValueError: no identity file is set, or it cannot be used.
        UnsupportedError: the library is not installed.

    """
    return fingerprints([str(identity.to_public()) for identity in _identities(identity_file)])


def encrypt(read: Callable[[int], bytes], write: Callable[[bytes], None], keys: Sequence[str]) -> None:
    """Encrypt all that ``read`` gives to each of ``keys``, in constant memory.

    Raises:
        InvalidValueError: a key is not a public one; nothing was written.
        UnsupportedError: the library is not installed.

    """
    recipients = _recipients(keys)
    pipe = _Pipe(read, write)
    try:
        _library().encrypt_io(pipe, pipe, recipients)
    except Exception:
        pipe.raise_own()
        raise


def decrypt(source: BinaryIO, write: Callable[[bytes], None], identity_file: Path | None, *, archive: Path) -> None:
    """Decrypt ``source``, which errors call ``archive``; what is written has been authenticated, piece by piece.

    Raises:
        InvalidValueError: no identity file is set, or it cannot be used.
        AccessDeniedError: none of its identities can read this archive.
        DamagedError: the archive is not what was encrypted, or not all of it.
        UnsupportedError: the library is not installed.

    """
    identities = _identities(identity_file)
    pipe = _Pipe(source.read, write)
    try:
        _library().decrypt_io(pipe, pipe, identities)
    except (OSError, _library().DecryptError) as error:
        pipe.raise_own()
        if _NO_MATCH in str(error):
            # The format cannot tell the two apart: a flipped bit in a recipient's line is a recipient that nobody is.
            problem = f"none of the identities in {identity_file} can read it, or its first lines are damaged"
            hint = f"name the file with its identity in {IDENTITY_VARIABLE}; if it is there, take another backup"
            raise AccessDeniedError("decrypt", archive, problem, hint=hint) from error
        hint = "take another backup, or its off-site copy"
        raise DamagedError("decrypt", archive, f"is damaged: {error}", hint=hint) from error


def readers(archive: Path, identity_file: Path | None) -> tuple[str, ...]:
    """Return the fingerprints of the public keys of those identities in the file that can read this sound archive."""
    found = []
    for identity in _identities(identity_file):
        with archive.open("rb") as source:
            pipe = _Pipe(source.read, lambda _: None)
            try:
                _library().decrypt_io(pipe, pipe, [identity])
            except _library().DecryptError:
                continue
        found.append(str(identity.to_public()))
    return fingerprints(found)


class _Pipe:
    """What the library reads from and writes to; it keeps our own exception, which the library turns into another."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], None]) -> None:
        self._read = read
        self._write = write
        self._own: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            return self._read(size)
        except BaseException as error:
            self._own = error
            raise

    def write(self, data: bytes) -> int:
        try:
            self._write(data)
        except BaseException as error:
            self._own = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: the library asks for it at the end, and whoever owns the file flushes it."""

    def raise_own(self) -> None:
        if self._own is not None:
            raise self._own


def _recipients(keys: Sequence[str]) -> list[Any]:
    library = _library()
    found = []
    for number, key in enumerate(dict.fromkeys(keys), start=1):
        try:
            found.append(library.x25519.Recipient.from_str(key))
        except library.RecipientError as error:
            secret = key.upper().startswith(_OF_IDENTITIES)
            problem = f"number {number} is a secret key" if secret else f"number {number} is no public key of age"
            hint = "name its public key, and keep the secret one elsewhere" if secret else "it looks like age1…"
            raise InvalidValueError("read recipients", RECIPIENTS_VARIABLE, problem, hint=hint) from error
    return found


def _identities(path: Path | None) -> list[Any]:
    if path is None:
        raise _unusable("is not set, and the backup is encrypted")
    found = _parsed(_lines(path), of=f" of {path}")
    if not found:
        raise _unusable(f"{path} holds no identity")
    return found


def _parsed(lines: Sequence[str], *, of: str = "") -> list[Any]:
    library = _library()
    found = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            found.append(library.x25519.Identity.from_str(line))
        except library.IdentityError as error:
            raise _unusable(f"line {number}{of} is no identity, or is damaged") from error
    return found


def _lines(path: Path) -> list[str]:
    try:
        # A pipe or a terminal would be waited for.
        data = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise _unusable(f"{path} cannot be read: {error.strerror or error}") from error
    if data is None:
        raise _unusable(f"{path} is not there, or is not a file")
    return data.decode("utf-8", "replace").split("\n")


def _unusable(problem: str) -> InvalidValueError:
    hint = "a text file with one identity (AGE-SECRET-KEY-1…) a line, for its owner to read"
    return InvalidValueError("read identities", IDENTITY_VARIABLE, problem, hint=hint)


def _library() -> Any:  # noqa: ANN401 - it has no types
    try:
        import pyrage  # noqa: PLC0415 - only who encrypts pays for it
    except ImportError as error:
        problem = "needs the library pyrage, which is not installed"
        hint = "pip install 'aragora-persist[backup]'"
        raise UnsupportedError("encrypt backups", "the age format", problem, hint=hint) from error
    return pyrage
