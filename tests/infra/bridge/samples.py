"""A small schema with every shape that the provider's has, and values that fit it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from infra.toolchain.bridge.schema import Field, Many, Map, Record, Scalar
from infra.toolchain.bridge.values import UNKNOWN

TEXT, NUMBER, BOOL = Scalar("string"), Scalar("number"), Scalar("bool")
PORT = Record((Field("internal", "internal", NUMBER), Field("external", "external", NUMBER, computed=True)))
LABEL = Record((Field("label", "label", TEXT), Field("value", "value", TEXT)))
HEALTHCHECK = Record(
    (
        Field("test", "tests", Many(TEXT, ordered=True)),
        Field("interval", "interval", TEXT),
        Field("retries", "retries", NUMBER),
    )
)
RECORD = Record(
    (
        Field("id", "id", TEXT, computed=True),
        Field("name", "name", TEXT),
        Field("memory", "memory", NUMBER),
        Field("read_only", "readOnly", BOOL),
        Field("env", "envs", Many(TEXT, ordered=False)),
        Field("command", "command", Many(TEXT, ordered=True), computed=True),
        Field("log_opts", "logOpts", Map(TEXT)),
        Field("hostname", "hostname", TEXT, computed=True),
        Field("address", "address", TEXT, computed=True, configurable=False),
        Field("healthcheck", "healthcheck", Many(HEALTHCHECK, ordered=True), block=True, single=True),
        Field("ports", "ports", Many(PORT, ordered=True), block=True),
        Field("labels", "labels", Many(LABEL, ordered=False), block=True),
        Field("timeouts", "timeouts", Record((Field("create", "create", TEXT),))),
    )
)

TEXTS = st.text(max_size=8)
NUMBERS = st.integers(-(2**53), 2**53)


def known_or_unknown(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw a value, or now and then the unknown one."""
    return st.one_of(strategy, strategy, st.just(UNKNOWN))


PORTS = st.fixed_dictionaries({"internal": known_or_unknown(NUMBERS)}, optional={"external": NUMBERS})
LABELS = st.fixed_dictionaries({"label": TEXTS, "value": known_or_unknown(TEXTS)})
HEALTHCHECKS = st.fixed_dictionaries(
    {}, optional={"tests": st.lists(TEXTS, max_size=3), "interval": TEXTS, "retries": NUMBERS}
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "name": known_or_unknown(TEXTS),
        "memory": known_or_unknown(NUMBERS),
        "readOnly": known_or_unknown(st.booleans()),
        "envs": known_or_unknown(st.lists(known_or_unknown(TEXTS), max_size=3)),
        "command": st.lists(TEXTS, max_size=3),
        "logOpts": st.dictionaries(TEXTS, TEXTS, max_size=3),
        "hostname": known_or_unknown(TEXTS),
        "healthcheck": known_or_unknown(HEALTHCHECKS),
        "ports": known_or_unknown(st.lists(PORTS, min_size=1, max_size=3)),
        "labels": st.lists(LABELS, min_size=1, max_size=3),
    },
)
"""What a program may state of ``RECORD``, in Pulumi's shape."""
