"""The key shows nowhere: in no error, no traceback with its variables, no log, however a request fails."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from aragora_persist.cloud.models import StreamEvent
from aragora_persist.errors import PersistError
from aragora_persist.settings import Secret
from aragora_persist.supabase_client import SupabaseClient
from tests.integration.faulty_gateway import FaultyGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.supabase_stack import LocalSupabase

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.supabase_fixtures",)

CONTENT = "private-words-of-a-row"
GOOD = StreamEvent("secrets", 1, "error", {}, timestamp=datetime(2026, 1, 2, 12, tzinfo=UTC))
POISON = StreamEvent("secrets", 2**40, "error", {"said": CONTENT}, timestamp=GOOD.timestamp)
WAYS = {
    "refused": ([], POISON),
    "broken off": (["reset"] * 3, GOOD),
    "answered by another": (["portal"], GOOD),
    "redirected": (["redirect"] * 3, GOOD),
    "cut": (["late 502"] * 3, GOOD),
}


@pytest.fixture
def gateway(supabase: LocalSupabase) -> Iterator[FaultyGateway]:
    """Give a gateway that fails as it is told."""
    with FaultyGateway(supabase.url) as listening:
        yield listening


def failure(client: SupabaseClient, event: StreamEvent) -> PersistError:
    """Return the error of saving an event."""
    with client, pytest.raises(PersistError) as failed:
        client.save_event(event)
    return failed.value


def shown(error: BaseException) -> str:
    """Return all that a crash reporter would send: errors behind errors, and the variables of every frame."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format(chain=True))


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_shows_no_key(
    way: str, gateway: FaultyGateway, supabase: LocalSupabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what the row holds, in the error's own text."""
    caplog.set_level(logging.DEBUG)
    faults, event = WAYS[way]
    gateway.faults.extend(faults)
    client = SupabaseClient(gateway.url, Secret(supabase.service_key))
    error = failure(client, event)
    said = f"{shown(error)}{client!r}{caplog.text}"

    assert "HTTP Request" in caplog.text or "connect_tcp" in caplog.text
    assert "save_event" in said
    assert supabase.service_key not in said
    assert supabase.service_key[10:] not in said
    assert CONTENT not in f"{error}{error!r}{caplog.text}"


def test_a_wrong_key_is_not_quoted(supabase: LocalSupabase, caplog: pytest.LogCaptureFixture) -> None:
    """A mistyped key is most of a right one."""
    caplog.set_level(logging.DEBUG)
    error = failure(SupabaseClient(supabase.url, Secret(f"{supabase.service_key}x")), GOOD)

    assert "refuses the key" in str(error)
    assert supabase.service_key[10:] not in f"{shown(error)}{caplog.text}"


def test_a_success_logs_no_key(supabase: LocalSupabase, caplog: pytest.LogCaptureFixture) -> None:
    """At any level, of any library."""
    caplog.set_level(logging.DEBUG)
    with SupabaseClient(supabase.url, Secret(supabase.service_key)) as client:
        client.save_event(GOOD)
        assert client.loop_summary("secrets").events == 1

    assert caplog.records
    assert supabase.service_key[10:] not in caplog.text
