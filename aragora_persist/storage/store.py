"""What every store is: a database that is opened with it, and given back at the end of its block.

Leaves out: tables and statements, which are each store's own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Self

from aragora_persist.errors import MisuseError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.times import to_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Backend, Context, Item, Result, Transaction


class Store:
    """One store of the database ``database_name`` (its name in the registry).

    ``db_path`` is a path of a SQLite file, ``":memory:"``, or None for the documented place under ``NOMIC_DIR``; or a
    database that is open already, which several stores then share, and which is not closed with this one.
    """

    database_name: ClassVar[str]

    def __init__(
        self,
        db_path: str | os.PathLike[str] | Backend | None = None,
        *,
        migrate: bool = False,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings or Settings.from_env()
        self._clock = clock
        self._own = db_path is None or isinstance(db_path, str | os.PathLike)
        if db_path is None or isinstance(db_path, str | os.PathLike):
            self._database: Backend = open_engine(db_path, self.database_name, migrate=migrate, settings=self._settings)
            return
        self._database = db_path
        if db_path.name != self.database_name:
            problem = f"is the database {db_path.name!r}, not {self.database_name!r}"
            raise MisuseError("open store", db_path.target, problem)

    @property
    def database(self) -> Backend:
        """The database, for transactions over several of its stores: ``with users.database.transaction() as tx``."""
        return self._database

    def close(self) -> None:
        """Give the database back; closing twice does nothing."""
        if self._own:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(
        self,
        operation: str,
        work: Callable[[Transaction], Result],
        tx: Transaction | None = None,
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Run ``work`` in a transaction of its own, or inside ``tx``, where a failure takes back only its own part.

        ``context`` is what the slow-query log may show beside the operation; inside ``tx`` it names the caller's own.
        """
        if tx is None:
            return self._database.write(operation, work, durability=durability, context=context)
        if not tx.belongs_to(self._database):
            raise MisuseError(operation, self._database.target, "tx is a transaction of another database")
        return tx.nested(work)

    def _write_together(
        self,
        operation: str,
        item: Item,
        work: Callable[[Transaction, Sequence[Item]], Sequence[Result]],
        tx: Transaction | None = None,
    ) -> Result:
        """As ``_write``, of work that is done to several callers' items at once where they come at the same time."""
        if tx is None:
            return self._database.write_together(operation, item, work)
        return self._write(operation, lambda writing: work(writing, (item,))[0], tx)

    def _in_batches(
        self,
        operation: str,
        some: Callable[[Transaction], int],
        tx: Transaction | None = None,
        *,
        context: Context | None = None,
    ) -> int:
        """Do ``some`` of it in one write after the other until nothing is left, and return how much it was.

        So it can be stopped at any time, and others write in between; with ``tx``, all of it is the caller's.
        """
        total = 0
        while done := self._write(operation, some, tx, context=context):
            total += done
        return total

    def _now(self) -> str:
        """Return the present in the form that is stored."""
        return to_text(self._clock())
