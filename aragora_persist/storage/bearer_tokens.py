"""Tokens that open something for whoever holds them: how they are made, and what of them is stored.

A token is 32 bytes of randomness; its SHA-256 is what a database keeps and looks up, so that who reads a database or a
backup of it holds no token. A slow hash would add nothing: nobody guesses 256 bits.
"""

from __future__ import annotations

import base64
import os


def new_token(prefix: str) -> str:
    """Return a new token; the prefix (``"inv_"``) says to people and to scanners for leaked secrets what it is."""
    return prefix + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


def token_hash(token: str) -> str:
    """Return what is stored of a token; of anything else, what is stored of none."""
    import hashlib  # noqa: PLC0415 - with OpenSSL, a twentieth of the time that importing a store takes

    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
