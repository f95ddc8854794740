"""Every text and number of every method of every store is checked before the database is asked."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

STORES = [store for database in DATABASES for store in database.stores if store.module.startswith("storage.")]
# What fits the other parameters, as far as their types tell.
FITTING: dict[str, Any] = {
    "str": "x",
    "int": 1,
    "float": 0.5,
    "bool": True,
    "datetime": datetime.now(UTC) + timedelta(days=1),
    "timedelta": timedelta(seconds=60),
    "dict[str, Any]": {},
    "Sequence[str]": ["x"],
}
BY_NAME = {
    "email": "ada@example.com",
    "code": "ABCDEFGH",
    "role": "member",
    "tier": "fast",
    "visibility": "private",
    "outcome": "correct",
    "kind": "retraction",
    "form": "jsonl",
    "url": "https://example.com/x",
    "password": "a long password",
}
# These check in another way, which their contract suites hold.
ELSEWHERE = {
    "UserStore.authenticate-email",  # what cannot be an email or a key is nobody's
    "UserStore.authenticate-password",  # one that cannot be is wrong
    "UserStore.get_by_email-email",
    "UserStore.get_by_api_key-key",
    "AuditStore.prove-size",  # the entry says which sizes there can be
    "ReplayStore.import_from-accept_bad_checksum",  # the file is first
    "AuditStore.iter_entries-newest_first",  # an order, which reads nothing into it
    "AuditStore.list_entries-newest_first",
}
BAD: dict[str, list[Any]] = {
    "password": [7, b"x", "", "x" * 5_000],  # any text is one
    "str": ["a\x00b", "\ud800", 7, b"x", "x" * 1_000_001],
    "int": [-(2**64), True, 1.5, "1"],
    "float": [float("nan"), float("inf"), True, "1"],
    "bool": [1, "yes"],
    "datetime": [datetime(2026, 1, 1), "2026-01-01", 1],  # noqa: DTZ001 - naive on purpose
    "timedelta": [60, timedelta(days=-1)],
}
CALLS = [
    pytest.param(store, name, parameter.name, id=f"{store.cls}.{name}-{parameter.name}")
    for store in STORES
    for name, method in inspect.getmembers(
        getattr(import_module(f"aragora_persist.{store.module}"), store.cls), inspect.isfunction
    )
    if not name.startswith("_")
    for parameter in inspect.signature(method).parameters.values()
    if str(parameter.annotation).removesuffix(" | None") in ("str", "int", "float", "datetime", "timedelta", "bool")
    and f"{store.cls}.{name}-{parameter.name}" not in ELSEWHERE
]


@pytest.fixture(scope="module")
def open_stores() -> Iterator[dict[str, Any]]:
    """Give every store, over empty databases."""
    databases = {database.name: open_engine(":memory:", database.name) for database in DATABASES}
    yield {
        store.cls: getattr(import_module(f"aragora_persist.{store.module}"), store.cls)(databases[database.name])
        for database in DATABASES
        for store in database.stores
        if store in STORES
    }
    for database in databases.values():
        database.close()


@pytest.mark.parametrize(("store", "name", "field"), CALLS)
def test_what_breaks_a_rule_is_refused(open_stores: dict[str, Any], store: Any, name: str, field: str) -> None:  # noqa: ANN401 - a name of the registry
    """With an error that is the caller's, whatever is in the database: nothing of it gets that far."""
    method = getattr(open_stores[store.cls], name)
    parameters = inspect.signature(method).parameters
    fitting = {
        one.name: BY_NAME.get(one.name, FITTING.get(str(one.annotation)))
        for one in parameters.values()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    kind = field if field in BAD else str(parameters[field].annotation).removesuffix(" | None")
    for bad in BAD[kind]:
        with pytest.raises(InvalidValueError):
            found = method(**(fitting | {field: bad}))
            if isinstance(found, GeneratorType):
                next(found)
