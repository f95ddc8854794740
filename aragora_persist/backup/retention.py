"""Which backups are kept and which may go, and why. Pure: it reads no clock and touches no file (``take`` removes).

The rules are restic's ``keep-*``, each for one database by itself; what one of them keeps stays. Hours, days, weeks
(ISO 8601) and months are those of UTC. Leaves out: copies elsewhere, which are the object store's to expire.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

    Verdict = tuple[bool, str]
    """Whether a rule keeps a backup, and why it does or does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is kept: everything of the last ``days``, the ``last`` ones, and the last one of each of so many periods.

    A period without a backup is not counted: ``daily=7`` are the last seven days that have one.
    """

    days: int
    last: int = 1
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings say."""
        return cls(
            days=settings.backup_retention_days,
            last=settings.backup_keep_last,
            hourly=settings.backup_keep_hourly,
            daily=settings.backup_keep_daily,
            weekly=settings.backup_keep_weekly,
            monthly=settings.backup_keep_monthly,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one backup. ``reasons`` are all that keep it, or, where none does, why each rule lets it go."""

    entry: BackupEntry
    keep: bool
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The reasons as one text."""
        return "; ".join(self.reasons)


def decide(backups: Iterable[BackupEntry], *, intact: Collection[str], now: datetime, policy: Policy) -> list[Decision]:
    """Decide about each backup, given in the order in which they were made; ``intact`` holds the ids of whole files.

    Databases do not see each other. The last intact backup of each is kept whatever the clock says: "last" is its
    place in the catalog, because a clock that was wrong once gives a backup a time that stays wrong. Of two clocks'
    opinions the one that deletes less counts: a backup dated in the future is kept until its time has come and gone,
    and meanwhile takes no other's place in an hour, day, week or month. One that is not intact is kept by its age only.
    """
    backups = tuple(backups)
    counted = defaultdict(list)
    for entry in backups:
        if entry.id in intact:
            counted[entry.database].append(entry)
    rules = {database: [*_rules(entries, now, policy)] for database, entries in counted.items()}
    return [_decide(entry, rules.get(entry.database, []), now, policy) for entry in backups]


def _decide(entry: BackupEntry, rules: Iterable[Mapping[str, Verdict]], now: datetime, policy: Policy) -> Decision:
    verdicts = [rule[entry.id] for rule in rules if entry.id in rule]
    verdicts.append(_by_age(entry, now, policy.days))
    keep = any(kept for kept, _ in verdicts)
    return Decision(entry, keep, tuple(reason for kept, reason in verdicts if kept is keep))


def _by_age(entry: BackupEntry, now: datetime, days: int) -> Verdict:
    if entry.created_at > now:
        return True, "dated in the future: its age is not known"
    if (now - entry.created_at) / timedelta(days=1) <= days:  # a division: no number of days is too large for it
        return True, f"not older than {days} days"
    return False, f"older than {days} days"


def _rules(entries: Sequence[BackupEntry], now: datetime, policy: Policy) -> Iterator[Mapping[str, Verdict]]:
    """Yield what each rule but that of the age says of one database's intact backups."""
    yield _by_number(entries, policy.last)
    # Equal times fall back on the order in which they were made, which is that of `entries`.
    newest_first = sorted((one for one in reversed(entries) if one.created_at <= now), key=_created_at, reverse=True)
    for noun, count, name_of in (
        ("hour", policy.hourly, _hour),
        ("day", policy.daily, _day),
        ("week", policy.weekly, _week),
        ("month", policy.monthly, _month),
    ):
        if count:
            yield _by_period(newest_first, noun, count, name_of)


def _by_number(entries: Sequence[BackupEntry], count: int) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}
    for rank, entry in enumerate(reversed(entries), start=1):
        if rank == 1:
            verdicts[entry.id] = True, "the last verified backup of its database"
        elif count > 1:
            verdicts[entry.id] = (rank <= count, f"{'one of' if rank <= count else 'not among'} the last {count}")
    return verdicts


def _by_period(
    newest_first: Iterable[BackupEntry], noun: str, count: int, name_of: Callable[[datetime], str]
) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}
    last_of: dict[str, str] = {}
    for entry in newest_first:
        name = name_of(entry.created_at)
        last = last_of.setdefault(name, entry.id)
        if last != entry.id:
            verdicts[entry.id] = False, f"not the last of the {noun} {name}: that is {last}"
        elif len(last_of) <= count:
            verdicts[entry.id] = True, f"the last of the {noun} {name}"
        else:
            verdicts[entry.id] = False, f"the {noun} {name} is not among the last {count} with a backup"
    return verdicts


def _created_at(entry: BackupEntry) -> datetime:
    return entry.created_at


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H}:00"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02}"


def _month(moment: datetime) -> str:
    return f"{moment:%Y-%m}"
