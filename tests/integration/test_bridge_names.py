"""The names: every argument and output of the wheel has its partner in the provider's schema."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pulumi_docker
import pytest
from pulumi._types import input_type_py_to_pulumi_names

from infra.toolchain.bridge.handshake import Child
from infra.toolchain.bridge.schema import RESOURCES, Many, Record, parse
from infra.toolchain.bridge.wheel import class_names, read_wheel

if TYPE_CHECKING:
    from infra.toolchain.bridge.schema import Names, Type

    from .bridge_support import Plugin

pytest_plugins = ("tests.integration.bridge_fixtures",)


@pytest.fixture(scope="module")
def records(plugin: Plugin) -> dict[str, Record]:
    """Read the provider's schema as the plugin does, by class of the wheel; ``Provider`` is its own settings."""
    sys.path.insert(0, str(plugin.stubs))
    terraform_module = importlib.import_module("infra.toolchain.bridge.terraform")
    sys.path.remove(str(plugin.stubs))
    wheel, child = read_wheel(), Child(plugin.provider)
    channel = child.connect()
    schemas = terraform_module.Terraform(child, channel).schemas()
    channel.close()
    child.stop()
    found = {
        served.wheel_class: parse(
            schemas.resource_schemas[served.terraform].block, wheel["resources"][served.wheel_class]
        )
        for served in RESOURCES.values()
    }
    return {**found, "Provider": parse(schemas.provider.block, wheel["provider"])}


def partners(record: Record) -> Names:
    """Collect the names of a record, nested ones too, in the form of the wheel's."""
    return {field.pulumi: inside(field.type) for field in record.fields}


def inside(type_: Type) -> Names:
    """Collect the names inside a list or an object."""
    match type_:
        case Many(element=element):
            return inside(element)
        case Record():
            return partners(type_)
        case _:
            return {}


def test_every_name_of_the_wheel_has_its_partner(records: dict[str, Record]) -> None:
    """Arguments and outputs of each class, and of the classes inside them: all are the provider's, under that name."""
    wheel = read_wheel()
    for wheel_class, names in {**wheel["resources"], "Provider": wheel["provider"]}.items():
        assert names == common(names, partners(records[wheel_class])), wheel_class


def common(names: Names, others: Names) -> Names:
    """Keep the names that both have, at every depth."""
    return {name: common(inner, others[name]) for name, inner in names.items() if name in others}


def test_the_wheel_lacks_nothing_of_the_provider(records: dict[str, Record]) -> None:
    """The provider has nothing more, but what Pulumi has in another form: ids and time limits."""
    wheel = read_wheel()
    for wheel_class, names in wheel["resources"].items():
        assert partners(records[wheel_class]).keys() - names.keys() <= {"id", "timeouts"}


@pytest.mark.parametrize("wheel_class", ["Provider", *(served.wheel_class for served in RESOURCES.values())])
def test_the_names_are_those_that_the_wheel_sends(wheel_class: str) -> None:
    """Our reading of an argument class equals the wheel's own translation of its names."""
    arguments = getattr(pulumi_docker, f"{wheel_class}Args")
    assert class_names(arguments).keys() == set(input_type_py_to_pulumi_names(arguments).values())
