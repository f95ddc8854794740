"""Which backups belong together: those of one run. Pure.

Leaves out: restoring them (``restoring_sets``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES
from aragora_persist.errors import ConflictError, NotFoundError
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from aragora_persist.backup.records import BackupEntry

_OPERATION = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSet:
    """The backups of one run, one of each database, in the order of the registry."""

    run: str
    entries: tuple[BackupEntry, ...]
    absent: tuple[str, ...]
    """Databases that had backups by then, and none in this run."""

    @property
    def moment(self) -> datetime:
        """When the first of them was taken."""
        return min(entry.created_at for entry in self.entries)


def choose_set(backups: Iterable[BackupEntry], *, at: datetime | None = None, run: str | None = None) -> BackupSet:
    """Return the newest run, the newest that was over at ``at``, or the one that is called ``run``.

    ``backups`` are in the order in which they were made. A run in which the backup of a database failed is only taken
    when it is named: everything else would go back, and that database would stay. A backup of one database among
    several makes no set.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: the run lacks a database; the hint names what can be taken.

    """
    runs = _sets(backups)
    sets = [one for one in runs if len(one.entries) > 1 or not one.absent]
    if run is not None:
        candidates = [one for one in runs if one.run == run]
    elif at is not None:
        limit = to_text(at, field="at")
        candidates = [one for one in sets if all(to_text(entry.created_at) <= limit for entry in one.entries)]
    else:
        candidates = sets
    if not candidates:
        wanted = f"run {run} of backups" if run else "run of backups" + (f" at or before {to_text(at)}" if at else "")
        hint = "aragora-persist backups; a single database: aragora-persist restore DB"
        raise NotFoundError(_OPERATION, "all databases", f"there is no {wanted}", hint=hint)
    chosen = candidates[-1]
    if run is None and chosen.absent:
        _refuse_partial(chosen, candidates)
    return chosen


def _sets(backups: Iterable[BackupEntry]) -> list[BackupSet]:
    """Return the sets in the order in which they were begun; what earlier releases took belongs to none."""
    order = [database.name for database in DATABASES]
    runs: dict[str, dict[str, BackupEntry]] = {}
    seen: set[str] = set()
    known: dict[str, frozenset[str]] = {}
    for entry in backups:
        if entry.database in order:
            seen.add(entry.database)
            if entry.run:
                runs.setdefault(entry.run, {})[entry.database] = entry  # its last one, where one was tried again
                known[entry.run] = frozenset(seen)
    return [
        BackupSet(
            run=run,
            entries=tuple(of_run[name] for name in order if name in of_run),
            absent=tuple(name for name in order if name in known[run] and name not in of_run),
        )
        for run, of_run in runs.items()
    ]


def _refuse_partial(chosen: BackupSet, candidates: list[BackupSet]) -> None:
    whole = next((one for one in reversed(candidates) if not one.absent), None)
    hint = f"take what it has: --backup {chosen.run}"
    if whole:
        hint = f"the newest whole one: --backup {whole.run}; or {hint}"
    hint = f"repeat when it is over, if it is still being taken; {hint}"
    raise ConflictError(_OPERATION, f"run {chosen.run}", f"has no backup of {', '.join(chosen.absent)}", hint=hint)
