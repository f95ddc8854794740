"""What the migration to marks makes of replays that were stored before it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aragora_persist.migrations.runner import migrate, rollback
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.marks import EVERY
from aragora_persist.storage.replays.trace import new_event, new_trace

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.port import Row

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_replays_of_before_get_the_marks_that_they_would_have(tmp_path: Path) -> None:
    """Those that the store sets as it appends, whatever the order of times and rounds."""
    path = tmp_path / "replay.db"
    chance = random.Random(5)  # noqa: S311 - repeatable on purpose

    def marks() -> list[Row]:
        with ReplayStore(path) as store, store.database.read("look") as view:
            return view.all("SELECT * FROM replay_marks ORDER BY trace_id, position")

    with ReplayStore(path) as store:
        for name, count in (("none", EVERY - 1), ("one", EVERY), ("two", 2 * EVERY + 1)):
            store.begin(new_trace("debate", "a task", ["claude"], NOON, trace_id=name))
            times = [NOON + timedelta(seconds=chance.randrange(5_000)) for _ in range(count)]
            events = [new_event("message", {}, moment, round_num=chance.randrange(900)) for moment in times]
            store.append_events(name, events)
    before = marks()
    rollback(path, "replay", to=2)
    migrate(path, "replay")

    assert marks() == before
    assert [(row[0], row[1]) for row in before] == [("one", EVERY - 1), ("two", EVERY - 1), ("two", 2 * EVERY - 1)]
