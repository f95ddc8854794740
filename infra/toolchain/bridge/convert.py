"""Pulumi-shaped values into Terraform-shaped ones and back, along a schema.

Pulumi leaves out what is not set; Terraform wants every field, null or an empty block. Scalars are brought to the type
that the schema states where that loses nothing (a number for a string), because Pulumi's programs may do so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .schema import Field, Many, Map, Record, Scalar
from .values import UNKNOWN, Unknown, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .schema import Type


def to_terraform(record: Record, properties: Mapping[str, Value]) -> dict[str, Value]:
    """Make a whole object for Terraform; properties that the schema does not know are left out.

    Raises: ValueError naming the property (never its value) that does not fit its type.
    """
    return _object_in(record, properties, "")


def from_terraform(record: Record, state: Mapping[str, Value]) -> dict[str, Value]:
    """Take over what Pulumi keeps of an object of Terraform's: nulls and empty blocks are left out."""
    properties: dict[str, Value] = {}
    for field in record.fields:
        value = _field_out(field, state.get(field.terraform))
        if value is not None and not (field.block and value == []):
            properties[field.pulumi] = value
    return properties


def unknown_names(record: Record, properties: Mapping[str, Value]) -> list[str]:
    """Name the properties that the schema has no field for."""
    return sorted(name for name in properties if name not in record.by_pulumi)


def _object_in(record: Record, properties: Mapping[str, Value], where: str) -> dict[str, Value]:
    return {
        field.terraform: _field_in(field, properties.get(field.pulumi), f"{where}{field.pulumi}")
        for field in record.fields
    }


def _field_in(field: Field, value: Value, where: str) -> Value:
    if value is None:
        return [] if field.block else None
    if field.single and value is not UNKNOWN:
        value = [value]
    return _value_in(field.type, value, where)


def _value_in(type_: Type, value: Value, where: str) -> Value:
    if value is None or isinstance(value, Unknown):
        return value
    match type_:
        case Scalar():
            return _scalar_in(type_, value, where)
        case Many() if isinstance(value, list):
            return [_value_in(type_.element, item, f"{where}[{index}]") for index, item in enumerate(value)]
        case Map() if isinstance(value, dict):
            return {key: _value_in(type_.element, item, f"{where}[{key!r}]") for key, item in value.items()}
        case Record() if isinstance(value, dict):
            return _object_in(type_, value, f"{where}.")
        case _:
            expected = {Many: "a list", Map: "a map", Record: "an object"}[type(type_)]
            raise ValueError(f"{where}: expected {expected}")


def _scalar_in(type_: Scalar, value: Value, where: str) -> Value:
    if type_.kind == "string":
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return json.dumps(value)
    elif type_.kind == "bool":
        if isinstance(value, bool):
            return value
        if value in {"true", "false"}:
            return value == "true"
    else:
        number = _number(value)
        if number is not None:
            return number
    article = "a number" if type_.kind == "number" else f"a {type_.kind}"
    raise ValueError(f"{where}: expected {article}")


def _number(value: Value) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(value) if isinstance(value, int) or number.is_integer() else number


def _field_out(field: Field, value: Value) -> Value:
    if field.single and isinstance(value, list):
        value = value[0] if value else None
        element = field.type.element if isinstance(field.type, Many) else field.type
        return _value_out(element, value)
    return _value_out(field.type, value)


def _value_out(type_: Type, value: Value) -> Value:
    match type_:
        case Many() if isinstance(value, list):
            return [_value_out(type_.element, item) for item in value]
        case Map() if isinstance(value, dict):
            return {key: _value_out(type_.element, item) for key, item in value.items()}
        case Record() if isinstance(value, dict):
            return from_terraform(type_, value)
        case Scalar(kind="number") if isinstance(value, str):
            return _number(value)  # numbers beyond 64 bits travel as text
        case _:
            return value
