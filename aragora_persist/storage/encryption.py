"""Secrets at rest: AES-256-GCM under the keys of one file, for what a database must be able to give back.

The file holds base64 of 32 bytes a line. The first key encrypts, every key decrypts; so a new key is put in front, what
is stored is encrypted anew (each store's ``rotate_encryption``), and the old key is taken out when nothing is left
under it. A stored text reads ``v1.<key id>.<base64 of nonce, ciphertext and tag>``; what it belongs to is authenticated
with it, so that a secret that is copied to another row does not decrypt there.

The library loads with the first secret, not with the stores. Leaves out: what a hash is enough for (passwords, API
keys, tokens), and where the texts are stored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError, UnsupportedError
from aragora_persist.settings import FileSecret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from aragora_persist.settings import Settings

VARIABLE = "ARAGORA_ENCRYPTION_KEY_FILE"
_VERSION = "v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2: random nonces of 96 bits, for up to 2^32 messages a key
_TAG_BYTES = 16
_MAKE_A_KEY = "write base64 of 32 bytes into it, one key a line: openssl rand -base64 32"


@dataclass(frozen=True, slots=True)
class Rotation:
    """What an encryption anew under the first key found."""

    renewed: int
    """So many secrets were under another key and are under the first one now."""
    current: int
    """So many were under the first one already."""
    unreadable: tuple[str, ...]
    """The ids of those that no key of the file decrypts; they stay as they are."""


class Keyring:
    """The keys of one file; they show themselves nowhere."""

    __slots__ = ("_first", "_keys")

    def __init__(self, *keys: bytes) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self._first = _key_id(keys[0])

    @classmethod
    def from_settings(cls, settings: Settings) -> Keyring | None:
        """Return the keys of the configured file as they are now, or None when none is configured.

        Raises:
            InvalidValueError: the file cannot be read, or a line of it is no key; ``target`` is the variable.

        """
        path = settings.encryption_key_file
        if path is None:
            return None
        return cls(*_parse_keys(FileSecret(path, VARIABLE).reveal()))

    @classmethod
    def required(cls, settings: Settings, operation: str) -> Keyring:
        """Return the keys of the configured file, for an operation that does nothing without them.

        Raises:
            InvalidValueError: none is configured, or the file is not usable; ``target`` is the variable.

        """
        keyring = cls.from_settings(settings)
        if keyring is None:
            raise InvalidValueError(
                operation, VARIABLE, "is not set, and a secret is never stored in plain text", hint=_MAKE_A_KEY
            )
        return keyring

    def encrypt(self, plaintext: bytes, *, bound_to: str) -> str:
        """Return the text to store. ``bound_to`` is what it belongs to (``user:<id>:mfa``), and decrypts it again."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _cipher(self._keys[self._first]).encrypt(nonce, plaintext, _associated(self._first, bound_to))
        return f"{_VERSION}.{self._first}.{base64.b64encode(nonce + sealed).decode()}"

    def decrypt(self, stored: str, *, bound_to: str) -> bytes:
        """Return what was encrypted.

        Raises:
            AccessDeniedError: the key that it is under is not in the file.
            DamagedError: it was changed, or belongs to something else.

        """
        version, _, rest = stored.partition(".")
        key_id, _, encoded = rest.partition(".")
        if version != _VERSION:
            raise _damaged(bound_to)
        key = self._keys.get(key_id)
        if key is None:
            problem = f"holds no key with the id {key_id[:16]!r}, which this secret of {bound_to} is under"
            raise AccessDeniedError(
                "decrypt", VARIABLE, problem, hint="put that key back into the file, as a last line"
            )
        return _opened(key, key_id, encoded, bound_to)

    def is_current(self, stored: str) -> bool:
        """Whether this was encrypted under the first key."""
        return stored.startswith(f"{_VERSION}.{self._first}.")

    def __repr__(self) -> str:
        return f"Keyring({len(self._keys)} keys)"


def _parse_keys(text: str) -> list[bytes]:
    """Return the keys of a key file's text, the first one first; empty lines are none.

    Raises:
        InvalidValueError: a line is no key, or there is none.

    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            key = base64.b64decode(line.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            problem = f"line {number} of its file is not base64 of {_KEY_BYTES} bytes"
            # From None: the decoder's error may quote the line.
            raise InvalidValueError("read encryption keys", VARIABLE, problem, hint=_MAKE_A_KEY) from None
        keys.append(key)
    if not keys:
        raise InvalidValueError("read encryption keys", VARIABLE, "its file holds no key", hint=_MAKE_A_KEY)
    return keys


def _opened(key: bytes, key_id: str, encoded: str, bound_to: str) -> bytes:
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see the module's docstring

    try:
        sealed = base64.b64decode(encoded, validate=True)
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise _damaged(bound_to)
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(key_id, bound_to))
    except (InvalidTag, ValueError) as error:
        raise _damaged(bound_to) from error


def _associated(key_id: str, bound_to: str) -> bytes:
    """Return what is authenticated beside the secret: its own head, and what it belongs to."""
    return f"{_VERSION}.{key_id}.{bound_to}".encode("utf-8", "surrogatepass")


def _key_id(key: bytes) -> str:
    """Return 64 bits of a hash of the key: enough to tell keys apart, and nothing to find one by."""
    return hashlib.sha256(b"aragora-persist key id\0" + key).hexdigest()[:16]


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise UnsupportedError(
            "encrypt", "cryptography", "is not installed", hint="pip install cryptography"
        ) from error
    return AESGCM(key)


def _damaged(bound_to: str) -> DamagedError:
    return DamagedError(
        "decrypt",
        f"the secret of {bound_to}",
        "is not what was stored there",
        hint="set it anew, or restore a backup of before the change",
    )
