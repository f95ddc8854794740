"""Whether the backups keep their promise: how old the newest verified one is, and when a drill last proved one.

Cheap enough for a health check that runs every few seconds beside thousands of backups. Leaves out: whether every file
is whole (``inventory``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import newest_intact, present_databases
from aragora_persist.backup.names import SUPABASE
from aragora_persist.wording import span_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from aragora_persist.backup.records import BackupEntry, Drill
    from aragora_persist.settings import Settings

_FUTURE = "is from the future; look at this machine's clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What there is to say of one database's backups; None where there is none."""

    database: str
    backup: BackupEntry | None
    """The newest verified one whose file is here."""
    drill: Drill | None
    """The last one."""
    good_drill: Drill | None
    """The last one that proved a backup."""

    def backup_problems(self, objective_s: float, now: datetime) -> Iterator[str]:
        """Say why the newest backup is not one of at most this age; nothing where it is."""
        if self.backup is None:
            yield f"{self.database}: there is no verified backup"
        elif problem := _age_problem(self.backup.created_at, objective_s, now):
            yield f"{self.database}: the newest verified backup {problem}"

    def drill_problems(self, objective_s: float, now: datetime) -> Iterator[str]:
        """Say why the backups do not count as proved within this time; nothing where they do."""
        if self.drill is not None and not self.drill.ok:
            of = f"{self.drill.backup}: " if self.drill.backup else ""  # there was none to drill
            yield f"{self.database}: the last drill failed: {of}{self.drill.problem}"
        if self.good_drill is None:
            if self.drill is None:
                yield f"{self.database}: no drill has restored a backup of it yet"
        elif problem := _age_problem(self.good_drill.at, objective_s, now):
            yield f"{self.database}: the last good drill {problem}"


def look_at_health(settings: Settings, databases: Collection[str] | None = None) -> tuple[Health, ...]:
    """Return the health of these databases' backups, or of those of all that are present.

    A database that has no file is not among them: nothing can be said of what is not there yet.
    """
    names = list(present_databases(settings))
    if databases is not None:
        # The cloud half is looked after by who is told to: it has no file by which it would show.
        names = [name for name in (*names, SUPABASE) if name in databases]
    catalog = Catalog(settings.backup_dir)
    backups = newest_intact(catalog.newest_first(), catalog.directory, names)
    drills, good = _last_drills(catalog, names)
    return tuple(
        Health(database=name, backup=backups.get(name), drill=drills.get(name), good_drill=good.get(name))
        for name in names
    )


def _last_drills(catalog: Catalog, names: Collection[str]) -> tuple[dict[str, Drill], dict[str, Drill]]:
    last: dict[str, Drill] = {}
    good: dict[str, Drill] = {}
    drills = catalog.drills_newest_first()
    while len(good) < len(names) and (drill := next(drills, None)):
        if drill.database in names:
            last.setdefault(drill.database, drill)
            if drill.ok:
                good.setdefault(drill.database, drill)
    return last, good


def _age_problem(moment: datetime, objective_s: float, now: datetime) -> str:
    age_s = (now - moment).total_seconds()
    if abs(age_s) <= objective_s:  # a clock that was set back a little is no reason to worry
        return ""
    if age_s < 0:
        return _FUTURE
    return f"is {span_text(age_s)} old"
