"""What importing the store of users loads, and what it leaves for later."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from pathlib import Path

LATER = {"argon2", "cryptography", "dataclasses", "hashlib", "unicodedata", "asyncio", "psycopg", "random", "secrets"}
LOADED = "json.dumps(sorted(set(sys.modules) & set(json.loads(sys.argv[1]))))"


def _loaded_after(*statements: str) -> set[str]:
    """Return which of these modules a program has loaded after these statements."""
    code = "\n".join(("import json, sys", *statements, f"print({LOADED})"))
    command = [sys.executable, "-c", code, json.dumps(sorted(LATER))]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def test_importing_loads_nothing_that_only_some_calls_need() -> None:
    """Password hashing, encryption, OpenSSL and the tables of Unicode come with their first use."""
    assert _loaded_after("from aragora_persist.storage.user_store import UserStore") == set()


def test_a_look_up_loads_nothing_more() -> None:
    """A program that only reads users stays small; the first password loads what hashes it."""
    begin = (
        "from aragora_persist.storage.user_store import UserStore",
        "users = UserStore(':memory:')",
        "users.create('user@example.com')",
        "users.get_by_email('USER@example.com')",
    )
    before = _loaded_after(*begin)
    assert not before & {"argon2", "cryptography", "unicodedata", "asyncio", "psycopg"}
    assert "argon2" in _loaded_after(*begin, "users.create('other@example.com', 'password')")


def test_nor_does_opening_a_database_that_is_there(tmp_path: Path) -> None:
    """Only the first process, which makes the database, loads what migrates it."""
    path = str(tmp_path / "users.db")
    with UserStore(path) as users:
        users.create("user@example.com")
    assert (
        _loaded_after(
            "from aragora_persist.storage.user_store import UserStore",
            f"users = UserStore({path!r})",
            "users.get_by_email('USER@example.com')",
            "users.update(users.create('other@example.com').id, name='Other')",
        )
        == set()
    )
