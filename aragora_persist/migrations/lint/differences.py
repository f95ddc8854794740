"""The rules about what a migration changed of a schema that was there. Pure: two pictures in, findings out.

Leaves out: the rules about a schema as such, about rows and about files (``rules``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.lint import catalog
from aragora_persist.migrations.lint.catalog import RULES
from aragora_persist.migrations.lint.conditions import is_tighter, names
from aragora_persist.migrations.lint.rows import paired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.migrations.lint.catalog import Finding
    from aragora_persist.migrations.lint.observing import Observation
    from aragora_persist.migrations.lint.picture import Index, Picture, Table


def differences(seen: Observation) -> Iterator[Finding]:
    """Yield what the previous release cannot live with."""
    name, refused = seen.migration.name, dict(seen.refused)
    gone = seen.before.tables.keys() - seen.after.tables.keys()
    for table in seen.before.tables.values():
        if table.name not in seen.after.tables:
            yield _gone(name, table, seen.before, seen.after)
            continue
        changes = list(_changed(name, table, seen.after.tables[table.name], gone))
        yield from changes
        if table.name in refused and not any(RULES[change.rule].breaks_readers for change in changes):
            detail = f"an INSERT that was right before is refused: {refused[table.name]}"
            yield catalog.TIGHTER.found(name, table.name, detail)
    for other in sorted(seen.before.others.keys() - seen.after.others.keys()):
        yield catalog.DROP_TRIGGER.found(name, f"{seen.before.others[other]} {other}")


def _gone(name: str, table: Table, before: Picture, after: Picture) -> Finding:
    for other in after.tables.values():
        if (
            other.name not in before.tables
            and table.columns.keys() <= other.columns.keys()
            and _same_rows(table, other)
        ):
            return catalog.RENAME_TABLE.found(name, f"table {table.name}, now {other.name}")
    return catalog.DROP_TABLE.found(name, f"table {table.name}")


def _same_rows(old: Table, new: Table) -> bool:
    return bool(old.rows) and old.rows == tuple({column: row[column] for column in old.columns} for row in new.rows)


def _changed(name: str, old: Table, new: Table, gone: set[str]) -> Iterator[Finding]:
    renamed = dict(_renamed(old, new))
    for column in old.columns:
        if column in renamed:
            yield catalog.RENAME_COLUMN.found(name, f"{old.name}.{column}, now {renamed[column]}")
        elif column not in new.columns:
            yield catalog.DROP_COLUMN.found(name, f"{old.name}.{column}")
    for added in new.columns.values():
        if added.name not in old.columns and added.name not in renamed.values() and added.needs_a_value:
            yield catalog.NOT_NULL.found(name, f"{old.name}.{added.name}")
    yield from _indexes_gone(name, old, new)
    fresh = new.columns.keys() - old.columns.keys() - set(renamed.values())
    for subject, detail in (
        *_tighter_columns(old, new),
        *_tighter_indexes(old, new, fresh),
        *_tighter_checks(old, new, fresh),
        *_tighter_keys(old, new, fresh, gone),
    ):
        yield catalog.TIGHTER.found(name, subject, detail)


def _renamed(old: Table, new: Table) -> Iterator[tuple[str, str]]:
    """Yield each column that is gone with the new one that has its values."""
    pairs = paired(old, new)
    added = [column for column in new.columns.values() if column.name not in old.columns]
    for gone in old.columns.values():
        if gone.name in new.columns:
            continue
        for column in added:
            same = all(first[gone.name] == second[column.name] for first, second in pairs)
            if same and any(first[gone.name] is not None for first, _ in pairs):
                yield gone.name, column.name
                added.remove(column)
                break


def _indexes_gone(name: str, old: Table, new: Table) -> Iterator[Finding]:
    for index in old.indexes:
        if not {column for column in index.columns if column} <= new.columns.keys():
            continue  # the column that is gone was found
        title = f"{index.name} of {old.name}" if index.sql is None else f"index {index.name}"
        if index.unique and not any(_holds_as_unique(other, index) for other in new.indexes):
            yield catalog.DROP_UNIQUE.found(name, title)
        elif not index.unique and not any(_reads_as(other, index) for other in new.indexes):
            yield catalog.DROP_INDEX.found(name, title)


def _holds_as_unique(other: Index, index: Index) -> bool:
    same = sorted(map(str, other.columns)) == sorted(map(str, index.columns)) and other.where == index.where
    return same and other.unique and (None not in index.columns or other.sql == index.sql)


def _reads_as(other: Index, index: Index) -> bool:
    if None in index.columns:
        return other.sql == index.sql
    return other.columns[: len(index.columns)] == index.columns and other.where in {None, index.where}


def _tighter_columns(old: Table, new: Table) -> Iterator[tuple[str, str]]:
    for before in old.columns.values():
        after = new.columns.get(before.name)
        if after is None:
            continue
        subject = f"{old.name}.{after.name}"
        if after.needs_a_value and not before.needs_a_value:
            yield subject, "it was allowed to be left out"
        elif after.not_null and not before.not_null:
            yield subject, "it was allowed to be NULL"
        if after.kind.upper() != before.kind.upper():
            yield subject, f"it was {before.kind or 'of no type'} and is {after.kind or 'of no type'}"


def _tighter_indexes(old: Table, new: Table, fresh: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what must be unique now; not where a new column is in it that is NULL for the previous release."""
    absent = {column for column in fresh if new.columns[column].starts_as_null}
    for index in new.indexes:
        if not index.unique or absent & {*index.columns}:
            continue
        held = any(one.unique and one.where is None and {*one.columns} <= {*index.columns} for one in old.indexes)
        if not held and not any(_holds_as_unique(index, one) for one in old.indexes):
            columns = ", ".join(column or "an expression" for column in index.columns)
            yield f"{index.name} of {old.name}", f"{columns} need not have been unique"


def _tighter_checks(old: Table, new: Table, fresh: set[str]) -> Iterator[tuple[str, str]]:
    for check in sorted(new.checks - old.checks):
        if not fresh & names(check, new.columns) and is_tighter(check, old.checks, new.columns):
            yield old.name, f"CHECK ({check}) was not asked before"


def _tighter_keys(old: Table, new: Table, fresh: set[str], gone: set[str]) -> Iterator[tuple[str, str]]:
    for key in new.foreign_keys:
        same = (one for one in old.foreign_keys if one.columns == key.columns)
        # What referred to a table that is gone follows its new name.
        if not fresh & {*key.columns} and not any(one.parent in {key.parent, *gone} for one in same):
            yield f"{old.name}.{', '.join(key.columns)}", f"it did not have to refer to {key.parent}"
