"""Rows in portions: nothing lost, nothing reordered, none too large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.cloud import batches as module
from aragora_persist.cloud.batches import BATCH_BYTES, BATCH_ROWS, ROW_BYTES, batches
from aragora_persist.errors import RejectedError


def rows_of(*lengths: int) -> list[dict[str, object]]:
    """Return rows whose texts are that long."""
    return [{"id": str(number), "text": "x" * length} for number, length in enumerate(lengths)]


def split(rows: list[dict[str, object]]) -> list[list[Any]]:
    """Return the batches."""
    return [list(batch) for batch in batches("stream_events", rows, "test")]


@given(lengths=st.lists(st.integers(0, 300), max_size=40))
def test_every_row_is_in_one_batch_and_in_order(lengths: list[int]) -> None:
    """And each batch is within its bounds, or a single row."""
    rows = rows_of(*lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_ROWS", 7)
        patch.setattr(module, "BATCH_BYTES", 600)
        made = split(rows)

    assert [row for batch in made for row in batch] == rows
    assert all(1 <= len(batch) <= 7 for batch in made)
    assert all(len(batch) == 1 or len(json.dumps(batch, separators=(",", ":"))) <= 602 for batch in made)


def test_batches_are_as_large_as_they_may_be() -> None:
    """Neither more nor fewer rows at a time than the limit."""
    assert [len(batch) for batch in split(rows_of(*[0] * (2 * BATCH_ROWS + 1)))] == [BATCH_ROWS, BATCH_ROWS, 1]


def test_sizes_are_counted_in_bytes() -> None:
    """A character may be four of them."""
    texts: list[dict[str, object]] = [{"id": str(number), "text": "🙂" * (BATCH_BYTES // 12)} for number in range(4)]

    assert [len(batch) for batch in split(texts)] == [2, 2]


def test_a_large_row_goes_alone() -> None:
    """Whole, however much larger than a batch should be."""
    assert [len(batch) for batch in split(rows_of(1, BATCH_BYTES + 1, 1))] == [1, 1, 1]


def test_a_row_beyond_what_a_gateway_takes_is_refused() -> None:
    """With its key and its size, without its content."""
    with pytest.raises(RejectedError, match=r"30.* MiB") as refused:
        split(rows_of(ROW_BYTES))
    assert refused.value.target == "stream_events 0"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["a\0b", "\ud800", float("nan"), float("inf"), b"bytes", {1, 2}])
def test_a_value_that_cannot_be_stored_is_refused_before_it_is_sent(value: object) -> None:
    """The place is named: the table, the key and the path to the value."""
    with pytest.raises(RejectedError) as refused:
        split([{"id": "7", "event_data": {"deep": [value]}}])
    assert refused.value.target == "stream_events 7.event_data.deep[0]"
