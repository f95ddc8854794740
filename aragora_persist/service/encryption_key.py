"""The encryption key and the data belong together: a service refuses data that was written under another key.

Without this, a stack whose secrets were lost and made anew would come up, and every stored secret would turn out to be
garbage on its first use. What is kept beside the databases is a keyed digest of a random salt: it says nothing about
the key. Leaves out: encrypting anything, and changing the key.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from aragora_persist.backup.files import make_directory, partial
from aragora_persist.errors import ConflictError, InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "encryption-key.check"
_OPERATION = "check encryption key"
_LEAST_BYTES = 32


def check_encryption_key(key_file: Path, nomic_dir: Path) -> None:
    """Return when the key in ``key_file`` is the one that the data in ``nomic_dir`` belongs to; new data takes it.

    Raises:
        InvalidValueError: there is no key in the file.
        ConflictError: the data belongs to another key; nothing was changed.

    """
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise InvalidValueError(_OPERATION, key_file, f"cannot be read: {error.strerror}") from error
    if len(key) < _LEAST_BYTES:
        raise InvalidValueError(_OPERATION, key_file, f"holds no key of at least {_LEAST_BYTES} bytes")
    record = nomic_dir / RECORD
    if not record.exists():
        _write(record, key)
    # Bytes: whatever the file holds can be compared.
    salt, _, digest = record.read_bytes().strip().partition(b" ")
    if not hmac.compare_digest(digest, _digest(key, salt)):
        raise ConflictError(
            _OPERATION,
            nomic_dir,
            "belongs to another encryption key",
            hint=f"give the service the key that this data was written with; {RECORD} tells it apart",
        )


def _write(record: Path, key: bytes) -> None:
    make_directory(record.parent)
    salt = secrets.token_hex(16).encode()
    with partial(record) as file:
        file.path.write_bytes(salt + b" " + _digest(key, salt) + b"\n")
        try:
            file.publish(record, operation=_OPERATION)
        except ConflictError:
            return  # another process was first: its record is compared like any other


def _digest(key: bytes, salt: bytes) -> bytes:
    return hmac.new(key, b"aragora-persist " + salt, hashlib.sha256).hexdigest().encode()
