"""The names that the ``pulumi_docker`` wheel knows, read from its classes.

Read once, when the plugin is installed: the installed plugin neither has nor needs the wheel, whose import would double
the time that it takes to start.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Final, TypedDict

import inflection
import pulumi_docker

from .schema import RESOURCES, camel

if TYPE_CHECKING:
    from .schema import Names

FILE: Final = "wheel.json"


class Wheel(TypedDict):
    """What the installed plugin knows of the wheel: its version and all names, by class, in camel case."""

    version: str
    provider: Names
    resources: dict[str, Names]


def read_wheel() -> Wheel:
    """Read the names from the wheel of this environment."""
    return {
        "version": wheel_version(),
        "provider": class_names(pulumi_docker.ProviderArgs),
        "resources": {served.wheel_class: _resource_names(served.wheel_class) for served in RESOURCES.values()},
    }


def wheel_version() -> str:
    """Return the wheel's version, which must be the plugin's too."""
    return metadata.version("pulumi-docker")


def class_names(arguments: type) -> Names:
    """Collect the names in the signature of one of the wheel's argument classes, nested classes followed."""
    names: Names = {}
    for name, annotation in vars(arguments)["__init__"].__annotations__.items():
        if name == "return":
            continue
        nested = re.search(r"\b\w+Args\b", str(annotation))
        names[camel(name)] = class_names(getattr(pulumi_docker, nested[0])) if nested else {}
    return names


def _resource_names(resource_class: str) -> Names:
    """Collect arguments and outputs: the wheel lists them together in one private class only."""
    module = getattr(pulumi_docker, inflection.underscore(resource_class))
    return class_names(getattr(module, f"_{resource_class}State"))
