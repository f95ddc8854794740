"""Frozen records that are made quickly are the same as those that are made slowly."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from aragora_persist.storage.records import builder


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


@pytest.mark.parametrize("values", [(), (1,), (1, None, 3)])
def test_every_field_is_needed(values: tuple[object, ...]) -> None:
    """A row of another shape does not become half a record."""
    with pytest.raises(TypeError):
        _point(*values)
