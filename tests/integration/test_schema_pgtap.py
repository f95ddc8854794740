"""The schema's own tests, in PostgreSQL's language: `supabase/tests`, which `supabase test db` runs too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.cloud.schema import apply_schema
from infra.toolchain.environment import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.schema_databases import Database

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

FILES = sorted((REPOSITORY / "supabase" / "tests").glob("*.sql"))
PGTAP = """
create schema extensions;
create extension pgtap with schema extensions;
grant usage on schema extensions to public;
"""


def answers(database: Database, file: Path) -> list[str]:
    """Run a file and return every line that its tests answer."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        cursor = connection.execute(file.read_bytes())
        lines = []
        while True:
            if cursor.description:
                lines += [str(value) for (value,) in cursor]
            if not cursor.nextset():
                return lines


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_assertion_holds(database: Database, file: Path) -> None:
    """As many as were planned, and all of them."""
    apply_schema(database.secret)
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(PGTAP)

    [plan, *lines] = answers(database, file)

    assert [line for line in lines if not line.startswith("ok ")] == []
    assert plan == f"1..{len(lines)}"


def test_an_open_right_is_found(database: Database) -> None:
    """A test that could not fail would prove nothing."""
    apply_schema(database.secret)
    database.do("grant select on public.stream_events to anon; alter table agent_metrics disable row level security")
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(PGTAP)

    failed = [line for line in answers(database, FILES[1]) if line.startswith("not ok")]

    assert FILES[1].name == "rights.test.sql"
    assert len(failed) == 4
