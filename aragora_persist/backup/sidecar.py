"""The loop of the backup sidecar: every database, again and again, until it is told to stop.

Each database has its own time: one that appears later is backed up at once, and one that fails is tried again soon
without holding up the others. Leaves out: signals and arguments (the command line's), and health (``backup_health``).
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from aragora_persist.backup.files import make_directory, partial
from aragora_persist.backup.inventory import present_databases, take_inventory
from aragora_persist.backup.take import apply_retention, take_backup
from aragora_persist.databases import DATABASES
from aragora_persist.errors import PersistError
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterator, Mapping

    from aragora_persist.backup.catalog import BackupEntry
    from aragora_persist.backup.inventory import Inventory
    from aragora_persist.settings import Settings

METRICS_FILE = "backup.prom"
"""In the backup folder: what Prometheus' textfile collector reads, rewritten after each attempt."""

_LOGGER = logging.getLogger("aragora_persist.backup")
_LOOK_S = 2.0
_RETRY_S = 30.0
_JITTER = 0.05


def run(
    settings: Settings,
    stop: threading.Event,
    *,
    every_s: float | None = None,
    databases: Collection[str] | None = None,
) -> None:
    """Back up every present database now and then every ``every_s`` (None: as configured), until ``stop`` is set.

    With ``databases``, only those of them that are present. A backup that runs when ``stop`` is set is finished first.
    Failures are logged and counted in the metrics file.
    """
    interval_s = settings.backup_interval_s if every_s is None else every_s
    due: dict[str, float] = {}
    failures = Counter({database.name: 0 for database in DATABASES})
    _LOGGER.info("backing up %s to %s every %g s", settings.nomic_dir, settings.backup_dir, interval_s)
    while not stop.is_set():
        for database in present_databases(settings):
            chosen = databases is None or database in databases
            if not chosen or stop.is_set() or time.monotonic() < due.get(database, 0.0):
                continue
            done = _back_up(database, settings)
            # Only a missing backup is tried again soon: what cannot be removed must not fill the disk with more.
            failures[database] += not (done and _prune(database, settings))
            due[database] = time.monotonic() + _pause_s(interval_s, done=done)
            _write_metrics(settings, failures)
        # Short looks, so that a database that appears between two rounds is not without a backup for a whole one.
        stop.wait(min([_LOOK_S, *(max(0.0, moment - time.monotonic()) for moment in due.values())]))
    _LOGGER.info("stopped")


def _pause_s(interval_s: float, *, done: bool) -> float:
    """Return the time until the next attempt, a little uneven, so that many sidecars do not work in step."""
    base = interval_s if done else min(interval_s, _RETRY_S)
    return base * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing


def _back_up(database: str, settings: Settings) -> bool:
    try:
        entry = take_backup(database, settings)
    except PersistError as error:
        _LOGGER.error("%s", error)  # noqa: TRY400 - the error says all; a traceback in the log of a loop hides it
        return False
    _LOGGER.info("backed up %s: %s, %s", database, entry.file, size_text(entry.size_bytes))
    if entry.content.foreign_key_violations:
        _LOGGER.warning("%s: %d rows refer to nothing", entry.file, entry.content.foreign_key_violations)
    return True


def _prune(database: str, settings: Settings) -> bool:
    try:
        for decision in apply_retention(settings, databases=[database]):
            if not decision.keep:
                _LOGGER.info("removed %s: %s", decision.entry.file, decision.reason)
    except PersistError as error:
        _LOGGER.error("%s", error)  # noqa: TRY400 - as above
        return False
    return True


def _write_metrics(settings: Settings, failures: Mapping[str, int]) -> None:
    target = settings.backup_dir / METRICS_FILE
    try:
        make_directory(settings.backup_dir)
        with partial(target) as file:
            file.path.write_text(metrics_text(take_inventory(settings), failures), encoding="utf-8")
            file.replace(target)
    except (OSError, PersistError) as error:
        _LOGGER.error("metrics are not written: %s", error)  # noqa: TRY400 - as above


def metrics_text(inventory: Inventory, failures: Mapping[str, int]) -> str:
    """Return the newest backup of each database and the failures so far as Prometheus metrics (text format 0.0.4)."""
    return "\n".join(_metric_lines(inventory, failures)) + "\n"


def _metric_lines(inventory: Inventory, failures: Mapping[str, int]) -> Iterator[str]:
    newest = [entry for database in DATABASES if (entry := inventory.newest(database.name))]
    gauges: tuple[tuple[str, str, Callable[[BackupEntry], float]], ...] = (
        (
            "newest_timestamp_seconds",
            "When the newest verified backup was taken, in Unix time.",
            lambda entry: entry.created_at.timestamp(),
        ),
        ("newest_size_bytes", "Size of the newest verified backup.", lambda entry: entry.size_bytes),
        ("newest_duration_seconds", "How long the newest verified backup took.", lambda entry: entry.duration_s),
    )
    for name, help_, value in gauges if newest else ():
        yield from _head(name, "gauge", help_)
        for entry in newest:
            yield f'aragora_persist_backup_{name}{{database="{entry.database}"}} {value(entry)}'
    yield from _head("failures_total", "counter", "Failed attempts since the sidecar started.")
    for database, count in failures.items():
        yield f'aragora_persist_backup_failures_total{{database="{database}"}} {count}'


def _head(name: str, kind: str, help_: str) -> Iterator[str]:
    yield f"# HELP aragora_persist_backup_{name} {help_}"
    yield f"# TYPE aragora_persist_backup_{name} {kind}"
