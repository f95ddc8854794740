"""The asynchronous twins are those of the stores as they are now."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from aragora_persist.aio.store import AsyncStore
from aragora_persist.databases import DATABASES, StoreName
from aragora_persist.storage.store import Store
from tests.conftest import ROOT
from tests.waiting import PATIENCE_S

STORES = [pytest.param(store, id=store.cls) for database in DATABASES for store in database.stores]


def public(cls: type, but: type) -> dict[str, Any]:
    """Return the public methods that a class has beyond those of its base."""
    members = inspect.getmembers(cls, inspect.isfunction)
    return {name: member for name, member in members if not name.startswith("_") and not hasattr(but, name)}


def test_the_twins_are_fresh() -> None:
    """Each file is what the generator writes; `make async` brings them up to date."""
    done = subprocess.run(
        [sys.executable, "scripts/generate_async.py", "--check"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("store", STORES)
def test_a_twin_takes_what_its_store_takes(store: StoreName) -> None:
    """Every method is there with the same arguments but `tx`, as a coroutine or an asynchronous iterator."""
    blocking = getattr(import_module(f"aragora_persist.{store.module}"), store.cls)
    twin = getattr(import_module(f"aragora_persist.aio.{store.module.rpartition('.')[2]}"), f"Async{store.cls}")
    theirs, ours = public(blocking, Store), public(twin, AsyncStore)
    blocks = {name for name, member in theirs.items() if "ContextManager" in str(inspect.signature(member))}

    assert theirs.keys() - blocks == ours.keys()
    for name, method in ours.items():
        wanted = [one for one in inspect.signature(theirs[name]).parameters.values() if one.name != "tx"]
        assert list(inspect.signature(method).parameters.values()) == wanted
        returns = inspect.signature(method).return_annotation
        assert inspect.iscoroutinefunction(method) or returns.startswith("AsyncGenerator["), name
