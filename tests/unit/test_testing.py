"""What the package offers to the tests of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError, MisuseError
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock, temporary_database, temporary_settings, temporary_store


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("name", [database.name for database in DATABASES])
def test_a_temporary_database_is_new_and_vanishes(name: str, *, in_memory: bool) -> None:
    """It has its whole schema, and leaves no file."""
    with temporary_database(name, in_memory=in_memory) as database:
        with database.read("test") as view:
            assert view.one("SELECT COUNT(*) > 0 FROM schema_version") == (1,)
        target = Path(database.target)
        assert target.exists() is not in_memory
    assert not target.parent.exists() or in_memory
    with pytest.raises(MisuseError):
        database.read("test")


def test_there_is_no_temporary_database_of_any_name() -> None:
    """The registry of databases holds here too."""
    with pytest.raises(InvalidValueError, match="is not a database"), temporary_database("nothing"):
        pass


def test_temporary_databases_are_apart() -> None:
    """Two at once have nothing to do with each other."""
    with temporary_store(UserStore) as one, temporary_store(UserStore) as other:
        one.create("user@example.com")

        assert one.get_by_email("user@example.com") is not None
        assert other.get_by_email("user@example.com") is None


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_clock_of_a_temporary_store_is_the_tests(*, in_memory: bool) -> None:
    """A row carries the time that the clock shows, to the microsecond."""
    clock = Clock(datetime(2030, 1, 1, tzinfo=UTC))
    with temporary_store(UserStore, clock=clock, in_memory=in_memory) as users:
        user = users.create("user@example.com")
        later = clock.advance(hours=25, microseconds=1)
        changed = users.record_activity(user.id)

    assert user.created_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert changed.last_activity_at == later == user.created_at + timedelta(hours=25, microseconds=1)


def test_a_clock_without_a_time_always_shows_the_same() -> None:
    """So that a test without one of its own is repeatable."""
    assert Clock()() == Clock()()
    with temporary_store(UserStore) as users:
        assert users.create("user@example.com").created_at == Clock()()


def test_stores_of_one_temporary_database_change_together() -> None:
    """What fails in a transaction over a shared database leaves nothing in any of its stores."""
    with temporary_database("users") as database:
        users, again = UserStore(database), UserStore(database)
        with pytest.raises(ZeroDivisionError), database.transaction() as tx:
            users.create("user@example.com", tx=tx)
            raise ZeroDivisionError

        assert again.get_by_email("user@example.com") is None


def test_temporary_settings_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a broken variable of the machine reaches a test; and there is a key for what is encrypted."""
    monkeypatch.setenv("DB_TIMEOUT", "soon")
    with temporary_settings() as settings:
        assert settings.db_timeout_s == 30
        assert settings.encryption_key_file is not None
        assert settings.encryption_key_file.is_file()
        with ReplayStore(settings=settings) as store:
            assert Path(store.database.target).parent == settings.nomic_dir
    assert not settings.nomic_dir.exists()
