"""A store is in every place where one belongs: module, registry, contract suite, asynchronous twin, page."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module

import pytest

from aragora_persist.databases import DATABASES, StoreName
from aragora_persist.storage.store import Store
from tests.conftest import ROOT

PACKAGE = ROOT / "aragora_persist"
REGISTERED = {store: database.name for database in DATABASES for store in database.stores}
STORES = [pytest.param(store, id=store.cls) for store in REGISTERED]
# The outbox belongs to its sender, which takes a file; what it is for stands on the page of Supabase.
DOCUMENTED = [pytest.param(store, id=store.cls) for store in REGISTERED if store.module.startswith("storage.")]


def written() -> set[tuple[str, str]]:
    """Return every class of the package that is made from ``Store``, but parts of another one, and its module."""
    found = [
        (node.name, path, {ast.unparse(base) for base in node.bases})
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    stores = {"Store"}
    while more := {name for name, _, bases in found if bases & stores} - stores:
        stores |= more
    parts = set[str]().union(*(bases for name, _, bases in found if name in stores))
    return {
        (name, ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
        for name, path, _ in found
        if name in stores - parts
    }


def with_fixtures(suite: str) -> str:
    """Return the text of a suite and of the fixture modules that it loads."""
    loaded = re.findall(r'"tests\.((?:contract\.)?\w+_fixtures)"', suite)
    return suite + "".join((ROOT / "tests" / f"{name.replace('.', '/')}.py").read_text() for name in loaded)


def test_every_store_is_registered() -> None:
    """A store that the registry does not know has no twin, and nobody finds it."""
    assert written() == {(store.cls, store.module) for store in REGISTERED}


@pytest.mark.parametrize("store", STORES)
def test_a_store_is_what_the_registry_says(store: StoreName) -> None:
    """Its module holds its class, and its class names its database."""
    cls = getattr(import_module(f"aragora_persist.{store.module}"), store.cls)

    assert issubclass(cls, Store)
    assert cls.database_name == REGISTERED[store]


@pytest.mark.parametrize("store", STORES)
def test_a_drill_reads_a_store(store: StoreName) -> None:
    """By a public method that gives rows, and a row of one of the database's tables is all that it must be told."""
    cls = getattr(import_module(f"aragora_persist.{store.module}"), store.cls)
    method = inspect.signature(getattr(cls, store.read))
    table, _, column = store.read_by.partition(".")
    schema = (PACKAGE / "migrations" / REGISTERED[store] / "schema.sql").read_text()

    assert not store.read.startswith("_")
    assert method.return_annotation.startswith(("Page[", "list["))
    assert f"CREATE TABLE {table} (" in schema or not table
    method.bind(None, **({column: "a row's"} if column else {}))


@pytest.mark.parametrize("store", STORES)
def test_a_store_has_its_twin(store: StoreName) -> None:
    """`make async` writes it; that it is fresh is a test of its own."""
    assert (PACKAGE / "aio" / f"{store.module.rpartition('.')[2]}.py").is_file()


@pytest.mark.parametrize("store", DOCUMENTED)
def test_a_store_has_its_contract_suite(store: StoreName) -> None:
    """It runs on every backend, because it takes its databases from `open_database`."""
    suite = (ROOT / "tests" / "contract" / f"test_{store.module.rpartition('.')[2]}.py").read_text()

    assert store.cls in suite
    assert "open_database(" in with_fixtures(suite) or "open_database:" in with_fixtures(suite)


@pytest.mark.parametrize("store", DOCUMENTED)
def test_a_store_has_its_page(store: StoreName) -> None:
    """A page of the documentation has its name as title."""
    titles = [path.read_text().partition("\n")[0] for path in (ROOT / "docs" / "stores").glob("*.md")]

    assert f"# {store.cls}" in titles


def test_the_index_of_the_stores_is_whole() -> None:
    """It leads to every page, and names every table in the row of a store that lives in the table's database."""
    rows = [row.split("|") for row in (ROOT / "docs" / "stores" / "README.md").read_text().splitlines() if "](" in row]
    listed = {
        re.sub(r"\W*\[(\w+)].*", r"\1", row[1]): set(re.findall(r"`(\w+)`", row[3])) for row in rows if len(row) > 3
    }
    for database in {name for store, name in REGISTERED.items() if store.module.startswith("storage.")}:
        schema = (PACKAGE / "migrations" / database / "schema.sql").read_text()
        tables = set(re.findall(r'^CREATE TABLE "?(\w+)', schema, re.MULTILINE)) - {"schema_version"}
        stores = [store.cls for store, name in REGISTERED.items() if name == database]
        assert set[str]().union(*(listed[cls] for cls in stores)) == tables
    linked = {name for row in rows for name in re.findall(r"\]\((\w+\.md)\)", row[1] if len(row) > 3 else "")}
    assert linked == {path.name for path in (ROOT / "docs" / "stores").glob("*.md")} - {"README.md"}


def public_methods(store: StoreName) -> dict[str, inspect.Signature]:
    """Return the signatures of a store's public methods."""
    cls = getattr(import_module(f"aragora_persist.{store.module}"), store.cls)
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: inspect.signature(method) for name, method in methods if not name.startswith("_")}


@pytest.mark.parametrize("store", DOCUMENTED)
def test_a_list_is_asked_for_in_one_way(store: StoreName) -> None:
    """A page has `limit` and `after` besides what its stream takes, and each of the two has the other."""
    methods = public_methods(store)
    pages = {name: each for name, each in methods.items() if each.return_annotation.startswith("Page[")}
    streams = {name: each for name, each in methods.items() if each.return_annotation.startswith("Iterator[")}

    assert {f"iter_{name.removeprefix('list_')}" for name in pages} == streams.keys()
    for name, page in pages.items():
        stream = streams[f"iter_{name.removeprefix('list_')}"]
        assert page.return_annotation.removeprefix("Page") == stream.return_annotation.removeprefix("Iterator")
        assert (page.parameters["limit"].default, page.parameters["after"].default) == (100, None)
        assert [one for one in page.parameters if one not in ("limit", "after")] == list(stream.parameters)


def test_operations_are_called_as_the_methods_are() -> None:
    """What an error or a slow query names can be found: a store's prefix, and its method."""
    prefixes = {"share_link": "ShareLinkStore", "token": "TokenBlacklist"}
    prefixes |= {store.cls.removesuffix("Store").lower(): store.cls for store in REGISTERED if "Store" in store.cls}
    methods = {store.cls: public_methods(store).keys() for store in REGISTERED}
    operation = re.compile(rf'(?:_?OPERATION|operation) = "({"|".join(prefixes)})\.(\w+)"')
    found = [
        match.groups() for path in (PACKAGE / "storage").rglob("*.py") for match in operation.finditer(path.read_text())
    ]

    assert len(found) > 80
    assert [f"{prefix}.{name}" for prefix, name in found if name not in methods[prefixes[prefix]]] == []


@pytest.mark.parametrize("store", DOCUMENTED)
def test_a_transaction_is_passed_in_one_way(store: StoreName) -> None:
    """As the keyword `tx`, which is None by default."""
    passed = [each.parameters["tx"] for each in public_methods(store).values() if "tx" in each.parameters]

    assert {(tx.kind, tx.default) for tx in passed} <= {(inspect.Parameter.KEYWORD_ONLY, None)}
