"""Every environment variable: its default, its form, and what it refuses."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import VARIABLES, Durability, Secret, Settings


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With an empty environment, and with variables that are set to nothing or to spaces."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for environ in ({}, {variable.name: "" for variable in VARIABLES}, {variable.name: "  " for variable in VARIABLES}):
        settings = Settings.from_env(environ)
        assert settings.nomic_dir == tmp_path / ".aragora"
        assert (settings.supabase_url, settings.supabase_key) == ("", None)
        assert (settings.slow_query_ms, settings.audit_retention_days, settings.db_timeout_s) == (500.0, 90, 30.0)
        assert settings.durability is Durability.DURABLE
        assert settings.backup_dir == tmp_path / ".aragora" / "backups"
        assert (settings.backup_interval_s, settings.backup_retention_days) == (3600.0, 7)


def test_every_variable_is_read() -> None:
    """Each one in the list of names changes the settings, so that the list is no fiction."""
    values = {
        "NOMIC_DIR": "/data",
        "SUPABASE_URL": "https://project.supabase.co",
        "SUPABASE_KEY": "key",
        "ARAGORA_SLOW_QUERY_MS": "0.5",
        "ARAGORA_AUDIT_RETENTION_DAYS": "30",
        "DB_TIMEOUT": "60",
        "ARAGORA_DURABILITY": "committed",
        "ARAGORA_ENCRYPTION_KEY_FILE": "/secrets/key",
        "ARAGORA_BACKUP_DIR": "/backups",
        "ARAGORA_BACKUP_INTERVAL_SECONDS": "60",
        "ARAGORA_BACKUP_RETENTION_DAYS": "1",
    }
    assert values.keys() == {variable.name for variable in VARIABLES}
    plain = Settings.from_env({})
    for name, value in values.items():
        assert Settings.from_env({name: value}) != plain, name
    settings = Settings.from_env(values)
    assert (settings.db_timeout_s, settings.slow_query_ms) == (60.0, 0.5)
    assert settings.backup_dir == Path("/backups")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOMIC_DIR", "~nobody-of-this-name/data"),
        ("DB_TIMEOUT", "soon"),
        ("DB_TIMEOUT", "-1"),
        ("DB_TIMEOUT", "nan"),
        ("DB_TIMEOUT", "inf"),
        ("ARAGORA_SLOW_QUERY_MS", "500ms"),
        ("ARAGORA_AUDIT_RETENTION_DAYS", "1.5"),
        ("ARAGORA_AUDIT_RETENTION_DAYS", "-1"),
        ("ARAGORA_BACKUP_INTERVAL_SECONDS", "0"),
        ("ARAGORA_BACKUP_RETENTION_DAYS", "0"),
        ("ARAGORA_BACKUP_RETENTION_DAYS", "1" + "0" * 400),
        ("ARAGORA_DURABILITY", "maybe"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name: str, text: str) -> None:
    """The error says which variable, what it holds and what it should."""
    with pytest.raises(InvalidValueError) as refused:
        Settings.from_env({name: text})
    assert refused.value.target == name
    assert text in refused.value.problem


def test_a_folder_as_argument_beats_the_environment() -> None:
    """Its backups go with it."""
    settings = Settings.from_env({"NOMIC_DIR": "/elsewhere"}, nomic_dir="/data")
    assert (settings.nomic_dir, settings.backup_dir) == (Path("/data"), Path("/data/backups"))


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at import, and not once for ever."""
    monkeypatch.setenv("DB_TIMEOUT", "1.5")
    assert Settings.from_env().db_timeout_s == 1.5
    monkeypatch.setenv("DB_TIMEOUT", "2.5")
    assert Settings.from_env().db_timeout_s == 2.5
    assert math.isfinite(Settings.from_env(os.environ).db_timeout_s)


def test_a_secret_does_not_show() -> None:
    """Neither alone, nor formatted, nor inside the settings; only when revealed."""
    settings = Settings.from_env({"SUPABASE_KEY": "very-secret"})
    assert "very-secret" not in f"{settings!r} {settings.supabase_key} {settings.supabase_key!r}"
    assert settings.supabase_key == Secret("very-secret")
    assert settings.supabase_key != Secret("other")
    assert settings.supabase_key is not None
    assert settings.supabase_key.reveal() == "very-secret"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
