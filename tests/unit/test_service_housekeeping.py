"""What the service does for the records in its databases as time passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.service import keeper as keeper_module
from aragora_persist.service.housekeeping import tasks
from aragora_persist.service.keeper import Keeper
from aragora_persist.settings import Settings
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.memory_store import MemoryStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.token_blacklist import TokenBlacklist
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=400)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings of a folder of the test's own."""
    return Settings.from_env({}, nomic_dir=tmp_path)


def do_all(engine: Engine, settings: Settings) -> dict[str, object]:
    """Do everything that is to be done for a database; return what each piece answered."""
    return {name: work() for name, work in tasks(engine, settings).items()}


def test_what_is_old_goes_and_what_is_young_stays(settings: Settings) -> None:
    """Audit entries, raw usage that is summed up, links and invitations: a second round finds nothing more to do."""
    with open_engine(None, "users", settings=settings) as engine:
        old, young = Clock(LONG_AGO), Clock(NOW)
        users = UserStore(engine, settings=settings)
        owner = users.create("owner@example.com")
        for clock in (old, young):
            AuditStore(engine, settings=settings, clock=clock).log("login")
            organizations = OrganizationStore(engine, settings=settings, clock=clock)
            organization = organizations.create(f"Org {clock().year}", owner.id)
            organizations.invite(organization.id, "guest@example.com", "member", invited_by=owner.id)
            UsageStore(engine, settings=settings, clock=clock).record(organization.id, "debate")
            ShareLinkStore(engine, settings=settings, clock=clock).create(
                "debate", owner.id, visibility="public", expires_at=clock() + timedelta(days=1)
            )
        done, again = do_all(engine, settings), do_all(engine, settings)
        logged = AuditStore(engine, settings=settings).count(action="login")

    assert done == {
        "audit retention": 1,
        "usage sums": 2,
        "usage retention": 1,
        "expired share links": 1,
        "expired invitations": 1,
        "old webhook deliveries": 0,
        "old webhook receipts": 0,
    }
    assert set(again.values()) == {0}
    assert logged == 1


def test_what_is_forgotten_is_archived(settings: Settings) -> None:
    """A memory that nobody touched for its tier's time leaves it."""
    with open_engine(None, "memory", settings=settings) as engine:
        forgotten = MemoryStore(engine, settings=settings, clock=Clock(LONG_AGO)).add("long ago")
        do_all(engine, settings)
        memories = MemoryStore(engine, settings=settings)

        assert memories.get(forgotten.id) is None
        assert memories.get_archived(forgotten.id) is not None


@pytest.mark.parametrize("name", [database.name for database in DATABASES])
def test_every_database_can_be_asked(settings: Settings, name: str) -> None:
    """One without anything to be done says so, and a new one has nothing to be done."""
    with open_engine(None, name, settings=settings) as engine:
        done = do_all(engine, settings)

    assert bool(done) is (name in {"users", "tokens", "memory"})


def test_the_service_does_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper comes to it by itself, soon after its start."""
    monkeypatch.setattr(keeper_module, "_MAINTENANCE_SECONDS", 0.01)
    with TokenBlacklist(settings=settings, clock=Clock(LONG_AGO)) as old:
        old.revoke("expired", LONG_AGO + timedelta(days=1))
        keeper = Keeper(settings, ["tokens"], on_end=lambda: None)
        keeper.start()
        wait_until(lambda: old.get("expired") is None, "the end of an expired token")

        assert keeper.stop(10)
    assert keeper.maintenance_runs()["failed"] == 0
