"""What a planned state changes, in Pulumi's terms.

The provider's older framework cannot tell null from zero, false, "" and the empty list, so all of these count as one;
without that ``memory_swap`` and ``read_only`` would show an update for ever. Sets are compared as sets. A value that is
unknown counts as changed, so that a preview shows what an edit upstream will replace; only what the provider alone
computes, and the program does not state, is left out, because it follows from the other changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from .schema import Many, Map, Record
from .values import UNKNOWN, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .schema import Field, Type

Steps: TypeAlias = "tuple[str | int, ...]"

# The resource's address and the limits of its operations are no part of what it is.
_NOT_COMPARED: Final = frozenset({"id", "timeouts"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One changed property: its path for Pulumi, its steps for Terraform, and what happens to it."""

    path: str
    steps: Steps
    kind: str  # "add", "delete" or "update"

    @property
    def key(self) -> str:
        """Return the top-level property that the path starts with."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]


def differences(
    record: Record, prior: Mapping[str, Value], planned: Mapping[str, Value], config: Mapping[str, Value]
) -> list[Difference]:
    """Find every difference between two states in Terraform's shape, as deep as both sides can be paired up."""
    compared = (field for field in record.fields if field.terraform not in _NOT_COMPARED)
    return [found for field in compared for found in _field(field, prior, planned, config, "", ())]


def replaced(found: Iterable[Difference], requires_replace: Sequence[Steps]) -> list[Difference]:
    """Choose those differences that the provider can only make by replacing the resource."""
    return [one for one in found if any(_on_one_line(one.steps, steps) for steps in requires_replace)]


def equivalent(type_: Type, left: Value, right: Value) -> bool:
    """Tell whether two values of one type mean the same. An unknown value equals nothing, not even itself."""
    return UNKNOWN not in (left, right) and _comparable(type_, left) == _comparable(type_, right)


def _on_one_line(left: Steps, right: Steps) -> bool:
    shared = min(len(left), len(right))
    return left[:shared] == right[:shared]


def _field(
    field: Field,
    prior: Mapping[str, Value],
    planned: Mapping[str, Value],
    config: Mapping[str, Value],
    path: str,
    steps: Steps,
) -> Iterator[Difference]:
    old, new, stated = prior.get(field.terraform), planned.get(field.terraform), config.get(field.terraform)
    if equivalent(field.type, old, new) or (new is UNKNOWN and stated is None):
        return
    path = f"{path}.{field.pulumi}" if path else field.pulumi
    steps = (*steps, field.terraform)
    pairs = _pairs(field, old, new, stated)
    if pairs is None:
        yield Difference(path, steps, _kind(field.type, old, new))
        return
    for index, (record, old_item, new_item, stated_item) in pairs:
        item_path = path if field.single else f"{path}[{index}]"
        for inner in record.fields:
            yield from _field(inner, old_item, new_item, stated_item, item_path, (*steps, index))


_Pair: TypeAlias = "tuple[int, tuple[Record, dict[str, Value], dict[str, Value], dict[str, Value]]]"


def _pairs(field: Field, old: Value, new: Value, stated: Value) -> list[_Pair] | None:
    """Pair the items of both sides; None where they have no common order or number."""
    type_ = field.type
    if not isinstance(type_, Many) or not isinstance(type_.element, Record) or not (type_.ordered or field.single):
        return None
    if not isinstance(old, list) or not isinstance(new, list) or len(old) != len(new):
        return None
    pairs: list[_Pair] = []
    for index, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
        stated_item = stated[index] if isinstance(stated, list) and index < len(stated) else {}
        if not isinstance(old_item, dict) or not isinstance(new_item, dict) or not isinstance(stated_item, dict):
            return None
        pairs.append((index, (type_.element, old_item, new_item, stated_item)))
    return pairs


def _kind(type_: Type, old: Value, new: Value) -> str:
    if _comparable(type_, old) is None:
        return "add"
    return "update" if new is UNKNOWN or _comparable(type_, new) is not None else "delete"


def _comparable(type_: Type, value: Value) -> object:
    """Find a form in which values that mean the same are equal; None for everything that means nothing."""
    if value is UNKNOWN:
        return object()
    match type_:
        case Many() if isinstance(value, list):
            items = [_comparable(type_.element, item) for item in value]
            return (items if type_.ordered else sorted(items, key=repr)) or None
        case Map() if isinstance(value, dict):
            return {key: _comparable(type_.element, item) for key, item in value.items()} or None
        case Record() if isinstance(value, dict):
            known = {field.terraform: _comparable(field.type, value.get(field.terraform)) for field in type_.fields}
            return {name: item for name, item in known.items() if item is not None} or None
        case _:
            return value or None
