"""An audit log on each backend, with a signing key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.settings import Settings
from aragora_persist.storage.audit_store import AuditStore, create_signing_key
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the log."""
    return Clock()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return where the signing key is to be."""
    return tmp_path / "audit-key.pem"


@pytest.fixture
def public_key(key_file: Path) -> str:
    """Return the public key of the log."""
    return create_signing_key(key_file)


@pytest.fixture
def audit(open_database: Callable[[str], Backend], clock: Clock, key_file: Path, public_key: str) -> AuditStore:
    """Return an empty log on each backend, with a signing key."""
    assert public_key
    settings = Settings.from_env({"ARAGORA_AUDIT_SIGNING_KEY_FILE": str(key_file)})
    return AuditStore(open_database("users"), clock=clock, settings=settings)
