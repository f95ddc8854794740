"""What the suites of UserStore's parts begin with: a store with a clock and an encryption key, and one user in it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from aragora_persist.settings import Settings
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.users.records import User
    from tests.contract.backends import OpenDatabase

pytest_plugins = ("tests.contract.backends",)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return the file of the store's encryption keys, with one key in it."""
    file = tmp_path / "keys"
    file.write_bytes(base64.b64encode(bytes(range(32))))
    return file


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def users(open_database: OpenDatabase, key_file: Path, clock: Clock) -> UserStore:
    """Return an empty store on each backend."""
    settings = Settings.from_env({"ARAGORA_ENCRYPTION_KEY_FILE": str(key_file)})
    return UserStore(open_database("users"), clock=clock, settings=settings)


@pytest.fixture
def user(users: UserStore) -> User:
    """Return a user without a password."""
    return users.create("user@example.com")
