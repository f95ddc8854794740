"""How rows become frozen records quickly.

A frozen dataclass sets each of its fields through ``object.__setattr__``: for twenty fields that takes 2 µs, as long as
a seventh of the whole look-up. Leaves out: what stands in the fields (``rows``).
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Record = TypeVar("Record")


def builder(record: type[Record]) -> Callable[..., Record]:
    """Return a function that makes a frozen, slotted dataclass of its fields in their order, in a fifth of the time.

    It fills an object of a class with the same slots that is not frozen, and turns it into the record: Python allows
    that between classes of one layout.
    """

    def freeze(draft: Any) -> None:  # noqa: ANN401 - neither class is known here
        draft.__class__ = record

    names = [field.name for field in fields(cast("Any", record))]
    draft = make_dataclass(
        record.__name__, names, slots=True, eq=False, repr=False, match_args=False, namespace={"__post_init__": freeze}
    )
    return cast("Callable[..., Record]", draft)
