"""Whatever is passed to whichever method of whichever store: it works, or is refused by an error of this package."""

from __future__ import annotations

import inspect
import io
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.databases import DATABASES
from aragora_persist.errors import PersistError
from aragora_persist.settings import Durability
from aragora_persist.storage.audit.query import AuditFilters
from aragora_persist.storage.elo_store import EloStore
from aragora_persist.storage.memory_store import MemoryStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.organizations.records import OrganizationChanges
from aragora_persist.storage.position_store import PositionStore
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.records import EventFilter
from aragora_persist.storage.replays.trace import new_trace
from aragora_persist.storage.sharing.links import ShareLinkChanges
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.user_store import UserStore
from aragora_persist.storage.users.records import UserChanges, UserProfile
from aragora_persist.storage.webhooks.configs import WebhookChanges
from aragora_persist.testing import temporary_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Backend

STORES = [store for database in DATABASES for store in database.stores if store.module.startswith("storage.")]
METHODS = [
    pytest.param(store, name, id=f"{store.cls}.{name}")
    for store in STORES
    for name, _ in inspect.getmembers(
        getattr(import_module(f"aragora_persist.{store.module}"), store.cls), inspect.isfunction
    )
    if not name.startswith("_") and name != "close"
]
FIELDS = {
    f"Unpack[{fields.__name__}]": fields.__annotations__
    for fields in (
        AuditFilters,
        EventFilter,
        OrganizationChanges,
        ShareLinkChanges,
        UserChanges,
        UserProfile,
        WebhookChanges,
    )
}
NOW = datetime.now(UTC)
KNOWN = "known"  # is the id, the name or the domain of something in each database
TEXT = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    [
        "",
        KNOWN,
        "a\0",
        "\ud800",
        "x" * 1_000_001,
        "Ada@Example.com",
        "https://example.com/x",
        "https://127.0.0.1/x",
        "%",
        "*",
    ]
)
LEAF = (
    TEXT
    | st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 7, 2**63, -(2**80)])
    | st.sampled_from([0.5, -0.1, 1e308, float("nan"), float("inf")])
    | st.binary(max_size=3)
    | st.sampled_from([NOW, NOW - timedelta(days=3), datetime(2026, 1, 1)])  # noqa: DTZ001 - naive on purpose
    | st.sampled_from([timedelta(hours=1), timedelta(days=-1), timedelta.max, object(), Durability.COMMITTED])
)
ANYTHING = (
    LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(TEXT | st.just("a"), LEAF, max_size=2) | st.tuples(LEAF, LEAF)
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "str": st.just(KNOWN),
    "int": st.sampled_from([1, 10]),
    "float": st.just(0.5),
    "bool": st.booleans(),
    "datetime": st.just(NOW + timedelta(hours=1)),
    "timedelta": st.just(timedelta(hours=1)),
    "dict[str, Any]": st.just({"a": 1}),
    "BinaryIO": st.builds(io.BytesIO, st.binary(max_size=20)),
    "TextIO": st.builds(io.StringIO),
}


@st.composite
def arguments(draw: st.DrawFn, method: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the store has
    """Draw something for each parameter, what fits more often than not, so that deeper code is reached."""
    drawn: dict[str, Any] = {}
    for one in inspect.signature(method).parameters.values():
        kind = str(one.annotation).removesuffix(" | None")
        if one.kind is one.VAR_KEYWORD:
            names = st.sampled_from([*FIELDS[kind], "nonsense"])
            drawn |= draw(st.dictionaries(names, ANYTHING, max_size=3))
        elif one.name != "tx" and (one.default is one.empty or draw(st.booleans())):
            # A file is whatever can be read or written: others are a mistake that the caller's tools find.
            fitting = FITTING.get(kind, ANYTHING)
            drawn[one.name] = draw(fitting if kind.endswith("IO") or draw(st.integers(0, 2)) else ANYTHING)
    return drawn


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Any]]:
    """Give every store, over databases with something in each."""
    with temporary_settings() as own:
        databases = {database.name: open_engine(":memory:", database.name, settings=own) for database in DATABASES}
        opened = {
            store.cls: getattr(import_module(f"aragora_persist.{store.module}"), store.cls)(
                databases[database.name], settings=own
            )
            for database in DATABASES
            for store in database.stores
            if store in STORES
        }
        fill(databases)
        yield opened
        for database in databases.values():
            database.close()


def fill(databases: dict[str, Any]) -> None:
    """Put something that is called ``KNOWN`` into each database."""
    users = UserStore(databases["users"])
    users.create("known@example.com", name=KNOWN)
    with users.database.transaction() as tx:
        tx.execute("UPDATE users SET id = ?", (KNOWN,))
    OrganizationStore(users.database).create(KNOWN, KNOWN)
    MemoryStore(databases["memory"]).add("a fact", memory_id=KNOWN)
    PositionStore(databases["positions"]).record(KNOWN, "a claim", 0.5, KNOWN, position_id=KNOWN)
    EloStore(databases["elo"]).record_match(KNOWN, ranking=[KNOWN, "other"], domain=KNOWN)
    ReplayStore(databases["replay"]).begin(new_trace(KNOWN, "a task", [KNOWN], NOW, trace_id=KNOWN))


def content(database: Backend) -> list[Any]:
    """Return every row of a database."""
    with database.read("content") as view:
        tables = view.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return [view.all(f'SELECT * FROM "{name!s}"') for (name,) in tables]


@pytest.mark.parametrize(("store", "name"), METHODS)
def test_it_works_or_is_refused(stores: dict[str, Any], store: Any, name: str) -> None:  # noqa: ANN401 - a name of the registry
    """With a leaf that says what is wrong, and then nothing is written: no error of Python's or a driver's own."""
    opened = stores[store.cls]
    method = getattr(opened, name)

    @settings(max_examples=15)
    @given(given_=arguments(method))
    def check(given_: dict[str, Any]) -> None:
        before = content(opened.database)
        try:
            found = method(**given_)
            if inspect.isgenerator(found):
                list(islice(found, 3))
        except PersistError:
            assert content(opened.database) == before

    check()
