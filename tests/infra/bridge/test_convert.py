"""Pulumi's shape into Terraform's and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from infra.toolchain.bridge.convert import from_terraform, to_terraform, unknown_names
from infra.toolchain.bridge.values import UNKNOWN, Value, pack, unpack

from .samples import PROPERTIES, RECORD


@given(PROPERTIES)
def test_terraform_gives_back_what_the_program_stated(properties: dict[str, Value]) -> None:
    """Nothing is lost or added between the shapes, even through the wire."""
    state = unpack(pack(to_terraform(RECORD, properties)))
    assert isinstance(state, dict)
    assert properties == from_terraform(RECORD, state)


@given(PROPERTIES)
def test_terraform_gets_every_field(properties: dict[str, Value]) -> None:
    """Null where nothing is stated, and no block is ever null."""
    state = to_terraform(RECORD, properties)
    assert [field.terraform for field in RECORD.fields] == list(state)
    assert all(state[field.terraform] is not None for field in RECORD.fields if field.block)


def test_a_block_that_stands_once_is_a_list_for_terraform() -> None:
    """And the element itself for Pulumi; what is unknown stays unknown as a whole."""
    state = to_terraform(RECORD, {"healthcheck": {"tests": ["CMD"]}})
    assert state["healthcheck"] == [{"test": ["CMD"], "interval": None, "retries": None}]
    assert to_terraform(RECORD, {"healthcheck": UNKNOWN})["healthcheck"] is UNKNOWN
    assert to_terraform(RECORD, {})["healthcheck"] == []


@pytest.mark.parametrize(
    ("stated", "field", "expected"),
    [
        ({"name": 5}, "name", "5"),
        ({"name": True}, "name", "true"),
        ({"memory": "64"}, "memory", 64),
        ({"memory": 1.5}, "memory", 1.5),
        ({"memory": 64.0}, "memory", 64),
        ({"readOnly": "true"}, "read_only", True),
    ],
)
def test_scalars_take_the_type_of_the_schema(stated: dict[str, Value], field: str, expected: Value) -> None:
    """Where it loses nothing: programs pass a number where a text is meant."""
    value = to_terraform(RECORD, stated)[field]
    assert expected == value
    assert type(expected) is type(value)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"memory": "hunter2"}, "memory: expected a number"),
        ({"memory": True}, "memory: expected a number"),
        ({"readOnly": "hunter2"}, "readOnly: expected a bool"),
        ({"name": ["hunter2"]}, "name: expected a string"),
        ({"envs": "hunter2"}, "envs: expected a list"),
        ({"logOpts": "hunter2"}, "logOpts: expected a map"),
        ({"ports": [{"internal": 1}, {"internal": "hunter2"}]}, "ports[1].internal: expected a number"),
        ({"healthcheck": "hunter2"}, "healthcheck[0]: expected an object"),
    ],
)
def test_a_value_that_does_not_fit_is_named_but_not_shown(stated: dict[str, Value], message: str) -> None:
    """The error says where and what was expected; the value may be a secret."""
    with pytest.raises(ValueError, match=r".") as refusal:
        to_terraform(RECORD, stated)
    assert message == str(refusal.value)


def test_properties_without_a_partner_are_found() -> None:
    """So that a misspelt one is refused instead of dropped."""
    assert unknown_names(RECORD, {"name": "x", "nmae": "x"}) == ["nmae"]


def test_numbers_beyond_64_bits_come_as_text() -> None:
    """Terraform sends those as strings."""
    assert from_terraform(RECORD, {"memory": "18446744073709551616"}) == {"memory": 2**64}
