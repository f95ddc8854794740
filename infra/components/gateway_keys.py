"""The keys of the local Supabase: which JWT stands for which key, as the gateway reads it. Pure.

Keys are opaque, as Supabase's own are; PostgREST knows roles from JWTs. The gateway turns the one into the other, so
that a key can be replaced without touching the secret that signs. Leaves out: making keys.
"""

from __future__ import annotations

import re

import jwt as pyjwt

from aragora_persist.errors import InvalidValueError

LEAST_SECRET_BYTES = 32
"""What HS256 asks for, and PostgREST insists on."""

_OPERATION = "make the gateway's keys"
_KINDS = {
    "service_key": re.compile(r"sb_secret_[A-Za-z0-9_-]{16,}"),
    "publishable_key": re.compile(r"sb_publishable_[A-Za-z0-9_-]{16,}"),
}


def keys_conf(service_key: str, publishable_key: str, jwt_secret: str) -> str:
    """Return the body of the nginx map from keys to JWTs; the same keys and secret always give the same text.

    Raises:
        InvalidValueError: a key is not of its kind, so that it could be taken for another or break the file, or the
            secret is too short.

    """
    roles = {"service_key": (service_key, "service_role"), "publishable_key": (publishable_key, "anon")}
    lines = []
    for name, (key, role) in roles.items():
        if not _KINDS[name].fullmatch(key):
            raise InvalidValueError(_OPERATION, name, f"is not of the form {_KINDS[name].pattern}")
        # A pattern, because nginx compares plain strings without regard to case.
        lines.append(f'"~\\A{key}\\z" "{jwt(role, jwt_secret)}";\n')
    return "".join(lines)


def jwt(role: str, secret: str) -> str:
    """Return a JWT with which PostgREST acts as ``role``. It does not expire: it never leaves the stack.

    Raises:
        InvalidValueError: the secret is too short.

    """
    if len(secret.encode()) < LEAST_SECRET_BYTES:
        raise InvalidValueError(_OPERATION, "jwt_secret", f"is shorter than {LEAST_SECRET_BYTES} bytes")
    return pyjwt.encode({"role": role}, secret, algorithm="HS256")
