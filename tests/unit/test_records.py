"""Frozen records that are made quickly are the same as those that `dataclasses` makes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from aragora_persist.records import builder, dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A record."""

    x: int
    label: str | None


_point = builder(Point)


def test_a_record_is_what_its_class_makes() -> None:
    """Equal, of the same class, hashable, and to be copied, replaced and pickled like any other."""
    made = _point(1, None)
    assert (type(made), made, hash(made), repr(made)) == (
        *(Point, Point(1, None), hash(Point(1, None))),
        "Point(x=1, label=None)",
    )
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own
    assert replace(made, x=2) == Point(2, None)


def test_a_record_is_frozen() -> None:
    """No field can be set or added afterwards."""
    made = _point(1, None)
    with pytest.raises(FrozenInstanceError):
        made.x = 2  # type: ignore[misc] # the test
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        made.y = 2  # type: ignore[attr-defined] # the test
    assert made == Point(1, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Slow:
    """The same record, as the standard library makes it."""

    x: int
    label: str | None


def looks(record: type[Any]) -> list[object]:
    """Return all that can be seen of a record's class, and of two of its objects."""
    one, other = record(1, label="a"), record(x=2, label=None)
    name = record.__name__
    return [
        str(inspect.signature(record)),
        [(field.name, field.type, field.default, field.kw_only) for field in dataclasses.fields(record)],
        dataclasses.asdict(one),
        dataclasses.is_dataclass(one),
        str(record.__dataclass_params__),
        record.__doc__ == Slow.__doc__,
        record.__match_args__,
        repr(one).replace(name, ""),
        (one == record(1, "a"), one == other, one == (1, "a"), hash(one) == hash(record(1, "a"))),
        copy.copy(one) == one,
        hasattr(one, "__dict__"),
    ]


def test_a_record_is_a_dataclass() -> None:
    """Signature, fields, equality and the rest are those of the standard library's."""
    made: type[Any] = dataclass(frozen=True, slots=True)(_like(Slow))
    assert looks(made) == looks(Slow)


def test_a_record_can_want_its_names() -> None:
    """Then no order of its fields is relied on, and its fields say so."""
    made: type[Any] = dataclass(frozen=True, slots=True, kw_only=True)(_like(Slow))
    with pytest.raises(TypeError):
        made(1, "a")
    assert replace(made(label="a", x=1), x=2) == made(x=2, label="a")
    assert [field.kw_only for field in dataclasses.fields(made)] == [True, True]


def test_a_record_has_no_defaults() -> None:
    """What a class would quietly lose is refused when it is made."""
    with pytest.raises(ValueError, match="conflicts"):
        dataclass(frozen=True, slots=True)(type("Wrong", (), {"__annotations__": {"x": "int"}, "x": 1}))


def _like(cls: type) -> type:
    """Return a class with the same annotations, as it is written before a decorator makes a record of it."""
    return type("Quick", (), {"__annotations__": cls.__annotations__, "__doc__": cls.__doc__})


@pytest.mark.parametrize("values", [(), (1,), (1, None, 3)])
def test_every_field_is_needed(values: tuple[object, ...]) -> None:
    """A row of another shape does not become half a record."""
    with pytest.raises(TypeError):
        _point(*values)
