"""The backup sidecar: rounds of backups, drills on their schedule and what goes off-site, until it is told to stop.

What is due follows from the catalog, so that a restart goes on where the last one stood. Each piece of work is a
command in a process of its own (``jobs``), one at a time; only shipping goes on beside them, so that a store that does
not answer holds up no backup. Leaves out: when something is due (``schedule``), and health (``health``).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import clean_partials, make_directory, partial
from aragora_persist.backup.health import look_at_health
from aragora_persist.backup.metrics import METRICS_FILE, backup_families, damaged_of, work_families
from aragora_persist.backup.report import Reports
from aragora_persist.backup.sidecar.alone import alone
from aragora_persist.backup.sidecar.jobs import Jobs
from aragora_persist.backup.sidecar.schedule import Clocks, Drills, Rounds, Timer
from aragora_persist.backup.sidecar.shipper import Shipper
from aragora_persist.errors import PersistError
from aragora_persist.exposition import exposition
from aragora_persist.redaction import redact
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from aragora_persist.backup.health import Health
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

_LOGGER = logging.getLogger("aragora_persist.backup")
_LOOK_S = 1.0
_RETRY_S = 30.0
_DRILL_RETRY_S = 300.0
_METRICS_S = 60.0
_JITTER = 0.05


class Sidecar:
    """The sidecar of one backup folder. ``run`` is for a thread of its own; the others are for the one that ends it."""

    def __init__(
        self, settings: Settings, *, every_s: float | None = None, databases: Collection[str] | None = None
    ) -> None:
        """Make one that backs up every ``every_s`` (None: as configured) these databases, or all that are present."""
        self._settings = settings
        self._databases = databases
        self._interval_s = settings.backup_interval_s if every_s is None else every_s
        self._look_s = min(_LOOK_S, self._interval_s)
        self._rounds = Rounds(self._interval_s, retry_s=_RETRY_S, spread=_spread)
        self._drills = Drills(settings.drill_interval_s, retry_s=_DRILL_RETRY_S)
        self._jobs = Jobs(settings.nomic_dir)
        self._shipper = Shipper(settings, self._jobs)
        self._reports = Reports(settings)
        self._metrics = settings.backup_dir / METRICS_FILE
        self._stopping = threading.Event()
        self._failures = Counter[str]()
        self._drill_failures = Counter[str]()
        self._damaged: bool | None = None
        self._checked_at: datetime | None = None
        self._checks = Timer()
        self._written_at_s = float("-inf")

    def run(self) -> None:
        """Do what is due, now and for ever; failures are logged and counted in the metrics file."""
        settings = self._settings
        _LOGGER.info("backing up %s to %s every %g s", settings.nomic_dir, settings.backup_dir, self._interval_s)
        with alone(settings.backup_dir, self._stopping, look_s=self._look_s):
            if not self._stopping.is_set():  # or a stop has ended the wait, and another one works here
                self._work()
        _LOGGER.info("stopped")

    def _work(self) -> None:
        with suppress(OSError):  # there is none yet
            # The alarm of the sidecar before this one is not over because that one has ended.
            self._damaged = damaged_of(self._metrics.read_text(encoding="utf-8", errors="replace"))
        self._shipper.start()
        try:
            while not self._stopping.is_set():
                self._look()
                # Short looks, so that a database that appears is not without a backup for a whole interval.
                self._stopping.wait(self._look_s)
        finally:
            self._shipper.stop()

    def stop(self) -> None:
        """Let nothing more begin; what runs goes on to its end, unless ``abandon`` follows."""
        self._stopping.set()

    def abandon(self) -> None:
        """End what runs: a backup that is not whole is none, and the next start takes it again."""
        if self._jobs.end():
            _LOGGER.warning("what was running is given up; the next start does it again")
        with suppress(OSError):
            clean_partials(self._settings.backup_dir)

    def _look(self) -> None:
        try:
            self._do_what_is_due()
        except (OSError, PersistError) as error:
            # The catalog cannot be read, or the metrics not be written. Both may pass.
            _LOGGER.error("%s", redact(str(error)))  # noqa: TRY400 - the error says all
            self._stopping.wait(_RETRY_S)

    def _do_what_is_due(self) -> None:
        health = look_at_health(self._settings, self._databases)
        newest = {one.database: one.backup.created_at if one.backup else None for one in health}
        if due := self._rounds.due(newest, _clocks()):
            health = self._back_up(due, {one.database: one.backup for one in health})
        last = {one.database: one.drill for one in health if one.backup}
        if (due := self._drills.due(last, _clocks())) and not self._stopping.is_set():
            now = _clocks()
            self._drill(due)
            self._check(now)
        if time.monotonic() - self._written_at_s >= _METRICS_S:
            self._write_metrics()

    def _back_up(self, due: Collection[str], before: dict[str, BackupEntry | None]) -> tuple[Health, ...]:
        """Take a round of backups; which of them succeeded, the catalog says afterwards."""
        answer = self._jobs.run("backup", *_options(due))
        health = look_at_health(self._settings, self._databases)
        taken = [one.backup for one in health if one.backup and one.backup != before.get(one.database)]
        for entry in taken:
            size, seconds = size_text(entry.size_bytes), entry.duration_s
            _LOGGER.info("backed up %s: %s, %s in %.1f s", entry.database, entry.file, size, seconds)
            if entry.content.foreign_key_violations:
                _LOGGER.warning("%s: %d rows refer to nothing", entry.file, entry.content.foreign_key_violations)
        failed = {*due} - {entry.database for entry in taken}
        self._rounds.note(due, failed, time.monotonic())
        self._failures.update(dict.fromkeys(due, 0))
        # What cannot be removed is a failure too, but no reason to back up again soon.
        self._failures.update(failed or (due if answer and answer.code else ()))
        self._shipper.wake()
        self._write_metrics()
        return health

    def _drill(self, due: Collection[str]) -> None:
        """Prove the newest backups; what came of it, the catalog says."""
        answer = self._jobs.run("drill", *_options(due))
        for line in answer.lines if answer else ():
            _LOGGER.info("%s", line)
        self._drills.note(due, time.monotonic())
        good = {one.database for one in look_at_health(self._settings, due) if one.drill and one.drill.ok}
        self._drill_failures.update({name: name not in good for name in due})
        self._write_metrics()

    def _check(self, now: Clocks) -> None:
        """Read the catalog and every file that it names again, once with each round of drills."""
        if not self._checks.is_due(self._checked_at, self._settings.drill_interval_s / 2, now):
            return
        if answer := self._jobs.run("backups", "--check"):
            self._damaged = answer.code != 0
            self._checked_at = now.wall
            self._write_metrics()

    def _write_metrics(self) -> None:
        families = (
            *backup_families(self._reports.take(times.utc_now())),
            *work_families(self._failures, self._drill_failures, self._shipper.failures, damaged=self._damaged),
        )
        make_directory(self._settings.backup_dir)
        with partial(self._metrics) as file:
            file.path.write_text(exposition(families), encoding="utf-8")
            file.replace(self._metrics)
        self._written_at_s = time.monotonic()


def _clocks() -> Clocks:
    return Clocks(times.utc_now(), time.monotonic())


def _spread() -> float:
    """Return by how much an interval is stretched, so that many sidecars do not work in step."""
    return random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing


def _options(databases: Collection[str]) -> list[str]:
    return [option for name in databases for option in ("--db", name)]
