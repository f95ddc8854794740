"""The real Supabase CLI and our applier go on where the other ended; its linters find nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from aragora_persist.cloud.schema import apply_schema, inspect_schema
from aragora_persist.cloud.schema.folder import load, shipped_folder
from infra.toolchain.environment import REPOSITORY, pulumi_variables
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.schema_databases import Database

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

FILES = load(shipped_folder())


class SupabaseCli:
    """The CLI in a project folder of its own, since it writes there."""

    def __init__(self, folder: Path, database: Database) -> None:
        shutil.copytree(REPOSITORY / "supabase", folder / "supabase", ignore=shutil.ignore_patterns(".*"))
        user, _, rest = database.url.partition("://")[2].partition(":")
        password, _, place = rest.partition("@")
        self._folder = folder
        self._remote = f"--remote=postgresql://{user}@{place}?sslmode=disable"
        self._environment = {
            **os.environ,
            "PATH": pulumi_variables()["PATH"],
            "HOME": str(folder),
            "PGPASSWORD": password,
            "SUPABASE_TELEMETRY_DISABLED": "1",
        }

    def __call__(self, *arguments: str) -> Any:  # noqa: ANN401 - each command has an answer of its own
        """Run a command that must succeed, and return the last document of its answer, or its text."""
        result = subprocess.run(
            ["supabase", *arguments, self._remote],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout) if "json" in arguments else result.stdout


@pytest.fixture
def cli(tmp_path: Path, database: Database) -> SupabaseCli:
    """Give the CLI, pointed at the test's database."""
    return SupabaseCli(tmp_path, database)


def test_what_we_applied_is_applied_for_the_cli(cli: SupabaseCli, database: Database) -> None:
    """It lists every file on both sides, and has nothing to push; what it brings back are our files."""
    apply_schema(database.secret)

    listed = cli("migration", "list", "--output-format", "json")["migrations"]

    assert [(row["local"], row["remote"]) for row in listed] == [(file.version, file.version) for file in FILES]
    assert "up to date" in cli("db", "push", "--dry-run", "--yes")


def test_what_the_cli_applied_is_applied_for_us(cli: SupabaseCli, database: Database) -> None:
    """No edits, no drift, nothing to do, although it cuts the files itself."""
    cli("db", "push", "--yes")

    state = inspect_schema(database.secret)

    assert state.applied == tuple(file.title for file in FILES)
    assert (state.pending, state.edited, state.unknown, state.drift) == ((), (), (), ())
    assert apply_schema(database.secret) == ()


def test_one_goes_on_where_the_other_ended(cli: SupabaseCli, database: Database, tmp_path: Path) -> None:
    """The CLI applies the first file, we the rest, and the CLI knows."""
    later = [tmp_path / "supabase" / "migrations" / file.path.name for file in FILES[1:]]
    for path in later:
        path.unlink()
    cli("db", "push", "--yes")

    assert apply_schema(database.secret) == tuple(file.title for file in FILES[1:])
    for path, file in zip(later, FILES[1:], strict=True):
        shutil.copy(file.path, path)
    assert "up to date" in cli("db", "push", "--dry-run", "--yes")


def test_its_linters_find_nothing(cli: SupabaseCli, database: Database) -> None:
    """Neither in the functions nor in rights, indexes and policies."""
    apply_schema(database.secret)

    assert "fail-on is set" not in cli("db", "advisors", "--fail-on", "warn")

    with psycopg.connect(database.admin_url) as connection:
        connection.execute("create extension plpgsql_check")
    cli("db", "lint", "--level", "warning", "--fail-on", "warning")
