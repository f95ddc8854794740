"""What is to be done to bring a schema to a version: pure decisions over what the folder holds and the ledger says.

Leaves out: reading either (``folder``, ``ledger``), and doing it (``apply``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import InvalidValueError, MigrationError, SchemaTooNewError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Migration(NamedTuple):
    """One file ``NNN_description.py``; what runs is the source that the checksum was taken of."""

    version: int
    name: str
    checksum: str
    path: Path
    source: bytes


class Applied(NamedTuple):
    """One row of the ledger."""

    version: int
    name: str
    checksum: str
    applied_at: str
    duration_ms: float
    package_version: str
    min_reader: str


def check_sequence(migrations: Sequence[Migration], folder: object) -> None:
    """Refuse a folder whose versions are not 1, 2, 3, … each once.

    Raises:
        MigrationError: a version is there twice, or one is missing.

    """
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            wrong = "is there twice" if migration.version < expected else "is missing"
            version = min(migration.version, expected)
            raise MigrationError(
                "read migrations", folder, f"version {version:03d} {wrong}", hint=f"see {migration.name}.py"
            )


def pending(migrations: Sequence[Migration], applied: Sequence[Applied], target: object) -> tuple[Migration, ...]:
    """Return the migrations that are still to be applied, in order.

    Raises:
        SchemaTooNewError: the ledger knows versions that the folder does not.
        MigrationError: the ledger has a gap, or an applied file was edited, renamed or replaced since.

    """
    if len(applied) > len(migrations):
        raise SchemaTooNewError(
            "migrate",
            target,
            f"has schema {applied[-1].version}, this release knows {len(migrations)}",
            hint="upgrade aragora-persist",
        )
    for row, migration in zip(applied, migrations, strict=False):
        if row.version != migration.version:
            raise MigrationError("migrate", target, f"its ledger has no version {migration.version:03d}")
        if (row.name, row.checksum) != (migration.name, migration.checksum):
            raise MigrationError(
                "migrate",
                target,
                f"{row.name} was applied, and its file is another one now ({migration.name})",
                hint="put the file back as it was, and make the change in a new migration",
            )
    return tuple(migrations[len(applied) :])


def to_undo(
    migrations: Sequence[Migration], applied: Sequence[Applied], to: int | None, target: object
) -> tuple[Migration, ...]:
    """Return the migrations to undo, the newest first; ``to`` None is one step back.

    Raises:
        InvalidValueError: ``to`` is not below the present version, or there is nothing to undo.

    """
    pending(migrations, applied, target)
    present = len(applied)
    goal = present - 1 if to is None else to
    if not 0 <= goal < present:
        raise InvalidValueError(
            "roll back", target, f"version {goal} is not below the present version {present}, or not a version"
        )
    return tuple(reversed(migrations[goal:present]))
