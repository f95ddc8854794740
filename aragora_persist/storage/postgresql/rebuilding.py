"""``rebuild_table`` in a migration on PostgreSQL: the same rules, with what this database brings along.

Everything there refers to a table by its identity, not by its name: so the old one steps aside under another name, and
the foreign keys of other tables are taken off it and put on the new one. Leaves out what migrations cannot make there
(triggers, views, policies, grants): a table that somebody has given such a thing is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import NotFoundError, UnsupportedError
from aragora_persist.storage.names import quoted
from aragora_persist.storage.postgresql.translation import translated
from aragora_persist.storage.rebuild_rules import (
    OPERATION,
    Column,
    check_count,
    columns_to_fill,
    definition_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.postgresql.connecting import Connection

    _Place = tuple[int, ...]

_ASIDE = "aragora_rebuild"

_FIND = b"""
SELECT oid FROM pg_class WHERE relname = $1 AND relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""
_COLUMNS = b"""
SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '', attgenerated <> '' FROM pg_attribute
WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_FOREIGN = b"""
SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = $1::oid AND NOT tgisinternal
UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = $1::oid
UNION ALL SELECT DISTINCT 'view ' || v.relname FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_class AS v ON v.oid = r.ev_class WHERE d.refobjid = $1::oid AND d.deptype = 'n'
"""
# A new table gets the grants that are the default there.
_OTHER_GRANTS = b"""
SELECT 'grants' FROM pg_class AS old, pg_class AS new
WHERE old.oid = $1::oid AND new.oid = $2::oid AND old.relacl IS DISTINCT FROM new.relacl
"""
# Those that the definition does not bring itself.
_INDEXES = b"""
SELECT pg_get_indexdef(indexrelid) FROM pg_index AS i WHERE indrelid = $1::oid
AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u', 'x'))
ORDER BY indexrelid
"""
_REFERRING = b"""
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid ORDER BY oid
"""
_COUNTERS = b"""
SELECT attname, pg_get_serial_sequence(attrelid::regclass::text, attname) FROM pg_attribute
WHERE attrelid = $1::oid AND attidentity <> ''
"""
_NAMES = b"SELECT relname FROM pg_class JOIN pg_index ON pg_class.oid = indexrelid WHERE indrelid = $1::oid"


def rebuild(connection: Connection, table: str, new_sql: str, copy: str | None) -> tuple[int, list[str]]:
    """Rebuild, all or nothing; return how many rows were copied, and the foreign keys that the table still is to get.

    Raises:
        NotFoundError: there is no such table.
        ConflictError, InvalidValueError: see ``storage.rebuild``.
        UnsupportedError: the table has something that no migration gave it, or the definition cannot be translated.

    """
    definition_of(table, new_sql)
    statement, foreign_keys = translated(new_sql)
    name = table.lower()
    with connection.transaction():
        place = connection.execute(_FIND, (name,)).fetchone()
        if place is None:
            raise NotFoundError(OPERATION, table, "is not there")
        _refuse(table, connection.execute(_FOREIGN, place).fetchall())
        indexes = connection.execute(_INDEXES, place).fetchall()
        referring = connection.execute(_REFERRING, place).fetchall()
        old = _columns(connection, place)
        selected = None if copy is None else _selected(connection, copy)
        for child, constraint, _ in referring:
            _run(connection, f"ALTER TABLE {child} DROP CONSTRAINT {quoted(constraint)}")
        reached = _step_aside(connection, name, place)
        _run(connection, statement)
        new_place = connection.execute(_FIND, (name,)).fetchone() or place
        _refuse(table, connection.execute(_OTHER_GRANTS, (*place, *new_place)).fetchall())
        names = columns_to_fill(table, old, _columns(connection, new_place), selected)
        copied = _copy(connection, name, names, copy)
        _run(connection, f"DROP TABLE {_ASIDE}")
        for (index,) in indexes:
            _run(connection, index)
        for child, constraint, definition in referring:
            _run(connection, f"ALTER TABLE {child} ADD CONSTRAINT {quoted(constraint)} {definition}")
        _count_on(connection, name, new_place, reached)
    return copied, foreign_keys


def _columns(connection: Connection, place: _Place) -> list[Column]:
    return [Column(*row) for row in connection.execute(_COLUMNS, place)]


def _refuse(table: str, foreign: Sequence[tuple[str]]) -> None:
    if foreign:
        raise UnsupportedError(
            OPERATION,
            table,
            f"has what no migration gave it, and would lose it: {', '.join(what for (what,) in foreign)}",
            hint="take it away before, and put it back afterwards",
        )


def _selected(connection: Connection, copy: str) -> list[str]:
    description = connection.execute(f"SELECT * FROM ({_bare(copy)}\n) AS copied LIMIT 0".encode()).description  # noqa: S608 - the migration's own SQL
    return [column.name for column in description or ()]


def _step_aside(connection: Connection, table: str, place: _Place) -> int:
    """Take the old table's name away, and those of its indexes and counters; return the highest id ever given."""
    reached = 0
    names = [("INDEX", quoted(index)) for (index,) in connection.execute(_NAMES, place)]
    for _, sequence in connection.execute(_COUNTERS, place).fetchall():
        last = connection.execute(f"SELECT last_value FROM {sequence} WHERE is_called".encode()).fetchone()  # noqa: S608 - as the server quotes it
        reached = max(reached, 0 if last is None else last[0])
        names.append(("SEQUENCE", sequence))
    for number, (kind, taken) in enumerate(names):
        _run(connection, f"ALTER {kind} {taken} RENAME TO {_ASIDE}_{number}")
    _run(connection, f"ALTER TABLE {quoted(table)} RENAME TO {_ASIDE}")
    return reached


def _copy(connection: Connection, table: str, columns: Sequence[str], copy: str | None) -> int:
    names = ", ".join(quoted(name) for name in columns)
    (before,) = connection.execute(f"SELECT count(*) FROM {_ASIDE}".encode()).fetchone() or (0,)  # noqa: S608 - a constant
    if copy is None:
        source = f"SELECT {names} FROM {_ASIDE}"  # noqa: S608 - quoted
    else:  # what it calls by the table's name is the old one
        source = f"WITH {quoted(table)} AS (TABLE {_ASIDE}) SELECT * FROM ({_bare(copy)}\n) AS copied"  # noqa: S608 - the migration's own SQL
    copied = _run(connection, f"INSERT INTO {quoted(table)} ({names}) {source}")
    check_count(table, before, copied, copy)
    return copied


def _count_on(connection: Connection, table: str, place: _Place, reached: int) -> None:
    """Let the counters of the new table go on after the highest id that it or the old one had."""
    for column, sequence in connection.execute(_COUNTERS, place).fetchall():
        highest = f"SELECT greatest(max({quoted(column)}), $1::bigint) FROM {quoted(table)}"  # noqa: S608 - quoted
        (last,) = connection.execute(highest.encode(), (reached,)).fetchone() or (0,)
        if last > 0:
            connection.execute(b"SELECT setval($1::regclass, $2::bigint)", (sequence, last))


def _bare(copy: str) -> str:
    return copy.strip().removesuffix(";")


def _run(connection: Connection, statement: str) -> int:
    return connection.execute(statement.encode()).rowcount
