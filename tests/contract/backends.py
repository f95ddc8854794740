"""The backends over which each store's contract is held, as one fixture: a factory of open, empty databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.postgresql import open_postgresql
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aragora_persist.storage.port import Backend
    from tests.postgresql_fixtures import PostgresqlServer

    OpenDatabase = Callable[[str], Backend]

pytest_plugins = ("tests.postgresql_fixtures",)


@pytest.fixture(params=["file", "memory", pytest.param("postgresql", marks=pytest.mark.engine)])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Give a function that opens the database of a name in the registry, new and empty, once a test."""
    kind: str = request.param
    server: PostgresqlServer | None = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    opened: list[Backend] = []
    schemas: list[tuple[str, str]] = []

    def open_one(name: str) -> Backend:
        if server is not None:
            schema = server.take_schema(name)
            opened.append(open_postgresql(name, server.address, schema=schema))
            schemas.append((name, schema))
        else:
            opened.append(open_engine(":memory:" if kind == "memory" else tmp_path / f"{name}.db", name))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()
    if server is not None:
        for name, schema in schemas:
            server.give_schema(name, schema)
