"""What the tests of a service need: databases that vanish, a cloud in memory, a clock that stands still until set.

Stores are the real ones on real SQLite, in a folder of their own; nothing reads the environment. Only Supabase is
imitated, by what passes the same contract suite.
Leaves out: fixtures of a test framework; each is one line around ``temporary_store``.
"""

from __future__ import annotations

import base64
import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aragora_persist.cloud.memory import InMemoryCloud
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.sqlite.files import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Backend
    from aragora_persist.storage.store import Store

    TestedStore = TypeVar("TestedStore", bound=Store)

__all__ = ["Clock", "InMemoryCloud", "temporary_database", "temporary_settings", "temporary_store"]


class Clock:
    """A clock that stands still until it is set; every store takes one as ``clock``."""

    def __init__(self, now: datetime = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time it shows."""
        return self.now

    def advance(self, **delta: float) -> datetime:
        """Let time pass, in the words of ``timedelta`` (``hours=25``), and return the new time."""
        self.now += timedelta(**delta)
        return self.now


@contextmanager
def temporary_settings() -> Iterator[Settings]:
    """Give settings whose databases are in a new folder, with an encryption key; the folder goes with the block.

    Writes are *committed*, not *durable*: what is to vanish need not survive a loss of power, and is written faster.
    """
    with tempfile.TemporaryDirectory(prefix="aragora-") as folder:
        key_file = Path(folder, "encryption-key")
        key_file.write_bytes(base64.b64encode(os.urandom(32)))
        environ = {"ARAGORA_ENCRYPTION_KEY_FILE": os.fspath(key_file), "ARAGORA_DURABILITY": "committed"}
        yield Settings.from_env(environ, nomic_dir=folder)


@contextmanager
def temporary_database(name: str, *, in_memory: bool = False) -> Iterator[Backend]:
    """Give the database of this name (``"users"``), new and empty, for any number of stores; it goes with the block.

    Raises:
        InvalidValueError: there is no database of this name.

    """
    with (
        temporary_settings() as settings,
        open_engine(MEMORY if in_memory else None, name, settings=settings) as opened,
    ):
        yield opened


@contextmanager
def temporary_store(
    store: type[TestedStore], *, clock: Clock | None = None, in_memory: bool = False
) -> Iterator[TestedStore]:
    """Give a store of this class, in a database of its own that goes with the block.

    Without a ``clock`` of the test's own, it gets a new one: times are always the same, until the test has it advance.
    """
    with temporary_settings() as settings:
        place = MEMORY if in_memory else None
        with store(place, settings=settings, clock=clock or Clock()) as opened:
            yield opened
