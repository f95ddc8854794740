"""``ignoreChanges`` with nested paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from infra.toolchain.bridge.ignored import keep, parse

from .samples import PROPERTIES, RECORD

if TYPE_CHECKING:
    from infra.toolchain.bridge.values import Value


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("labels", ("labels",)),
        ("healthcheck.interval", ("healthcheck", "interval")),
        ("ports[0].external", ("ports", 0, "external")),
        ("ports[*].external", ("ports", "*", "external")),
        ('logOpts["max-size"]', ("logOpts", "max-size")),
        (r'logOpts["a\"b"]', ("logOpts", 'a"b')),
        ('["name"]', ("name",)),
        ("*", ("*",)),
    ],
)
def test_paths_are_read_as_pulumi_writes_them(path: str, steps: tuple[str | int, ...]) -> None:
    """Names, numbers, quoted names and wildcards."""
    assert steps == parse(path)


@pytest.mark.parametrize("path", ["a[", 'a["b', "a]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    """Instead of ignoring nothing without a word."""
    with pytest.raises(ValueError, match="is not a property path"):
        parse(path)


@given(PROPERTIES, PROPERTIES)
def test_ignoring_everything_keeps_the_resource_as_it_is(news: dict[str, Value], olds: dict[str, Value]) -> None:
    """The wildcard at the top keeps every property."""
    assert olds == keep(RECORD, news, olds, ["*"])


@given(PROPERTIES, PROPERTIES)
def test_ignoring_one_property_leaves_the_others_alone(news: dict[str, Value], olds: dict[str, Value]) -> None:
    """Neither argument is changed."""
    before = (dict(news), dict(olds))
    kept = keep(RECORD, news, olds, ["name"])
    assert (olds.get("name"), {**news, "name": None}) == (kept.get("name"), {**kept, "name": None})
    assert before == (news, olds)


@pytest.mark.parametrize(
    ("path", "news", "olds", "expected"),
    [
        (
            "healthcheck.interval",
            {"healthcheck": {"interval": "9s", "retries": 3}},
            {"healthcheck": {"interval": "5s", "retries": 2}},
            {"healthcheck": {"interval": "5s", "retries": 3}},
        ),
        (
            "healthcheck.interval",
            {"healthcheck": {"interval": "9s"}},
            {"healthcheck": {"retries": 2}},
            {"healthcheck": {}},
        ),
        ("healthcheck.interval", {}, {"healthcheck": {"interval": "5s"}}, {}),
        ("healthcheck.interval", {"healthcheck": {"interval": "9s"}}, {}, {"healthcheck": {"interval": "9s"}}),
        (
            "ports[*].external",
            {"ports": [{"internal": 1}, {"internal": 2}]},
            {"ports": [{"internal": 9, "external": 7}]},
            {"ports": [{"internal": 1, "external": 7}, {"internal": 2}]},
        ),
        (
            "ports[1]",
            {"ports": [{"internal": 1}, {"internal": 2}]},
            {"ports": [{"internal": 8}, {"internal": 9}]},
            {"ports": [{"internal": 1}, {"internal": 9}]},
        ),
        (
            'logOpts["max-size"]',
            {"logOpts": {"max-size": "1m"}},
            {"logOpts": {"max-size": "2m", "x": "y"}},
            {"logOpts": {"max-size": "2m"}},
        ),
        (
            "labels",
            {"labels": []},
            {"labels": [{"label": "a", "value": "b"}]},
            {"labels": [{"label": "a", "value": "b"}]},
        ),
        ("labels", {"labels": []}, {}, {}),
        (
            "labels[0].value",
            {"labels": [{"label": "a", "value": "new"}]},
            {"labels": [{"label": "a", "value": "old"}]},
            {"labels": [{"label": "a", "value": "new"}]},
        ),
        ("nothing.such", {"name": "a"}, {"name": "b"}, {"name": "a"}),
    ],
)
def test_a_nested_path_keeps_only_what_it_names(
    path: str, news: dict[str, Value], olds: dict[str, Value], expected: dict[str, Value]
) -> None:
    """Lists by number, maps by key; a path through a set says nothing, because its elements have no number."""
    assert expected == keep(RECORD, news, olds, [path])
