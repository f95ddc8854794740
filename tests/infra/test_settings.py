"""Configuration is validated before anything is created, and an error names the key and the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError
from infra.settings import KEYS, ServiceSettings, read_settings
from infra.toolchain.environment import REPOSITORY as ROOT

ALL = [database.name for database in DATABASES]


def _defaults() -> dict[str, Any]:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    return {key: each["default"] for key, each in declared.items()}


def test_every_setting_is_declared_with_its_default() -> None:
    """`Pulumi.yaml` declares exactly the settings that are read."""
    assert sorted(_defaults()) == sorted(KEYS)


def test_the_defaults_are_one_service_with_every_database() -> None:
    """Nothing has to be configured."""
    settings = read_settings(_defaults(), "dev")
    assert settings.services == (ServiceSettings(name="sqlite", port=8787, databases=tuple(ALL)),)
    assert (settings.memory_mb, settings.backup_interval_s, settings.backup_retention_days) == (512, 3600, 7)


def test_values_may_be_texts_as_pulumi_hands_them_over() -> None:
    """Numbers and structures arrive in the program as JSON text."""
    split = json.dumps({"a": ALL[2:], "b": ALL[:2]})
    texts = {**{key: str(value) for key, value in _defaults().items()}, "port": "9000", "services": split}
    services = read_settings(texts, "dev").services
    assert [(each.name, each.port) for each in services] == [("a", 9000), ("b", 9001)]
    assert services[1].databases == tuple(ALL[:2])


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("port", 0, "whole number from 1 to 65535"),
        ("port", "eighty", "whole number"),
        ("port", True, "whole number"),
        ("memoryMb", 63, "at least 64"),
        ("backupIntervalSeconds", 4, "at least 5"),
        ("backupRetentionDays", None, "at least 1"),
        ("baseImage", " ", "is empty"),
        ("services", {"sqlite": ["users"]}, "no service holds elo"),
        ("services", {"a": ALL, "b": ["users"]}, "users is in a and in b"),
        ("services", {"a": [*ALL, "nonsense"]}, "nonsense"),
        ("services", {"Not a name": ALL}, "lower-case name"),
        ("services", ["users"], "mapping"),
        ("services", {"a": "users"}, "mapping"),
        ("services", "{", "mapping"),
    ],
)
def test_an_invalid_value_names_its_key_and_the_way_out(key: str, value: object, problem: str) -> None:
    """The message can be acted upon."""
    with pytest.raises(InvalidValueError, match=problem) as caught:
        read_settings({**_defaults(), key: value}, "dev")
    assert caught.value.target == f"aragora-persist:{key}"
    assert caught.value.hint


def test_the_last_port_leaves_room_for_every_service() -> None:
    """Two services do not fit above port 65534."""
    two = {"a": ALL[:3], "b": ALL[3:]}
    assert [each.port for each in read_settings({**_defaults(), "services": two, "port": 65534}, "dev").services] == [
        65534,
        65535,
    ]
    with pytest.raises(InvalidValueError, match="65534"):
        read_settings({**_defaults(), "services": two, "port": 65535}, "dev")


@pytest.mark.parametrize("stack", ["", "Dev", "a" * 32, "a b", "-a", "a/b"])
def test_a_stack_name_fits_into_names_on_the_engine(stack: str) -> None:
    """What cannot be part of a container's name is refused."""
    with pytest.raises(InvalidValueError, match="lower-case name"):
        read_settings(_defaults(), stack)
