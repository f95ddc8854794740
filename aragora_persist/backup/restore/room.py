"""How much room a restore takes beside the database, and whether there is so much.

Leaves out: scratch space, which whoever writes there looks after.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from aragora_persist.backup.files import beside
from aragora_persist.errors import StorageError
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    from pathlib import Path


def room_to_write_into(size_bytes: int, target: Path) -> int:
    """Return how much room ``write_into`` takes at most: the log, the copy that is kept, and the growth of the file."""
    live = _size(target)
    return size_bytes + live + _size(beside(target, "-wal")) + max(0, size_bytes - live)


def free_bytes(folder: Path) -> int:
    """Return how much room there is."""
    return shutil.disk_usage(folder).free


def refuse_without_room(folder: Path, needed: int) -> None:
    """Raise if ``folder`` has less room than this.

    Raises:
        StorageError: it has.

    """
    if (free := free_bytes(folder)) < needed:
        problem = f"has {size_text(free)} free, and this restore may take {size_text(needed)}"
        hint = "free some space there (an old *.replaced_* file, perhaps); nothing was changed"
        raise StorageError("restore", folder, problem, hint=hint)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
