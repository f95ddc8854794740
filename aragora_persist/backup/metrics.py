"""Backups, drills and what is not off-site yet as metrics: the same names in the sidecar's file and from the service.

Pure. Leaves out: how they are written down (``exposition``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aragora_persist.exposition import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aragora_persist.backup.records import BackupEntry, Drill
    from aragora_persist.backup.report import BackupReport

METRICS_FILE = "backup.prom"
"""In the backup folder: what Prometheus' textfile collector reads, rewritten after each piece of a sidecar's work."""

_WORK = re.compile(r"(# (HELP|TYPE) )?aragora_persist_(\w+_failures_total|backup_check_failed)\b")
_CHECK_FAILED = re.compile(r"^aragora_persist_backup_check_failed ([01])$", re.MULTILINE)
_BACKUP: tuple[tuple[str, str, Callable[[BackupEntry], float]], ...] = (
    (
        "timestamp_seconds",
        "When the newest verified backup was taken, in Unix time.",
        lambda one: one.created_at.timestamp(),
    ),
    ("size_bytes", "Size of the newest verified backup, as it is stored.", lambda one: one.size_bytes),
    ("plain_size_bytes", "Size of the database in it.", lambda one: one.plain_size_bytes),
    ("duration_seconds", "How long the newest verified backup took.", lambda one: one.duration_s),
)
_DRILL: tuple[tuple[str, str, Callable[[Drill], float]], ...] = (
    ("ok", "1 when the last drill proved a backup, 0 when it failed.", lambda one: one.ok),
    ("timestamp_seconds", "When the last drill began, in Unix time.", lambda one: one.at.timestamp()),
)
_GOOD_DRILL: tuple[tuple[str, str, Callable[[Drill], float]], ...] = (
    ("timestamp_seconds", "When the last good drill began, in Unix time.", lambda one: one.at.timestamp()),
    ("seconds", "How long the restore of the last good drill took.", lambda one: one.seconds),
)


def backup_families(report: BackupReport) -> Iterator[Family]:
    """Yield what is known of each database's backups and drills."""
    for name, help_, backup_value in _BACKUP:
        samples = [({"database": key}, backup_value(one)) for key, one in report.newest.items()]
        yield Family(f"backup_newest_{name}", "gauge", help_, samples)
    for kind, drills, values in (("last", report.drills, _DRILL), ("good", report.good_drills, _GOOD_DRILL)):
        for name, help_, drill_value in values:
            samples = [({"database": key}, drill_value(one)) for key, one in drills.items()]
            yield Family(f"drill_{kind}_{name}", "gauge", help_, samples)
    if report.offsite_lag_s is not None:
        help_ = "For how long the oldest backup that is not off-site has been waiting; 0 when none is."
        yield Family("backup_offsite_lag_seconds", "gauge", help_, [({}, report.offsite_lag_s)])


def work_families(
    failures: Mapping[str, int], drill_failures: Mapping[str, int], offsite_failures: int, *, damaged: bool | None
) -> Iterator[Family]:
    """Yield what a sidecar knows of its own work since it started; ``damaged`` None has not been looked for yet."""
    for name, counts in (("backup", failures), ("drill", drill_failures)):
        help_ = f"Failed attempts at a {name} since the sidecar started."
        yield Family(f"{name}_failures_total", "counter", help_, [({"database": key}, n) for key, n in counts.items()])
    help_ = "Failed attempts to ship backups since the sidecar started."
    yield Family("backup_offsite_failures_total", "counter", help_, [({}, offsite_failures)])
    if damaged is not None:
        help_ = "1 when the last look at every backup and the catalog found something damaged or missing."
        yield Family("backup_check_failed", "gauge", help_, [({}, damaged)])


def damaged_of(text: str) -> bool | None:
    """Return what a sidecar's file says of its last look at every backup; None where it says nothing."""
    found = _CHECK_FAILED.search(text)
    return found and found[1] == "1"


def work_of(text: str) -> str:
    """Return of a sidecar's file what nobody else knows (``work_families``); the rest is in the catalog for all."""
    return "".join(line for line in text.splitlines(keepends=True) if _WORK.match(line))
