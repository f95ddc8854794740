"""Rows in portions that one request may carry, by number and by size. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist import json_text
from aragora_persist.errors import InvalidValueError, RejectedError
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BATCH_ROWS = 1000
"""Beyond this, larger batches are no faster."""
BATCH_BYTES = 1024 * 1024
"""Small enough to be stored well within the server's limits of time and memory: it takes up to 250 times as much of it
for JSON that is all brackets."""
ROW_BYTES = 30 * 1024 * 1024
"""A gateway takes 32 MiB, and may cut the connection off instead of saying so."""


def batches(table: str, rows: Sequence[Mapping[str, object]], operation: str) -> Iterator[list[Mapping[str, object]]]:
    """Yield the rows in their order; a row that is larger than a batch should be comes alone.

    Raises:
        RejectedError: a row holds what Supabase cannot store, or is larger than it takes.

    """
    batch: list[Mapping[str, object]] = []
    batch_bytes = 0
    for row in rows:
        row_bytes = measured(table, row, operation)
        if batch and (len(batch) >= BATCH_ROWS or batch_bytes + row_bytes > BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(row)
        batch_bytes += row_bytes
    if batch:
        yield batch


def measured(table: str, row: Mapping[str, object], operation: str) -> int:
    """Return the size of a row in bytes.

    Raises:
        RejectedError: the row holds what Supabase cannot store, or is larger than it takes.

    """
    field = f"{table} {row.get('id')}"
    try:
        size = len(json_text.encode(dict(row), operation=operation, field=field).encode()) + 1
    except InvalidValueError as error:
        raise RejectedError(operation, error.target, error.problem) from error
    if size > ROW_BYTES:
        problem = f"is {size_text(size)}, more than the {size_text(ROW_BYTES)} that one row may have"
        raise RejectedError(operation, field, problem)
    return size
