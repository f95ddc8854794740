"""A webhook store on each backend, with a key, a clock that the test sets, and two organizations."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.webhook_store import WebhookStore
from aragora_persist.testing import Clock, temporary_settings
from tests.webhook_rows import with_organizations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def keyed() -> Iterator[Settings]:
    """Give settings with an encryption key, under which webhooks may reach this machine."""
    with temporary_settings() as settings:
        yield replace(settings, webhook_allowed_networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def store(open_database: Callable[[str], Backend], keyed: Settings, clock: Clock) -> WebhookStore:
    """Return a store without webhooks, of the organizations ``acme`` and ``other``."""
    settings = replace(keyed, webhook_allowed_networks=())
    return with_organizations(WebhookStore(open_database("users"), settings=settings, clock=clock))
