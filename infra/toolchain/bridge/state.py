"""The state that a change proposes, as Terraform's core would work it out before it asks the provider.

Per field: what the program states; else, where the provider computes it, the value it had; else unknown for a new
resource. The provider's own planning (defaults, forced replacement) comes after this and is not repeated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .schema import Field, Many, Record
from .values import UNKNOWN, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


def proposed(record: Record, config: Mapping[str, Value], prior: Mapping[str, Value] | None) -> dict[str, Value]:
    """Combine a configuration with the prior state (``None``: the resource is new); all in Terraform's shape."""
    return {
        field.terraform: _proposed_field(
            field, config.get(field.terraform), None if prior is None else prior.get(field.terraform), new=prior is None
        )
        for field in record.fields
    }


def _proposed_field(field: Field, config: Value, prior: Value, *, new: bool) -> Value:
    if config is None:
        if not field.computed:
            return None
        return UNKNOWN if new else prior
    if field.block and isinstance(field.type, Many) and isinstance(config, list):
        return _proposed_blocks(field.type, config, prior)
    return config


def _proposed_blocks(type_: Many, config: list[Value], prior: Value) -> Value:
    """Blocks of a list pair up by position. A set's blocks hold nothing computed, so they stand as configured."""
    if not type_.ordered or not isinstance(type_.element, Record):
        return list(config)
    known = prior if isinstance(prior, list) else []
    result: list[Value] = []
    for index, item in enumerate(config):
        before = known[index] if index < len(known) else None
        if isinstance(item, dict):
            result.append(proposed(type_.element, item, before if isinstance(before, dict) else None))
        else:
            result.append(item)
    return result
