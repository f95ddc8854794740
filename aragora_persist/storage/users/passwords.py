"""Passwords and their argon2id hashes. The library loads with the first password, not with the stores.

Leaves out: whose password it is, and how many attempts there were.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError, InvalidValueError, UnsupportedError

if TYPE_CHECKING:
    import argon2

MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
"""OWASP's password storage recommendation for argon2id with the least memory: many logins at once fit a container."""

LONGEST_PASSWORD = 4_096

NOBODYS_HASH = "$argon2id$v=19$m=19456,t=2,p=1$C1RJr3gg8l2llolrCr2JpA$mxZ75h4CHHG5vmWWMyxtESu1HAn08KtLLowWBkrcBJU"
"""A hash of these costs that no known password has: checking against it takes as long as against a user's own."""


def hash_password(password: str) -> str:
    """Return a new hash, with its salt and costs inside.

    Raises:
        InvalidValueError: the password is no text, empty, or longer than anybody types or generates.

    """
    encoded = _bytes(password)
    if not 0 < len(encoded) <= LONGEST_PASSWORD:
        problem = f"is longer than {LONGEST_PASSWORD:,} bytes" if encoded else "is empty"
        raise InvalidValueError("hash password", "password", problem)
    return _hasher().hash(encoded)


def is_comparable(password_hash: str) -> bool:
    """Whether a password can be compared with this; not with '', nor with what another program made."""
    return password_hash.startswith("$argon2")


def matches(password_hash: str, password: str) -> bool:
    """Whether this is the password; one that is not comparable is nobody's and takes as long as any.

    Raises:
        DamagedError: the stored text is a hash that was cut or changed.
        InvalidValueError: the password is no text.

    """
    hasher, comparable = _hasher(), is_comparable(password_hash)
    import argon2  # noqa: PLC0415 - see the module's docstring

    try:
        hasher.verify(password_hash if comparable else NOBODYS_HASH, _bytes(password))
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError) as error:
        raise DamagedError("check password", "password_hash", "the stored text is not an argon2 hash") from error
    return comparable


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash has other costs than new ones have."""
    return _hasher().check_needs_rehash(password_hash)


@cache
def _hasher() -> argon2.PasswordHasher:
    try:
        import argon2  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise UnsupportedError(
            "hash password", "argon2-cffi", "is not installed", hint="pip install argon2-cffi"
        ) from error
    return argon2.PasswordHasher(memory_cost=MEMORY_KIB, time_cost=PASSES, parallelism=LANES)


def _bytes(password: str) -> bytes:
    """Encode every string there is: the encoder's own error would carry the password."""
    if not isinstance(password, str):
        raise InvalidValueError("hash password", "password", f"is a {type(password).__name__}, not text")
    return password.encode("utf-8", "surrogatepass")
