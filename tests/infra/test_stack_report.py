"""What `scripts/up` says at its end of a Supabase; what it says of services, the end-to-end test sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.stack.engine import engine
from infra.stack.report import report

pytestmark = pytest.mark.engine

BACKUPS = {"backups_volume": "aragora-unit-supabase-backups"}
OWN = {
    **BACKUPS,
    "url": "http://127.0.0.1:1",
    "migrations": ["001_first", "002_second"],
    "database_port": 2,
    "data_volume": "aragora-unit-supabase-data",
}


@pytest.mark.parametrize(
    ("supabase", "told"),
    [
        (OWN, ["http://127.0.0.1:1", "schema 002_second, database on port 2", "supabase-data", "/keys.env"]),
        (BACKUPS, ["a hosted one"]),
    ],
)
def test_it_tells_where_a_supabase_and_its_backups_are(supabase: dict[str, object], told: list[str]) -> None:
    """Of a hosted one there is nothing but its backups."""
    outputs = {"services": {}, "supabase": supabase, "library": {"volume": "library", "release": "/release"}}
    with engine("unit") as on_engine:
        said = report(outputs, on_engine, supabase_env=Path("/keys.env"), seconds=1)
    assert [part for part in [*told, "aragora-unit-supabase-backups"] if part not in said] == []
