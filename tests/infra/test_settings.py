"""Configuration is validated before anything is created, and an error names the key and the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError
from infra.settings import KEYS, ServiceSettings, SupabaseSettings, read_settings
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
    assert settings.supabase == SupabaseSettings(port=54321, db_port=54322)
    assert settings.memory_mb == 768
    backups = settings.backups
    assert (backups.interval_s, backups.retention_days, backups.compression, backups.recipients) == (
        3600,
        7,
        "zstd",
        (),
    )
    assert dict(backups.keep) == {"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0}
    assert not backups.uses_a_bucket
    assert (backups.offsite.folder, backups.offsite.in_a_bucket) == ("", False)


def _service(port: object, databases: object) -> dict[str, object]:
    return {"port": port, "databases": databases}


def test_values_may_be_texts_as_pulumi_hands_them_over() -> None:
    """Numbers and structures arrive in the program as JSON text."""
    split = json.dumps({"b": _service(9000, ALL[2:]), "a": _service(9001, ALL[:2])})
    texts = {**{key: str(value) for key, value in _defaults().items()}, "services": split}
    services = read_settings(texts, "dev").services
    assert [(each.name, each.port) for each in services] == [("a", 9001), ("b", 9000)]
    assert services[0].databases == tuple(ALL[:2])


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("port", 0, "whole number from 1 to 65535"),
        ("port", "eighty", "whole number"),
        ("port", True, "whole number"),
        ("memoryMb", 255, "at least 256"),
        ("litestream", "maybe", "neither 'true' nor 'false'"),
        ("litestreamUrl", "file:///elsewhere", "s3://bucket/prefix"),
        ("backupKeepLast", 0, "at least 1"),
        ("backupCompression", "gzip", "neither 'zstd' nor 'none'"),
        ("backupRecipients", "age1", "is not a list"),
        ("backupRecipients", ["AGE-SECRET-KEY-1"], "is not such as"),
        ("offsiteUrl", "https://example.com", "s3://bucket/prefix"),
        ("offsiteUrl", "s3://", "s3://bucket/prefix"),
        ("offsiteUrl", "file://host/folder", "not a folder"),
        ("offsiteUrl", "file:///", "not a folder"),
        ("offsiteUrl", "file:///a/../..", "not a folder"),
        ("offsiteAllowHttp", "yes", "neither 'true' nor 'false'"),
        ("supabase", "hosted", "neither 'local' nor 'none'"),
        ("supabase", None, "neither 'local' nor 'none'"),
        ("supabasePort", 65536, "whole number from 1 to 65535"),
        ("supabasePort", 8787, "sqlite has the same port"),
        ("supabaseDbPort", "54321", "supabasePort has the same port"),
        ("backupIntervalSeconds", 4, "at least 5"),
        ("backupRetentionDays", None, "at least 1"),
        ("baseImage", " ", "is empty"),
        ("services", {"sqlite": _service(1, ["users"])}, "no service holds elo"),
        ("services", {"a": _service(1, ALL), "b": _service(2, ["users"])}, "users is in a and in b"),
        ("services", {"a": _service(1, ALL[:1]), "b": _service(1, ALL[1:])}, "a and b have the same port"),
        ("services", {"a": _service(1, [*ALL, "nonsense"])}, "nonsense"),
        ("services", {"Not a name": _service(1, ALL)}, "lower-case name"),
        ("services", {"supabase": _service(1, ALL)}, "name of the Supabase half"),
        ("services", {"supabase-db": _service(1, ALL)}, "name of the Supabase half"),
        ("services", {"a": ALL}, "a needs a port and a list"),
        ("services", {"a": _service(1, "users")}, "a needs a port and a list"),
        ("services", {"a": _service(1, ALL), "b": _service(2, [])}, "b needs a port and a list"),
        ("services", {"a": {"databases": ALL}}, "a needs a port and a list"),
        ("services", ["users"], "mapping"),
        ("services", "{", "mapping"),
    ],
)
def test_an_invalid_value_names_its_key_and_the_way_out(key: str, value: object, problem: str) -> None:
    """The message can be acted upon, and shows no secret that was put into the wrong place."""
    with pytest.raises(InvalidValueError, match=problem) as caught:
        read_settings({**_defaults(), key: value}, "dev")
    assert caught.value.target == f"aragora-persist:{key}"
    assert caught.value.hint
    assert "AGE-SECRET-KEY" not in str(caught.value)


def test_a_stack_may_do_without_a_supabase() -> None:
    """Then nothing is asked of what only it would use."""
    without = {**_defaults(), "supabase": "none", "supabasePort": "x", "memoryMb": 64}
    settings = read_settings(without, "dev")
    assert (settings.supabase, settings.memory_mb) == (None, 64)
    with pytest.raises(InvalidValueError, match="at least 64"):
        read_settings({**without, "memoryMb": 63}, "dev")


def test_the_addresses_of_a_supabase_are_on_loopback() -> None:
    """Programs on this machine reach it by its two ports."""
    supabase = SupabaseSettings(port=1, db_port=2)
    assert supabase.url == "http://127.0.0.1:1"
    assert supabase.database_url("pass") == "postgresql://postgres:pass@127.0.0.1:2/postgres"


@pytest.mark.parametrize("stack", ["", "Dev", "a" * 32, "a b", "-a", "a/b"])
def test_a_stack_name_fits_into_names_on_the_engine(stack: str) -> None:
    """What cannot be part of a container's name is refused."""
    with pytest.raises(InvalidValueError, match="lower-case name"):
        read_settings(_defaults(), stack)
