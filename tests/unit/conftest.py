"""The databases of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.sqlite.engine import Engine, open_engine
from tests.unit.tokens import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database will be."""
    return tmp_path / "data" / "tokens.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """Open a database in a new file; it waits for no lock for long."""
    with open_engine(path, "tokens", settings=settings(DB_TIMEOUT="0.2")) as engine:
        yield engine


@pytest.fixture(params=["file", "memory"])
def either(request: pytest.FixtureRequest, path: Path) -> Iterator[Engine]:
    """Open a database in a new file, and one in memory; neither waits for a lock for long."""
    place = path if request.param == "file" else ":memory:"
    with open_engine(place, "tokens", settings=settings(DB_TIMEOUT="0.2")) as engine:
        yield engine
