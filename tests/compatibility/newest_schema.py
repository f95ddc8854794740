"""A pytest plugin for the suite of a kept release: each new database has the newest schema, not the release's own.

It runs inside the kept release and knows nothing of the newest library but the files that this has made: one of each
database in the folder NEWEST_SCHEMA_DIR. What the release asks of a newer database when it opens one, it is asked here
too. At the end it writes beside them, as ``outcome.json``, what became of each test. Of the suite it runs what is on
files, of a test with many inputs the first one, and lets hypothesis try a few examples only: they say as much about a
schema as all.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis

import aragora_persist
from aragora_persist.migrations import runner
from aragora_persist.storage.sqlite import opening

if TYPE_CHECKING:
    import pytest

    from aragora_persist.settings import Settings

FOLDER = Path(os.environ["NEWEST_SCHEMA_DIR"])
# In the place of the profile that the suite loads.
hypothesis.settings.register_profile(
    "ci", hypothesis.settings.get_profile("ci"), max_examples=5, phases=[hypothesis.Phase.generate]
)
_made: list[str] = []
_outcomes: dict[str, str] = {}


def _fill(connection: sqlite3.Connection, path: Path | None, database: str, *, settings: Settings) -> None:
    """Do what a release does with an empty database, but by copying one of the newest schema; then it is opened."""
    with closing(sqlite3.connect(FOLDER / f"{database}.db")) as newest:
        newest.backup(connection)
    _made.append(database)
    opening.require_schema(connection, path, database, migrate=False, settings=settings)


runner.migrate_connection = _fill  # type: ignore[assignment] # that of the kept release, which returns what nobody takes


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other backends, and all but the first of the inputs of a test."""
    first: dict[str, pytest.Item] = {}
    for item in items:
        if _is_on_files(item):
            first.setdefault(item.nodeid.partition("[")[0], item)
    wanted = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]


def _is_on_files(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return bool(parameters.get("open_database", "file") == "file")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a test: the first of its phases that did not pass says it."""
    if _outcomes.get(report.nodeid, "passed") == "passed":
        _outcomes[report.nodeid] = "passed" if report.passed else report.longreprtext


def pytest_sessionfinish() -> None:
    """Write down what happened, and with which library."""
    said = {"library": aragora_persist.__file__, "databases": _made, "outcomes": _outcomes}
    (FOLDER / "outcome.json").write_text(json.dumps(said), encoding="utf-8")
