"""The schema as a Pulumi resource: the real CLI, a real database, and a checkout of its own that a test may edit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pulumi.runtime.rpc import UNKNOWN

from aragora_persist.cloud.schema import apply_schema
from aragora_persist.cloud.schema.catalog_files import generate
from aragora_persist.cloud.schema.folder import load, shipped_folder
from infra.resources.supabase_schema import SupabaseSchema, SupabaseSchemaProvider
from infra.toolchain.environment import REPOSITORY, pulumi_environment
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.schema_databases import Database

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

SHIPPED = tuple(file.title for file in load(shipped_folder()))
UNCHANGED = "2 unchanged"
NEXT = "20300101000000_next"
PROJECT = """
name: schema-test
runtime: python
options:
  refresh: always
"""
PROGRAM = """
import os
import pulumi
from infra.resources.supabase_schema import SupabaseSchema
schema = SupabaseSchema("schema", os.environ["DB_URL"])
pulumi.export("migrations", schema.migrations)
"""


class Checkout:
    """A copy of what the resource is made of, with a program for the database at ``url``, a stack and a state."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._program = folder / "program"
        self.state = folder / "state"
        self.tree = folder / "tree"
        self.state.mkdir()
        self._program.mkdir()
        (self._program / "Pulumi.yaml").write_text(PROJECT)
        (self._program / "__main__.py").write_text(PROGRAM)
        self.move_to("tree")
        self("stack", "init", "test")

    def move_to(self, name: str) -> None:
        """Go on with another copy of the checkout."""
        self.tree = self.state.with_name(name)
        for part in ("aragora_persist", "infra/resources", "supabase"):
            shutil.copytree(REPOSITORY / part, self.tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "infra" / "__init__.py", self.tree / "infra")

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run one command of the CLI and return all that it says."""
        result = subprocess.run(
            ["pulumi", "--non-interactive", "--color", "never", *arguments],
            cwd=self._program,
            env={
                **pulumi_environment(),
                "PULUMI_PYTHON_CMD": sys.executable,
                "PULUMI_BACKEND_URL": f"file://{self.state}",
                "PULUMI_CONFIG_PASSPHRASE": "test",
                "PYTHONPATH": str(self.tree),
                "PYTHONDONTWRITEBYTECODE": "1",
                "DB_URL": self.url,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert (result.returncode != 0) is fails, result.stdout
        return result.stdout

    def up(self) -> str:
        """Update, and return what was said while updating."""
        return self("up", "--yes", "--skip-preview")

    def add(self, database: Database, sql: str) -> None:
        """Add a migration to the checkout, with its catalog."""
        (self.tree / "supabase" / "migrations" / f"{NEXT}.sql").write_text(sql)
        for path, content in generate(database.secret, self.tree / "supabase").items():
            path.write_text(content)


def password_of(database: Database) -> str:
    """Return the password in the database's URL."""
    return database.url.split(":")[2].partition("@")[0]


@pytest.fixture
def checkout(tmp_path: Path, database: Database) -> Checkout:
    """Give a checkout with a stack that holds nothing yet."""
    return Checkout(tmp_path, database.url)


def test_a_stack_from_its_first_up_to_its_end(checkout: Checkout, database: Database) -> None:
    """Created, unchanged under another URL from another checkout, destroyed without a loss; the URL stays secret."""
    said = [checkout("preview", "--diff")]
    assert "2 to create" in said[0]
    assert database.rows("select to_regclass('public.nomic_cycles') is null") == [(True,)]

    said.append(checkout.up())
    assert [title for title in SHIPPED if f"applied: {title}" not in said[-1]] == []
    assert list(json.loads(checkout("stack", "output", "--json"))["migrations"]) == list(SHIPPED)

    checkout.move_to("another")
    checkout.url = database.url.replace("127.0.0.1", "localhost")
    said.append(checkout.up())
    assert UNCHANGED in said[-1]
    assert "Supabase schema" not in said[-1]

    row = "(id, loop_id, cycle, agent_name, timestamp) values (gen_random_uuid(), 'l', 1, 'a', now())"
    database.do(f"insert into agent_metrics {row}")
    state = "".join(path.read_text() for path in checkout.state.rglob("*") if path.is_file())
    said.append(checkout("destroy", "--yes"))
    said.append(checkout.up())
    assert "2 created" in said[-1]
    assert database.rows("select count(*) from agent_metrics") == [(1,)]

    assert "SupabaseSchema" in state
    assert password_of(database) not in state + "".join(said)


def test_a_pending_file_is_named_and_applied(checkout: Checkout, database: Database) -> None:
    """Once applied it may not be edited any more, which does not keep a stack from being destroyed."""
    checkout.up()
    checkout.add(database, "create table public.next (id int);")

    preview = checkout("preview")
    assert f"pending: {NEXT}" in preview
    assert "1 to update" in preview
    assert database.rows("select to_regclass('public.next') is null") == [(True,)]
    assert f"applied: {NEXT}" in checkout.up()

    (checkout.tree / "supabase" / "migrations" / f"{NEXT}.sql").write_text("create table public.next (id bigint);")
    said = checkout("preview", fails=True)
    assert f"{NEXT}: was applied to" in said
    assert "put the file back as it was, and make the change in a new migration" in said
    checkout("destroy", "--yes")


def test_drift_is_named_and_left_alone(checkout: Checkout, database: Database) -> None:
    """Nothing is undone and nothing is applied over it."""
    checkout.up()
    database.do("alter table nomic_cycles add extra integer")
    drift = "drift: public.nomic_cycles: column extra integer is there, no migration makes it"

    for said in (checkout("preview"), checkout.up()):
        assert drift in said
        assert UNCHANGED in said
    assert database.rows("select count(extra) from nomic_cycles") == [(0,)]

    checkout.add(database, "create table public.next (id int);")
    said = checkout("preview", fails=True)
    assert "so nothing more is applied: public.nomic_cycles: column extra integer is there" in said
    assert "undo it by hand" in said


def test_a_database_that_does_not_answer_is_a_warning(checkout: Checkout, database: Database) -> None:
    """It may be about to be started; only a first `up` needs it."""
    checkout.url = away = database.url.replace(database.name, "not_yet_there")
    assert 'database "not_yet_there" does not exist' in checkout("up", "--yes", "--skip-preview", fails=True)
    checkout.url = database.url
    checkout.up()

    checkout.url = away
    said = checkout("preview")
    assert "warning: Supabase schema: drift unknown: connect to the database" in said
    assert UNCHANGED in said


def test_what_was_known_last_decides_where_nobody_answers(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """No new file, no change; the password is told nowhere."""
    port = database.url.rpartition(":")[2].partition("/")[0]
    for url, problem in (
        (database.url.replace(password_of(database), "hunter2"), "password authentication failed"),
        (database.url.replace(f":{port}/", ":9/"), "Connection refused"),
        (UNKNOWN, ""),
    ):
        results = [
            SupabaseSchemaProvider().diff("schema", {"migrations": {"a": "1"}}, {"db_url": url, "migrations": files})
            for files in ({"a": "1"}, {"a": "1", "b": "2"})
        ]
        said = capsys.readouterr().err

        assert [(result.changes, result.replaces) for result in results] == [(False, None), (True, None)]
        assert problem in said
        assert said.count("drift unknown") == (1 if problem else 0)
        assert "hunter2" not in said
        assert password_of(database) not in said


def test_only_files_and_the_database_make_a_difference(database: Database) -> None:
    """Not how the provider is stored, which another release of Python or Pulumi may write in another way."""
    apply_schema(database.secret)
    news = {"db_url": database.url, "migrations": {"a": "1"}, "__provider": "new"}
    provider = SupabaseSchemaProvider()

    assert provider.diff("schema", {"migrations": {"a": "1"}, "__provider": "old"}, news).changes is False
    # Applied without Pulumi: nothing is pending, and the stack takes note.
    assert provider.diff("schema", {"migrations": {}, "__provider": "old"}, news).changes is True
    assert provider.update("schema", {"migrations": {}}, news).outs == {"migrations": {"a": "1"}}


def test_what_a_state_remembers_never_changes() -> None:
    """Under another name, every stored resource could neither be read nor destroyed."""
    assert (SupabaseSchemaProvider.__module__, SupabaseSchemaProvider.__qualname__) == (
        "infra.resources.supabase_schema",
        "SupabaseSchemaProvider",
    )
    assert SupabaseSchema._resource_type_name == "dynamic/aragora:SupabaseSchema"


@pytest.mark.parametrize("url", ["https://project.supabase.co", "postgresql://postgres:hun/ter2@127.0.0.1/postgres"])
def test_what_is_no_url_fails_the_check(url: str) -> None:
    """Before anything else, and without quoting it."""
    [failure] = SupabaseSchemaProvider().check({}, {"db_url": url, "migrations": {}}).failures

    assert (failure.property, "ter2" in failure.reason) == ("db_url", False)
    assert failure.reason.startswith("is not a URL of a PostgreSQL database (postgresql://")
    assert SupabaseSchemaProvider().check({}, {"db_url": UNKNOWN, "migrations": {}}).failures == []
