"""Putting the adopted file in the place of its original, so that a kill at any instant leaves one of the two, whole.

The original is kept twice: as a verified snapshot among the backups, which is what was adopted, and as the files
themselves, moved aside. Leaves out: making the file (``build``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.files import beside
from aragora_persist.backup.restore.intent import Intent, complete, declare, withdraw
from aragora_persist.backup.snapshot import snapshot
from aragora_persist.backup.verify import read_content, verify
from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError
from aragora_persist.migrations.adoption.openers import refuse_openers
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.files import Partial
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Settings

_OPERATION = "adopt"


class Kept(NamedTuple):
    """Where the original is now."""

    snapshot: Path
    replaced: Path


def exchange(original: Path, target: Path, new: Partial, database: str, settings: Settings) -> Kept:
    """Put ``new`` in the place of ``target``, of which ``original`` is the copy that was adopted.

    The caller holds the lock of the folder.

    Raises:
        BusyError: another process has the database open, or has written to it since it was copied; the database is
            the original.

    """
    stamp = f"{utc_now():%Y%m%d_%H%M%S_%f}"
    kept = settings.backup_dir / f"{find_database(database).name}_{stamp}_before_adoption.db"
    snapshot(original, kept)
    adopted = verify(kept).content
    staged = beside(target, ".adopted")
    staged.unlink(missing_ok=True)  # of a run that was killed before it said what it meant
    new.publish(staged, operation=_OPERATION)
    try:
        refuse_openers(target)
        replaced = _put(target, Intent(staged.name, f"{target.stem}.before_adoption_{stamp}{target.suffix}"), settings)
    except BusyError:
        staged.unlink()
        kept.unlink()
        raise
    if _content(replaced) != adopted:
        _put(target, Intent(replaced.name, f"{target.stem}.withdrawn_{stamp}{target.suffix}"), settings)
        problem = "was written to while it was adopted; it is the original again"
        raise BusyError(_OPERATION, target, problem, hint="stop the program that writes to it, and adopt it again")
    return Kept(kept, replaced)


def _put(target: Path, intent: Intent, settings: Settings) -> Path:
    declare(target, intent)
    try:
        replaced = complete(target, timeout_s=settings.db_timeout_s)
    except BusyError:
        withdraw(target)
        raise
    return replaced or target.with_name(intent.replaced)


def _content(path: Path) -> Content:
    with open_readonly(path) as connection:
        return read_content(connection, path)
