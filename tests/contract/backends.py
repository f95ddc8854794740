"""The backends over which each store's contract is held, as one fixture: a factory of open, empty databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aragora_persist.storage.port import Backend

    OpenDatabase = Callable[[str], Backend]


@pytest.fixture(params=["file", "memory"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Give a function that opens the database of a name in the registry, new and empty, once a test."""
    opened: list[Backend] = []

    def open_one(name: str) -> Backend:
        opened.append(open_engine(":memory:" if request.param == "memory" else tmp_path / f"{name}.db", name))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()
