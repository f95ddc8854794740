"""An empty database for each test of the schema that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.schema_databases import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schema_databases import Database
    from tests.supabase_stack import LocalSupabase

pytest_plugins = ("tests.supabase_fixtures",)


@pytest.fixture
def database(supabase: LocalSupabase) -> Iterator[Database]:
    """Give an empty database."""
    with new_database(supabase) as database:
        yield database
