"""What counts as a change, and where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.toolchain.bridge.convert import to_terraform
from infra.toolchain.bridge.diff import Difference, differences, replaced
from infra.toolchain.bridge.values import UNKNOWN, Value

from .samples import PROPERTIES, RECORD

if TYPE_CHECKING:
    from infra.toolchain.bridge.diff import Steps

MEANINGLESS: st.SearchStrategy[Value] = st.sampled_from([None, "", 0, False, [], {}])


def found(before: dict[str, Value], after: dict[str, Value]) -> list[Difference]:
    """Compare two sets of properties, the second as the program states it."""
    prior, planned = to_terraform(RECORD, before), to_terraform(RECORD, after)
    return differences(RECORD, prior, planned, planned)


def paths(before: dict[str, Value], after: dict[str, Value]) -> dict[str, str]:
    """Compare, and keep path and kind."""
    return {one.path: one.kind for one in found(before, after)}


def without_unknowns(value: Any) -> bool:  # noqa: ANN401 - it walks any value
    """Tell whether everything in a value is known."""
    if isinstance(value, dict):
        return all(map(without_unknowns, value.values()))
    return all(map(without_unknowns, value)) if isinstance(value, list) else value is not UNKNOWN


@given(PROPERTIES)
def test_nothing_differs_from_itself_unless_it_is_unknown(properties: dict[str, Value]) -> None:
    """An unknown value counts as changed, everything else is equal to itself."""
    assert bool(found(properties, properties)) == (not without_unknowns(properties))


@given(PROPERTIES.filter(without_unknowns), st.randoms())
def test_the_order_of_a_set_says_nothing(properties: dict[str, Any], random: Any) -> None:  # noqa: ANN401 - hypothesis'
    """Environment and labels are sets; a list's order counts."""
    shuffled = {**properties}
    for name in ("envs", "labels"):
        if name in shuffled:
            shuffled[name] = random.sample(shuffled[name], len(shuffled[name]))
    assert found(properties, shuffled) == []
    assert paths({"command": ["a", "b"]}, {"command": ["b", "a"]}) == {"command": "update"}


@given(MEANINGLESS, MEANINGLESS, st.sampled_from(["name", "memory", "read_only", "env", "log_opts", "labels"]))
def test_what_means_nothing_is_equal(left: Value, right: Value, name: str) -> None:
    """The provider cannot tell null from zero, false and empty, so a difference between these would never go away."""
    state = to_terraform(RECORD, {})
    assert differences(RECORD, {**state, name: left}, {**state, name: right}, state) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"name": "a"}, {"name": "add"}),
        ({"name": "a"}, {}, {"name": "delete"}),
        ({"name": "a"}, {"name": "b"}, {"name": "update"}),
        ({"name": "a"}, {"name": UNKNOWN}, {"name": "update"}),
        ({}, {"name": UNKNOWN}, {"name": "add"}),
        ({"command": [""]}, {"command": []}, {"command": "delete"}),
        ({"envs": ["a", "b"]}, {"envs": ["b", "c"]}, {"envs": "update"}),
        ({"envs": ["a", "a"]}, {"envs": ["a"]}, {"envs": "update"}),
        ({"logOpts": {"a": "1"}}, {"logOpts": {"a": "2"}}, {"logOpts": "update"}),
        ({"healthcheck": {"retries": 2}}, {"healthcheck": {"retries": 3}}, {"healthcheck.retries": "update"}),
        ({"healthcheck": {"retries": 2}}, {}, {"healthcheck": "delete"}),
        ({}, {"healthcheck": {"retries": 2}}, {"healthcheck": "add"}),
        (
            {"healthcheck": {"interval": "1s"}},
            {"healthcheck": {"retries": 2}},
            {"healthcheck.interval": "delete", "healthcheck.retries": "add"},
        ),
        (
            {"ports": [{"internal": 1}, {"internal": 2}]},
            {"ports": [{"internal": 1}, {"internal": 3}]},
            {"ports[1].internal": "update"},
        ),
        ({"ports": [{"internal": 1}]}, {"ports": [{"internal": 1}, {"internal": 2}]}, {"ports": "update"}),
        ({"labels": [{"label": "a", "value": "1"}]}, {"labels": [{"label": "a", "value": "2"}]}, {"labels": "update"}),
    ],
)
def test_a_change_is_found_where_it_is(
    before: dict[str, Value], after: dict[str, Value], expected: dict[str, str]
) -> None:
    """As deep as both sides have the same items; sets as a whole."""
    assert expected == paths(before, after)


def test_what_only_the_provider_computes_is_no_change_of_its_own() -> None:
    """It becomes unknown with a replacement, which has another cause; stated and unknown is a change."""
    prior, config = to_terraform(RECORD, {"hostname": "a", "address": "b"}), to_terraform(RECORD, {})
    planned = {**prior, "hostname": UNKNOWN, "address": UNKNOWN}
    assert differences(RECORD, prior, planned, config) == []
    stated = {**config, "hostname": UNKNOWN}
    assert [one.path for one in differences(RECORD, prior, planned, stated)] == ["hostname"]


def test_identity_and_time_limits_are_not_compared() -> None:
    """A resource's address and its operations' limits are no part of what it is."""
    assert found({"id": "a"}, {"id": "b", "timeouts": {"create": "5s"}}) == []


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ([("name",)], []),
        ([("healthcheck",)], ["healthcheck.retries"]),
        ([("healthcheck", 0, "retries")], ["healthcheck.retries"]),
        ([("healthcheck", 0, "interval")], []),
        ([("ports", 0, "internal"), ("labels",)], ["ports", "labels"]),
    ],
)
def test_only_changes_that_require_it_replace(requires: list[Steps], expected: list[str]) -> None:
    """The provider also names fields that did not change; those replace nothing."""
    before: dict[str, Value] = {"healthcheck": {"retries": 2}}
    after: dict[str, Value] = {
        "healthcheck": {"retries": 3},
        "ports": [{"internal": 80}],
        "labels": [{"label": "a", "value": "b"}],
    }
    assert expected == [one.path for one in replaced(found(before, after), requires)]
    assert {one.key for one in found(before, after)} == {"healthcheck", "ports", "labels"}
