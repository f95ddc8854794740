"""A new database is made whole, in one transaction, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import MigrationError
from tests.unit.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path

TABLES = 'conn.execute("CREATE TABLE kept (a)"); conn.execute("CREATE TABLE gone (a)")'


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop without a database: its second migration drops what the first has made."""
    workshop = Workshop(tmp_path)
    workshop.write(1, TABLES)
    workshop.write(2, 'conn.execute("DROP TABLE gone")')
    return workshop


def test_it_is_made_of_all_migrations(workshop: Workshop) -> None:
    """What an earlier one made, a later one may take away, though nothing of it is committed."""
    assert [migration.version for migration in workshop.migrate().migrations] == [1, 2]
    _, rows = workshop.content()
    assert set(rows) == {"kept", "schema_version"}


def test_a_failure_in_the_last_one_leaves_an_empty_file(workshop: Workshop) -> None:
    """Nobody who opens it then finds a schema that is neither new nor old; the corrected migration makes it all."""
    path = workshop.write(3, "raise ValueError('half')")
    with pytest.raises(MigrationError, match="half"):
        workshop.migrate()
    assert workshop.content() == ([], {})
    path.unlink()
    assert len(workshop.migrate().migrations) == 2
