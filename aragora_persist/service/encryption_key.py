"""The encryption keys and the data belong together: a service refuses data that was written under other keys.

Without this, a stack whose secrets were lost and made anew would come up, and every stored secret would turn out to be
garbage on its first use. What is kept beside the databases is a keyed digest of a random salt: it says nothing about
the key. It is of the first key of the file, as that is the one that encrypts; a key that is put in front of it takes
its place. Leaves out: encrypting anything, and what a key must look like (``storage.encryption``).
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
    """Return when a key in ``key_file`` is the one that the data in ``nomic_dir`` belongs to; it is the first one then.

    New data takes the first key.

    Raises:
        InvalidValueError: there is no key in the file, or a line of it is none.
        ConflictError: the data belongs to another key; nothing was changed.

    """
    try:
        keys = key_file.read_bytes().split()
    except OSError as error:
        raise InvalidValueError(_OPERATION, key_file, f"cannot be read: {error.strerror}") from error
    if not keys or any(len(key) < _LEAST_BYTES for key in keys):
        raise InvalidValueError(_OPERATION, key_file, f"holds no key of at least {_LEAST_BYTES} bytes on each line")
    record = nomic_dir / RECORD
    if not record.exists():
        _record_first(record, keys[0])
    # Bytes: whatever the file holds can be compared.
    salt, _, digest = record.read_bytes().strip().partition(b" ")
    known = [key for key in keys if hmac.compare_digest(digest, _digest(key, salt))]
    if not known:
        raise ConflictError(
            _OPERATION,
            nomic_dir,
            "belongs to another encryption key",
            hint=f"give the service the key that this data was written with; {RECORD} tells it apart",
        )
    if known[0] != keys[0]:
        with partial(record) as file:
            file.path.write_bytes(_line(keys[0]))
            file.replace(record)


def _record_first(record: Path, key: bytes) -> None:
    make_directory(record.parent)
    with partial(record) as file:
        file.path.write_bytes(_line(key))
        try:
            file.publish(record, operation=_OPERATION)
        except ConflictError:
            return  # another process was first: its record is compared like any other


def _line(key: bytes) -> bytes:
    salt = secrets.token_hex(16).encode()
    return salt + b" " + _digest(key, salt) + b"\n"


def _digest(key: bytes, salt: bytes) -> bytes:
    return hmac.new(key, b"aragora-persist " + salt, hashlib.sha256).hexdigest().encode()
