"""The schema of a damaged database: its own where it can be read, that of this release's migrations where it cannot.

Leaves out: making the tables (``target``).
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import MigrationError, PersistError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.schema import read_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aragora_persist.backup.recover.format import Value
    from aragora_persist.migrations.plan import Applied, Migration

SCHEMA_ROOT = 1
"""The page where every file's schema begins."""

_FIELDS = 5
_LEDGER_FIELDS = len(plan.Applied._fields)
_CREATE = re.compile(r"CREATE\s+(?:UNIQUE\s+)?(TABLE|INDEX|VIEW|TRIGGER|VIRTUAL\s+TABLE)\s", re.IGNORECASE)


class Thing(NamedTuple):
    """A table, index, view or trigger, as ``sqlite_master`` says it; ``root`` 0 where its page is not known."""

    kind: str
    name: str
    table: str
    root: int
    sql: str


@dataclass(frozen=True, slots=True)
class Known:
    """What this release knows of a database: its migrations, and the schema after each of them."""

    migrations: tuple[Migration, ...]

    @classmethod
    def of(cls, database: str | None) -> Known:
        """Return what is known of a database of the registry; of another nothing is."""
        return cls(load(folder_of(database)) if database else ())

    def things(self, version: int) -> list[Thing]:
        """Return the schema of a version, with the pages where a new file has it."""
        with closing(self._made(version)) as connection:
            rows = connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE sql <> ''")
            return [Thing(*row) for row in rows]

    def ledger(self, version: int) -> tuple[Applied, ...]:
        """Return the ledger of a file that was brought to a version now."""
        with closing(self._made(version)) as connection:
            return ledger.read(connection)

    def version_of_rows(self, rows: Iterable[Sequence[Value]]) -> int:
        """Return the version that rows of a ledger tell of; 0 where they are none of this database's."""
        checksums = {migration.checksum: migration.version for migration in self.migrations}
        return max((checksums.get(str(row[2]), 0) for row in rows if len(row) == _LEDGER_FIELDS), default=0)

    def version_of_schema(self, connection: sqlite3.Connection) -> int:
        """Return the newest version whose whole schema is there; 0 for none."""
        there = set(read_schema(connection))
        for version in range(len(self.migrations), 0, -1):
            with closing(self._made(version)) as made:
                if set(read_schema(made)) <= there:
                    return version
        return 0

    def is_of(self, row: Applied) -> bool:
        """Say whether a row of a ledger is of one of these migrations."""
        return any((row.version, row.name, row.checksum) == one[:3] for one in self.migrations)

    def accepts(self, rows: Sequence[Applied]) -> bool:
        """Say whether a ledger can be read and goes on from here: the one of this release or of an earlier one."""
        try:
            plan.pending(self.migrations, rows, "")
        except MigrationError:
            return False
        except PersistError:
            return True  # it is newer, and as its own release left it
        return bool(rows)

    def _made(self, version: int) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        apply_pending(connection, self.migrations[:version], ":memory:", lambda: None)
        return connection


def thing_of(row: Sequence[Value]) -> Thing | None:
    """Return what a row of ``sqlite_master`` says; None where it is none, or an index that its table brings along."""
    if len(row) != _FIELDS:
        return None
    kind, name, table, root, sql = row
    if not (isinstance(name, str) and isinstance(table, str) and isinstance(root, int) and isinstance(sql, str)):
        return None
    match = _CREATE.match(sql)
    if match is None or kind != match.group(1).split()[-1].lower():
        return None
    return Thing(str(kind), name, table, root, sql)


def is_schema(rows: Sequence[Sequence[Value]]) -> bool:
    """Say whether rows look like those of ``sqlite_master``."""
    return bool(rows) and all(
        len(row) == _FIELDS and row[0] in {"table", "index", "view", "trigger"} and isinstance(row[3], int)
        for row in rows
    )
