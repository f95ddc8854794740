"""The proposed state: what the program states, else what was, else unknown."""

from __future__ import annotations

from hypothesis import given

from infra.toolchain.bridge.convert import to_terraform
from infra.toolchain.bridge.state import proposed
from infra.toolchain.bridge.values import UNKNOWN, Value

from .samples import PROPERTIES, RECORD

COMPUTED = {field.terraform for field in RECORD.fields if field.computed}


@given(PROPERTIES)
def test_a_new_resource_is_as_stated_and_otherwise_unknown(properties: dict[str, Value]) -> None:
    """What the provider computes is not known before the creation."""
    config = to_terraform(RECORD, properties)
    state = proposed(RECORD, config, None)
    assert state.keys() == config.keys()
    assert {name for name in COMPUTED if config[name] is None} <= {n for n, v in state.items() if v is UNKNOWN}
    assert {n: v for n, v in state.items() if v is None} == {
        n: None for n, v in config.items() if v is None and n not in COMPUTED
    }


@given(PROPERTIES, PROPERTIES)
def test_an_update_states_the_config_and_keeps_what_was_computed(
    before: dict[str, Value], after: dict[str, Value]
) -> None:
    """A field that the program does not state keeps its value only where the provider computes it."""
    prior, config = to_terraform(RECORD, before), to_terraform(RECORD, after)
    state = proposed(RECORD, config, prior)
    for name, value in config.items():
        if value is None:
            assert state[name] == (prior[name] if name in COMPUTED else None)
        elif name != "ports":
            assert value == state[name]


@given(PROPERTIES)
def test_a_state_proposed_from_itself_is_itself(properties: dict[str, Value]) -> None:
    """Proposing changes nothing where nothing changed."""
    prior = to_terraform(RECORD, properties)
    assert prior == proposed(RECORD, prior, prior)


def test_a_port_keeps_the_number_that_the_engine_chose() -> None:
    """Blocks of a list pair up by position; a port more gets its number from the engine."""
    prior = to_terraform(RECORD, {"ports": [{"internal": 80, "external": 32768}]})
    config = to_terraform(RECORD, {"ports": [{"internal": 80}, {"internal": 81}]})
    assert proposed(RECORD, config, prior)["ports"] == [
        {"internal": 80, "external": 32768},
        {"internal": 81, "external": UNKNOWN},
    ]
