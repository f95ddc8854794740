"""What holds for every public method of the stores that hold accounts, those that will be added included."""

from __future__ import annotations

import base64
import inspect
import logging
import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import PersistError
from aragora_persist.settings import Settings
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.storage.webhook_store import WebhookStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.storage.port import Backend, Row
    from aragora_persist.storage.store import Store

STORES: tuple[type[Store], ...] = (UserStore, OrganizationStore, UsageStore, ShareLinkStore, WebhookStore)
PASSWORD = "correct horse"
HUGE = "x" * 10_000_000
BAD: tuple[Any, ...] = (
    *(None, "", "a\0b", "\udc80", HUGE, b"x", object(), len, -1, True, 2**70, math.nan, math.inf),
    *([None], {"a": math.nan}, {1: object()}, timedelta.max, datetime.max.replace(tzinfo=UTC)),
    datetime(2020, 1, 1),  # noqa: DTZ001 - the mistake that is looked for
)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[type[Store], Any]]:
    """Return every store over one database, in which every statement is a slow one."""
    (tmp_path / "keys").write_bytes(base64.b64encode(bytes(32)))
    settings = Settings.from_env({"ARAGORA_ENCRYPTION_KEY_FILE": str(tmp_path / "keys"), "ARAGORA_SLOW_QUERY_MS": "0"})
    with UserStore(":memory:", settings=settings) as users:
        yield {kind: kind(users.database, settings=settings) for kind in STORES}


@pytest.fixture
def good(stores: dict[type[Store], Any]) -> dict[str, Any]:
    """Return a value for each parameter that has no default, by its name."""
    users, organizations, webhooks = stores[UserStore], stores[OrganizationStore], stores[WebhookStore]
    owner, guest = users.create("owner@example.com"), users.create("guest@example.com")
    org_id = organizations.create("Team", owner.id).id
    hook = webhooks.create(org_id, "https://example.com/hook", ["*"]).webhook
    webhooks.enqueue(org_id, "a.b", {})
    (delivery,) = webhooks.claim_due()
    values = {"user_id": owner.id, "owner_id": owner.id, "new_owner_id": guest.id, "org_id": org_id, "key": "ara_x"}
    values |= {"email": "new@example.com", "password": PASSWORD, "user_ids": [owner.id], "changes": {}, "token": "t"}
    values |= {"key_id": users.create_api_key(owner.id).record.id, "provider": "github", "subject": "1", "secret": "s"}
    values |= {"code": "c", "name": "n", "slug": "s", "stripe_customer_id": "c", "role": "member", "source": "s"}
    values |= {"invitation_id": organizations.invite(org_id, "a@example.com").invitation.id, "debate_id": "d"}
    values |= {"link_id": stores[ShareLinkStore].create("d", owner.id).link.id, "event_type": "a.b", "events": []}
    values |= {"url": "https://example.com/", "webhook_id": hook.id, "delivery_id": delivery.id, "delivery": delivery}
    return {**values, "payload": {}, "error": "timeout", "status": 200, "duration_ms": 1.0, "event_id": "e"}


class _Accepted(Exception):  # noqa: N818 - no error: it takes back what was written
    """The value was good enough."""


def rows_of(database: Backend) -> dict[str, list[Row]]:
    """Return every row of every table."""
    with database.read("look") as view:
        tables = view.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return {str(name): view.all(f"SELECT * FROM {name!s}") for (name,) in tables}


def call(store: Store, method: str, arguments: dict[str, Any]) -> None:
    """Call a method, and take back what it writes, where it takes a transaction."""
    bound = getattr(store, method)
    if "tx" not in inspect.signature(bound).parameters:
        call_alone(store, method, arguments)
        return
    with store.database.transaction() as tx:
        bound(**arguments, tx=tx)
        raise _Accepted


def call_alone(store: Store, method: str, arguments: dict[str, Any]) -> None:
    """Call a method without a transaction, and begin to read what it yields."""
    answer = getattr(store, method)(**arguments)
    list(islice(answer, 5) if hasattr(answer, "__next__") else ())


def cases(store: Store, good: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every public method with each of its parameters, and the arguments that it needs."""
    for method, function in inspect.getmembers(type(store), inspect.isfunction):
        if method.startswith("_") or method == "close":
            continue
        parameters = [one for one in inspect.signature(function).parameters.values() if one.kind != one.VAR_KEYWORD]
        fields = [one for one in parameters if one.name not in {"self", "tx"}]
        # Whose share link it is must be said: without it, only that would be refused.
        needed = {one.name: good[one.name] for one in fields if one.default is one.empty or one.name == "owner_id"}
        for field in fields:
            yield method, field.name, needed


@pytest.mark.parametrize("kind", STORES)
def test_any_value_is_answered_or_refused_by_an_error_of_ours(
    stores: dict[type[Store], Any], good: dict[str, Any], kind: type[Store]
) -> None:
    """In every parameter of every method: no error of Python's or of a driver's, none that is long, nothing written."""
    store = stores[kind]
    before, errors = rows_of(store.database), []
    for method, field, needed in cases(store, good):
        for value in BAD:
            try:
                call(store, method, {**needed, field: value})
            except _Accepted:
                pass
            except PersistError as error:
                errors.append(str(error))
        assert rows_of(store.database) == before, (method, field)
    assert len(errors) > 100
    assert max(map(len, errors)) < 1_000


def test_slow_queries_name_ids_and_nothing_secret(
    stores: dict[type[Store], Any], good: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """With the id that the call was for, whatever the method; no email, no token, no password."""
    named = 0
    with caplog.at_level(logging.WARNING, "aragora_persist.slow"):
        for store in stores.values():
            for method, needed in {method: needed for method, _, needed in cases(store, good)}.items():
                caplog.clear()
                with suppress(PersistError):
                    call_alone(store, method, needed)
                lines = [record.getMessage() for record in caplog.records]
                assert not any(secret in line for secret in ("@example.com", PASSWORD, "ara_x") for line in lines), (
                    method
                )
                if lines and (ids := [str(value) for name, value in needed.items() if name.endswith("_id")]):
                    assert any(one in line for one in ids for line in lines), (method, lines)
                    named += 1
    assert named > 40
