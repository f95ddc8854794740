"""The JSON text that every database of the tier can store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist import json_text
from aragora_persist.errors import InvalidValueError

STORABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def looped() -> dict[str, Any]:
    """Return an object that holds itself."""
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@given(st.dictionaries(st.text(), STORABLE))
def test_what_is_taken_comes_back(value: dict[str, Any]) -> None:
    """An object is returned as it went in, or refused for a NUL or a lone surrogate that it does hold."""
    try:
        text = json_text.encode(value, operation="test", field="value")
    except InvalidValueError:
        escaped = json.dumps(value)
        assert "\\u0000" in escaped or "\\ud" in escaped
    else:
        assert json_text.decode(text) == value
        assert "\0" not in text.encode().decode()


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ({"a": [1, {"b": float("nan")}]}, "record.a[1].b", "is nan, which JSON does not have"),
        ({"a": float("-inf")}, "record.a", "is -inf, which JSON does not have"),
        ({"a": "x\0y"}, "record.a", "holds a NUL character, which PostgreSQL cannot store"),
        ({"a": ["\ud800"]}, "record.a[0]", "holds a lone surrogate, which is not text"),
        ({"\0": 1}, "record (a key)", "holds a NUL character, which PostgreSQL cannot store"),
        ({"a": object()}, "record.a", "is a object, which JSON does not have"),
        ({"a": b"bytes"}, "record.a", "is a bytes, which JSON does not have"),
        (looped(), "record", "is not JSON: Circular reference detected"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_path(value: object, path: str, problem: str) -> None:
    """The error names the very part that no database would take."""
    with pytest.raises(InvalidValueError) as caught:
        json_text.encode(value, operation="enqueue", field="record")
    assert (caught.value.operation, caught.value.target, caught.value.problem) == ("enqueue", path, problem)


def test_a_backslash_before_u0000_is_no_nul() -> None:
    """Text that only looks like an escape is taken."""
    value = {"a": "\\u0000 \\ud800", "pair": "\U0001f600"}

    assert json_text.decode(json_text.encode(value, operation="test", field="value")) == value


def test_nesting_without_end_is_refused() -> None:
    """A value nested deeper than the encoder can follow is an error like the others, not a crash."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidValueError, match="is nested too deeply"):
        json_text.encode(value, operation="test", field="value")


@pytest.mark.parametrize("depth", [json_text.DEEPEST, json_text.DEEPEST + 1])
def test_the_deepest_is_the_same_from_every_depth_of_calls(depth: int) -> None:
    """Else what could only just be written would seem damaged to a reader with more calls above it."""
    value: dict[str, Any] = {"[[": '"{' * 200}
    for _ in range(depth - 1):
        value = {"in": value}

    if depth > json_text.DEEPEST:
        with pytest.raises(InvalidValueError, match="is nested too deeply: more than 200 levels"):
            json_text.encode(value, operation="test", field="value")
    else:
        assert json_text.decode(json_text.encode(value, operation="test", field="value")) == value
