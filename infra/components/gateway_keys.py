"""The keys of the local Supabase: which JWT stands for which key, as the gateway reads it. Pure.

Keys are opaque, as Supabase's own are; PostgREST knows roles from JWTs. The gateway turns the one into the other, so
that a key can be replaced without touching the secret that signs. Leaves out: making keys.
"""

from __future__ import annotations

import re

import jwt as pyjwt

from aragora_persist.errors import InvalidValueError

_OPERATION = "make the gateway's keys"
_LEAST_SECRET_BYTES = 32
"""What HS256 asks for, and PostgREST insists on."""


def keys_conf(service_key: str, publishable_key: str, jwt_secret: str) -> str:
    """Return the body of the nginx map from keys to JWTs; the same keys and secret always give the same text.

    Raises:
        InvalidValueError: a key is not of its kind, so that it could be taken for another one or be more than a key
            in that file, or the secret is too short.

    """
    return _line("service_key", service_key, "sb_secret_", jwt("service_role", jwt_secret)) + _line(
        "publishable_key", publishable_key, "sb_publishable_", jwt("anon", jwt_secret)
    )


def jwt(role: str, secret: str) -> str:
    """Return a JWT with which PostgREST acts as ``role``. It does not expire: it never leaves the stack.

    Raises:
        InvalidValueError: the secret is too short.

    """
    if len(secret.encode()) < _LEAST_SECRET_BYTES:
        raise InvalidValueError(_OPERATION, "jwt_secret", f"is shorter than {_LEAST_SECRET_BYTES} bytes")
    return pyjwt.encode({"role": role}, secret, algorithm="HS256")


def _line(name: str, key: str, prefix: str, token: str) -> str:
    if not re.fullmatch(rf"{prefix}[A-Za-z0-9_-]{{16,}}", key):
        problem = f"is not {prefix} and at least 16 letters, digits, hyphens or underscores"
        raise InvalidValueError(_OPERATION, name, problem)
    # A pattern, because nginx compares plain strings without regard to case.
    return f'"~\\A{key}\\z" "{token}";\n'
