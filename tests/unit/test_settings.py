"""Every environment variable: its default, its form, and what it refuses."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from aragora_persist.errors import InvalidValueError
from aragora_persist.redaction import redact
from aragora_persist.settings import VARIABLES, Durability, FileSecret, Secret, Settings


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With an empty environment, and with variables that are set to nothing or to spaces."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for environ in ({}, {variable.name: "" for variable in VARIABLES}, {variable.name: "  " for variable in VARIABLES}):
        settings = Settings.from_env(environ)
        assert settings.nomic_dir == tmp_path / ".aragora"
        assert (settings.supabase_url, settings.supabase_key, settings.supabase_db_url) == ("", None, None)
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
        "SUPABASE_KEY_FILE": "/secrets/supabase_key",
        "SUPABASE_DB_URL": "postgresql://postgres@127.0.0.1/postgres",
        "SUPABASE_DB_URL_FILE": "/secrets/supabase_db_url",
        "ARAGORA_SLOW_QUERY_MS": "0.5",
        "ARAGORA_AUDIT_RETENTION_DAYS": "30",
        "DB_TIMEOUT": "60",
        "ARAGORA_DURABILITY": "committed",
        "ARAGORA_ENCRYPTION_KEY_FILE": "/secrets/key",
        "ARAGORA_AUDIT_SIGNING_KEY_FILE": "/secrets/audit_key",
        "ARAGORA_WEBHOOK_ALLOWED_NETWORKS": "10.1.0.0/16, ::1",
        "ARAGORA_BACKUP_DIR": "/backups",
        "ARAGORA_BACKUP_INTERVAL_SECONDS": "60",
        "ARAGORA_BACKUP_RETENTION_DAYS": "1",
        "ARAGORA_BACKUP_KEEP_LAST": "3",
        "ARAGORA_BACKUP_KEEP_HOURLY": "24",
        "ARAGORA_BACKUP_KEEP_DAILY": "14",
        "ARAGORA_BACKUP_KEEP_WEEKLY": "8",
        "ARAGORA_BACKUP_KEEP_MONTHLY": "12",
        "ARAGORA_BACKUP_COMPRESSION": "zstd",
        "ARAGORA_BACKUP_RECIPIENTS": "age1one, age1two",
        "ARAGORA_BACKUP_IDENTITY_FILE": "/secrets/identity",
        "ARAGORA_BACKUP_OBJECTIVE_SECONDS": "10000",
        "ARAGORA_DRILL_INTERVAL_SECONDS": "3600",
        "ARAGORA_DRILL_OBJECTIVE_SECONDS": "100000",
        "ARAGORA_OFFSITE_URL": "s3://backups/here",
        "ARAGORA_OFFSITE_ENDPOINT": "https://s3.example.com",
        "ARAGORA_OFFSITE_ALLOW_HTTP": "yes",
        "ARAGORA_OFFSITE_REGION": "eu-central-1",
        "ARAGORA_OFFSITE_ACCESS_KEY_ID": "id",
        "ARAGORA_OFFSITE_SECRET_ACCESS_KEY": "secret",
        "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE": "/secrets/offsite",
        "ARAGORA_LITESTREAM_URL": "s3://transactions",
    }
    files = [name for name in values if name.endswith("_FILE") and name.removesuffix("_FILE") in values]
    assert values.keys() == {variable.name for variable in VARIABLES}
    plain = Settings.from_env({})
    for name, value in values.items():
        assert Settings.from_env({name: value}) != plain, name
    settings = Settings.from_env({name: value for name, value in values.items() if name not in files})
    assert (settings.db_timeout_s, settings.slow_query_ms) == (60.0, 0.5)
    assert settings.backup_dir == Path("/backups")
    assert settings.backup_recipients == ("age1one", "age1two")


def test_objectives_follow_the_intervals() -> None:
    """Unless they are set."""
    intervals = {"ARAGORA_BACKUP_INTERVAL_SECONDS": "60", "ARAGORA_DRILL_INTERVAL_SECONDS": "600"}
    settings = Settings.from_env(intervals)
    assert (settings.backup_objective_s, settings.drill_objective_s) == (240, 1200)
    settings = Settings.from_env({**intervals, "ARAGORA_BACKUP_OBJECTIVE_SECONDS": "1"})
    assert (settings.backup_objective_s, settings.drill_objective_s) == (1, 1200)


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
        ("ARAGORA_BACKUP_COMPRESSION", "gzip"),
        ("ARAGORA_OFFSITE_ALLOW_HTTP", "true"),
        ("ARAGORA_BACKUP_KEEP_LAST", "0"),
        ("ARAGORA_BACKUP_OBJECTIVE_SECONDS", "an hour"),
        ("ARAGORA_WEBHOOK_ALLOWED_NETWORKS", "10.1.0.0/16 localhost"),
        ("ARAGORA_WEBHOOK_ALLOWED_NETWORKS", "10.1.0.1/16"),
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


@pytest.mark.parametrize("name", ["SUPABASE_KEY", "SUPABASE_DB_URL"])
def test_a_secret_may_stand_in_a_file(name: str, tmp_path: Path) -> None:
    """Its line end is no part of it, it does not show either, and one that is changed is taken up."""
    file = tmp_path / "secret"
    file.write_text("very-secret\n")
    settings = Settings.from_env({f"{name}_FILE": str(file)})
    secret = settings.supabase_key or settings.supabase_db_url
    assert secret is not None
    assert secret.reveal() == "very-secret"
    file.write_text("another")
    assert secret.reveal() == "another"
    assert "another" not in f"{settings!r} {secret} {secret!r}"
    assert secret != Secret(str(file))


def test_a_file_without_a_secret_is_told_when_the_secret_is_needed(tmp_path: Path) -> None:
    """Commands that need no secret go on; who needs it learns which variable names which file, and why it is no use."""
    file = tmp_path / "secret"
    secret = Settings.from_env({"SUPABASE_KEY_FILE": str(file)}).supabase_key
    assert secret is not None
    problems = []
    for content in (None, b"", b" \n", b"\xff"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidValueError) as refused:
            secret.reveal()
        assert refused.value.target == "SUPABASE_KEY_FILE"
        assert redact(str(refused.value)) == str(refused.value)
        problems.append(refused.value.problem.removeprefix(f"{file} "))
    assert problems == ["is not there, or is not a file", "is empty", "is empty", "cannot be read: it is not text"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A secret's file is a file: reading anything else might never end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidValueError, match="is not a file"):
        FileSecret(pipe, "SUPABASE_KEY_FILE").reveal()


@pytest.mark.parametrize("name", ["SUPABASE_KEY", "SUPABASE_DB_URL"])
def test_a_secret_has_one_source(name: str) -> None:
    """Given in both ways, it is refused: which one is meant would be a guess."""
    with pytest.raises(InvalidValueError, match=f"{name}_FILE too") as refused:
        Settings.from_env({name: "very-secret", f"{name}_FILE": "/secrets/one"})
    assert "very-secret" not in str(refused.value)
