"""Identities of age for tests: secret keys in files as `age-keygen` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyrage

if TYPE_CHECKING:
    from pathlib import Path


def make_identity(path: Path) -> str:
    """Write a new identity to ``path``, for its owner alone, and return its public key."""
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    path.touch(mode=0o600)
    path.write_text(f"# created: 2026-03-01T12:00:00Z\n# public key: {public}\n{identity}\n")
    return public
