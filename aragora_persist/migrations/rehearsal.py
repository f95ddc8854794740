"""Rehearsing on a copy what would be done to a database. The original is only read.

Leaves out: how the copy is made (``storage.sqlite.copying``).
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.storage.sqlite.copying import copy_committed

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_copy(path: Path) -> Iterator[Path]:
    """Yield a private copy of the committed state of ``path``, in scratch space (TMPDIR); it is removed at the end.

    It works while others write, on a read-only mount, and for a missing file, whose copy is empty.

    Raises:
        StorageError: scratch space has no room for it, or the original cannot be read.
        DamagedError: the original is not a database.
        BusyError: the original is being restored.

    """
    import tempfile  # noqa: PLC0415 - brings `random` and more, which other parts of a migration do not need

    with tempfile.TemporaryDirectory(prefix="aragora-rehearsal-") as scratch:
        copy = Path(scratch, path.name)
        copy_committed(path, copy)
        yield copy
