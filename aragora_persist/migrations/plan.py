"""What is to be done to bring a schema to a version: pure decisions over what the folder holds and the ledger says.

Leaves out: reading either (``folder``, ``ledger``), and doing it (``apply``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import InvalidValueError, MigrationError, SchemaTooNewError
from aragora_persist.version import VERSION, order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OPERATION = "migrate"


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
            version = min(migration.version, expected)
            wrong = (
                "is missing" if version == expected else "is there twice" if version else "is not one: 001 is the first"
            )
            raise MigrationError(
                "read migrations", folder, f"version {version:03d} {wrong}", hint=f"see {migration.name}.py"
            )


def pending(migrations: Sequence[Migration], applied: Sequence[Applied], target: object) -> tuple[Migration, ...]:
    """Return the migrations that are still to be applied, in order.

    Raises:
        SchemaTooNewError: the ledger knows versions that the folder does not.
        MigrationError: the ledger has a gap, or an applied file was edited, renamed, renumbered or removed since.

    """
    for expected, row in enumerate(applied, start=1):
        if row.version != expected:
            problem = f"its ledger has no version {expected:03d}, but {row.name}"
            raise MigrationError(
                _OPERATION, target, problem, hint="restore a backup from before its ledger was changed"
            )
    for row, migration in zip(applied, migrations, strict=False):
        if (row.name, row.checksum) != (migration.name, migration.checksum):
            raise MigrationError(
                _OPERATION,
                target,
                _difference(row, migration, migrations),
                hint="put the file back as it was, and make the change in a new migration",
            )
    if len(applied) > len(migrations):
        raise _newer(applied, len(migrations), target)
    return tuple(migrations[len(applied) :])


def to_undo(
    migrations: Sequence[Migration], applied: Sequence[Applied], to: int | None, target: object
) -> tuple[Migration, ...]:
    """Return the migrations to undo, the newest first; ``to`` None is one step back.

    Raises:
        InvalidValueError: ``to`` is not below the present version, or there is nothing to undo.
        SchemaTooNewError: see ``pending``.
        MigrationError: see ``pending``.

    """
    pending(migrations, applied, target)
    present = len(applied)
    if not present:
        raise InvalidValueError("roll back", target, "is at version 0: there is nothing to undo")
    goal = present - 1 if to is None else to
    if not 0 <= goal < present:
        raise InvalidValueError(
            "roll back", target, f"version {goal} is not below the present version {present}, or not a version"
        )
    return tuple(reversed(migrations[goal:present]))


def owner(applied: Sequence[Applied], folders: Mapping[str, Sequence[Migration]]) -> str | None:
    """Return the database whose migrations the ledger tells of, by their content; None where it is none of them."""
    for database, migrations in folders.items():
        known = {migration.checksum for migration in migrations}
        if any(row.checksum in known for row in applied):
            return database
    return None


def _difference(row: Applied, here: Migration, migrations: Sequence[Migration]) -> str:
    """Say what became of the file that the row tells of, where another one has its number ``here``."""
    if row.name == here.name:
        return f"{row.name} was applied, and its file was edited since"
    same = next((one for one in migrations if one.checksum == row.checksum), None)
    if same is here:
        return f"{row.name} was applied, and its file is called {here.name} now"
    if same is not None:
        return f"{row.name} was applied, and its file is {same.name} now: the migrations were reordered"
    return f"{row.name} was applied, and its file is gone ({here.name} is in its place)"


def _newer(applied: Sequence[Applied], known: int, target: object) -> SchemaTooNewError:
    newest = applied[-1]
    unknown = ", ".join(row.name for row in applied[known:])
    problem = f"has schema {newest.version}, this release ({VERSION}) knows {known} and not {unknown}"
    hint = f"upgrade aragora-persist: release {newest.package_version} applied it"
    if order(newest.package_version) <= order(VERSION):
        hint = f"put the file back: release {newest.package_version} applied it, or upgrade aragora-persist"
    return SchemaTooNewError(_OPERATION, target, problem, hint=hint)
