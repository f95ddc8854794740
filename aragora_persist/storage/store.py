"""What every store is: a database that is opened with it, and given back at the end of its block.

Leaves out: tables and statements, which are each store's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aragora_persist.storage.engine import open_engine

if TYPE_CHECKING:
    import os

    from aragora_persist.settings import Settings


class Store:
    """One database, as ``engine.open_engine`` opens it; ``database`` is its name in the registry."""

    def __init__(
        self, database: str, db_path: str | os.PathLike[str] | None, *, migrate: bool, settings: Settings | None
    ) -> None:
        self._engine = open_engine(db_path, database, migrate=migrate, settings=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the database back; closing twice does nothing."""
        self._engine.close()
