"""What the migration to meetings makes of matches that were recorded before it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aragora_persist.migrations.runner import migrate, rollback
from aragora_persist.storage.elo_store import EloStore

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.port import Row

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_matches_of_before_are_counted_as_they_would_have_been(tmp_path: Path) -> None:
    """As the store counts them when it records them, over all domains and in each."""
    path = tmp_path / "elo.db"
    chance = random.Random(5)  # noqa: S311 - repeatable on purpose

    def meetings() -> list[Row]:
        with EloStore(path) as store, store.database.read("look") as view:
            return view.all("SELECT * FROM meetings ORDER BY agent_name, opponent, domain")

    with EloStore(path) as store:
        for number in range(40):
            agents = chance.sample(["ada", "bob", "cyd", "dot", "eve"], chance.randint(2, 5))
            scores = {agent: float(chance.randint(0, 2)) for agent in agents}
            moment = NOON + timedelta(days=chance.randrange(90))
            store.record_match(f"d{number}", scores=scores, domain=chance.choice(["", "law"]), played_at=moment)
    before = meetings()
    rollback(path, "elo", to=2)
    migrate(path, "elo")

    assert meetings() == before
    assert len(before) == 20
