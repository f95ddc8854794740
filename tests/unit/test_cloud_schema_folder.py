"""The migrations as files: what is refused before any database is asked, and what is shipped."""

from __future__ import annotations

import os
import subprocess
import zipfile
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from aragora_persist.cloud.models import MODELS, CloudModel
from aragora_persist.cloud.schema.catalog import differences
from aragora_persist.cloud.schema.folder import load, load_catalog, shipped_folder
from aragora_persist.errors import MigrationError
from infra.toolchain.environment import REPOSITORY, pulumi_variables

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "20300101000000_good.sql"
TYPES: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "double precision",
    bool: "boolean",
    datetime: "timestamp with time zone",
    list[str]: "text[]",
    list[dict[str, Any]]: "jsonb",
    dict[str, Any]: "jsonb",
}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("2030_short.sql", "select 1", "is not named"),
        ("20300102000000-dash.sql", "select 1", "is not named"),
        ("20300101000000_twin.sql", "select 1", f"has the version of {GOOD}"),
        ("20300102000000_commits.sql", "select 1;\ncommit;", "COMMIT is not for migrations"),
        ("20300102000000_copies.sql", "copy t from stdin;\n1\n\\.\n", "COPY is not for migrations"),
        ("20300102000000_key.sql", "select 'sb_secret_abc'", "looks like a key"),
        (
            "20300102000000_token.sql",
            "-- eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln",
            "looks like a key",
        ),
        ("20300102000000_latin.sql", "select '\udcff'", "cannot be read as UTF-8"),
    ],
)
def test_a_file_that_must_not_be_applied_is_refused_by_name(tmp_path: Path, name: str, text: str, problem: str) -> None:
    """Before anything is applied, and without repeating a key."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / GOOD).write_text("select 1")
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(MigrationError) as caught:
        load(tmp_path)

    assert caught.value.target.startswith(name)
    assert problem in caught.value.problem
    assert "abc" not in str(caught.value)


def test_an_empty_folder_is_an_incomplete_installation(tmp_path: Path) -> None:
    """Nothing pending would otherwise be the answer."""
    with pytest.raises(MigrationError, match="has no migration"):
        load(tmp_path)


def test_a_missing_catalog_names_the_command_that_writes_it(tmp_path: Path) -> None:
    """A migration that was added without it."""
    with pytest.raises(MigrationError, match=r"20300101000000\.json: is missing or damaged .*make catalog"):
        load_catalog(tmp_path, "20300101000000")


def test_every_migration_has_its_catalog_and_none_is_left_over() -> None:
    """So that drift is known at every version."""
    folder = shipped_folder()

    assert {path.stem for path in (folder / "catalog").iterdir()} == {file.version for file in load(folder)}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.TABLE)
def test_each_table_has_the_columns_of_its_model(model: type[CloudModel]) -> None:
    """Names, types and nulls, with the key, the revision of a mutable kind, and the time of arrival."""
    folder = shipped_folder()
    table = load_catalog(folder, load(folder)[-1].version)[f"public.{model.TABLE}"]
    columns = {
        fact.removeprefix("column ").strip('"'): definition.partition(" default ")[0]
        for fact, definition in table.items()
        if fact.startswith("column ")
    }
    hints = get_type_hints(model)
    expected = {field.name: _column(hints[field.name]) for field in fields(model)}
    keys = dict.fromkeys({"debate_artifact_id", "rollback_id"} & expected.keys(), "uuid")
    revision = {"revision": "bigint not null"} if model.MUTABLE else {}
    arrival = {"inserted_at": "timestamp with time zone not null"}

    assert columns == {**expected, **keys, "id": "uuid not null", **revision, **arrival}


def _column(hint: object) -> str:
    """Return the column of a field's type."""
    choices = set(get_args(hint)) - {type(None)} if type(None) in get_args(hint) else {hint}
    [name] = [TYPES[type_] for type_ in TYPES if type_ in choices]
    return f"{name} not null" if hint in choices else name


def test_differences_are_told_in_words() -> None:
    """One line for each, and none for what is somebody else's."""
    expected = {
        "public.a": {"column id": "uuid not null", "table": "logged", "grant of SELECT to service_role": ""},
        "public.b": {"table": "logged"},
        "public.f(x text)": {"definition": "one\n"},
    }
    live = {
        "public.a": {"column id": "uuid", "table": "logged", "column extra": "integer", "grant of SELECT to anon": ""},
        "public.f(x text)": {"definition": "two\n"},
        "public.f(x integer)": {"definition": "other\n"},
        "public.theirs": {"table": "logged"},
    }

    assert differences(expected, live) == (
        "public.a: column extra integer is there, no migration makes it",
        "public.a: column id is uuid, the migrations make it uuid not null",
        "public.a: grant of SELECT to anon is there, no migration makes it",
        "public.a: grant of SELECT to service_role is missing",
        "public.b: is missing",
        "public.f(x integer): is there, no migration makes it",
        "public.f(x text): definition is not the one that the migrations make",
    )
    assert differences(expected, expected) == ()


def test_the_wheel_brings_the_migrations_and_no_package_of_the_clients_name(tmp_path: Path) -> None:
    """A top-level `supabase` would hide the client of that name."""
    subprocess.run(
        ["uv", "build", "--wheel", "--offline", "--out-dir", tmp_path, REPOSITORY],
        env={**os.environ, "PATH": pulumi_variables()["PATH"]},
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shipped = shipped_folder()
    expected = {
        f"aragora_persist/cloud/{path.relative_to(shipped)}"
        for pattern in ("migrations/*.sql", "catalog/*.json")
        for path in shipped.glob(pattern)
    }

    assert expected <= set(names)
    assert not any(name.startswith("supabase") for name in names)
