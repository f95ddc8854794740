"""What became of the rows of one picture in a later one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.migrations.lint.picture import Picture, Row, Table


def lost_values(before: Picture, later: Picture, *, among: Picture) -> Iterator[str]:
    """Say which rows and values of the tables and columns of ``among`` were there before and are not any more."""
    for name in sorted(among.tables.keys() & before.tables.keys() & later.tables.keys()):
        old, new, known = before.tables[name], later.tables[name], among.tables[name]
        if len(new.rows) < min(len(old.rows), len(known.rows)):
            yield f"{name}: {len(old.rows)} sample rows before, {len(new.rows)} after"
            continue
        pairs = paired(old, new)
        for column in sorted(old.columns.keys() & new.columns.keys() & known.columns.keys()):
            first, last = ({pair[side][column] for pair in pairs} for side in (0, 1))
            if len(last) == 1 and first - last and last <= {None, new.columns[column].fallback}:
                yield f"{name}.{column}: every row has {last.pop()!r} in it"
            elif any(row[column] is not None and after[column] is None for row, after in pairs):
                yield f"{name}.{column}: a row that had a value in it has NULL"
        if old.counter is not None and (new.counter or 0) < old.counter:
            yield f"{name}: its AUTOINCREMENT would give ids a second time"


def paired(old: Table, new: Table) -> list[tuple[Row, Row]]:
    """Return each row with what became of it: the row of the same key, else the one in the same place."""
    key = old.key
    if key and set(key) <= new.columns.keys():
        found = {tuple(row[name] for name in key): row for row in new.rows}
        keys = [tuple(row[name] for name in key) for row in old.rows]
        if all(each in found for each in keys):
            return [(row, found[each]) for row, each in zip(old.rows, keys, strict=True)]
    return list(zip(old.rows, new.rows, strict=False))
