"""Ed25519 signatures over statements of the audit log: what it was at a time, what was removed, what was erased.

A statement is a purpose, a time and a JSON object; the signature covers all three, so that none can be passed off as
another. ``cryptography`` is loaded when a key is. Leaves out: where statements are kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import ConflictError, InvalidValueError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VARIABLE = "ARAGORA_AUDIT_SIGNING_KEY_FILE"
_OPERATION = "audit signing key"
_SIGNED_FIELDS = ("key", "signature")


def create_signing_key(path: str | os.PathLike[str]) -> str:
    """Write a new private key into a new file that only its owner may read; return the public key as PEM text.

    Raises:
        ConflictError: there is a file already; it was not touched.
        StorageError: the file cannot be written.

    """
    private_pem, public_pem = new_signing_key()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private_pem.encode())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ConflictError(_OPERATION, path, "is there already", hint="give the new key a file of its own") from error
    except OSError as error:
        raise StorageError(_OPERATION, path, f"cannot be written: {error.strerror}") from error
    return public_pem


def new_signing_key() -> tuple[str, str]:
    """Make a key; return the private and the public one as PEM text."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as the module says
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), _pem(key.public_key())


class SigningKey:
    """The private key of a file."""

    def __init__(self, path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise InvalidValueError(_OPERATION, VARIABLE, f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise InvalidValueError(
                _OPERATION, VARIABLE, f"{path} is no private key in PEM without password"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidValueError(_OPERATION, VARIABLE, f"{path} is a key of another kind than Ed25519")
        self._key: Ed25519PrivateKey = key
        self.public_pem = _pem(key.public_key())
        self.key_id = _key_id(key.public_key())

    def sign(self, purpose: str, timestamp: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the statement with key id and signature."""
        signature = self._key.sign(_message(purpose, timestamp, body))
        return {**body, "key": self.key_id, "signature": base64.b64encode(signature).decode()}


class PublicKeys:
    """The keys that statements may be signed with: the present one and those before it."""

    def __init__(self, pems: Iterable[str]) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - as above

        self._keys: dict[str, Ed25519PublicKey] = {}
        for pem in pems:
            try:
                key = load_pem_public_key(pem.encode())
            except (ValueError, AttributeError) as error:
                raise InvalidValueError("audit.verify", "public_keys", "one is no public key in PEM") from error
            if not isinstance(key, Ed25519PublicKey):
                raise InvalidValueError("audit.verify", "public_keys", "one is a key of another kind than Ed25519")
            self._keys[_key_id(key)] = key

    def problem(self, purpose: str, timestamp: str, statement: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the signature of a statement, or None."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above

        key_id, signature = (statement.get(name) for name in _SIGNED_FIELDS)
        if key_id is None or signature is None:
            return "is not signed"
        if key_id not in self._keys:
            return "is signed with a key that is none of the given ones"
        body = {name: value for name, value in statement.items() if name not in _SIGNED_FIELDS}
        try:
            self._keys[key_id].verify(base64.b64decode(signature), _message(purpose, timestamp, body))
        except (InvalidSignature, binascii.Error, TypeError, ValueError):
            return "has a signature that is not valid"
        return None


def _message(purpose: str, timestamp: str, body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return f"aragora audit {purpose} 1\n{timestamp}\n{text}\n".encode()


def _pem(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
