"""What of an account is secret: passwords' hashes of another kind, and the plain secrets of a second factor.

A hash that nothing here can compare stays as it is, and opens nothing: its user sets a new password. A plain secret is
never written: with a key it is encrypted, without one the adoption is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aragora_persist.storage.users.mfa import bound_to
from aragora_persist.storage.users.passwords import is_comparable

if TYPE_CHECKING:
    from aragora_persist.migrations.adoption.report import Findings
    from aragora_persist.storage.encryption import Keyring
    from aragora_persist.storage.port import Value

_SHARED_SECRET = re.compile(r"[A-Za-z2-7]{16,256}=*")
_OURS = re.compile(r"v1\.[0-9a-f]{16}\..+")


class Secrets:
    """The secrets of accounts, on their way into our form."""

    def __init__(self, keyring: Keyring | None, findings: Findings) -> None:
        self._keyring = keyring
        self._findings = findings

    def note_password(self, password_hash: Value) -> None:
        """Note a hash that nothing here can compare a password with."""
        if isinstance(password_hash, str) and password_hash and not is_comparable(password_hash):
            text = "hashes of another kind are kept and open nothing: let these users set a new password"
            self._findings.note("users.password_hash", text)

    def factor(self, user_id: str, secret: Value) -> Value:
        """Return what is stored of the secret that a user's device has."""
        if not isinstance(secret, str) or not secret:
            return None
        if _OURS.fullmatch(secret):
            return secret
        if not _SHARED_SECRET.fullmatch(secret):
            text = "secrets that another program encrypted cannot be read, and are kept: disable_mfa, and set new ones"
            self._findings.note("users.mfa_secret", text)
            return secret
        if self._keyring is None:
            problem = "is a secret in plain text, and there is no key to encrypt it with"
            way_out = "set ARAGORA_ENCRYPTION_KEY_FILE"
            self._findings.differ("users", "mfa_secret", f"id {user_id!r}", problem, way_out)
            return None
        self._findings.convert("users", "mfa_secret")
        return self._keyring.encrypt(secret.encode(), bound_to=bound_to(user_id))
