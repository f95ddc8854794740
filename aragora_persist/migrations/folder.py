"""The files ``NNN_description.py`` of one database: reading them, running one, making a new one.

Leaves out: what is applied where.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aragora_persist.databases import find_database
from aragora_persist.errors import InvalidValueError, MigrationError, StorageError
from aragora_persist.migrations.plan import Migration, check_sequence

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import datetime

_FILE_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.py")
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_LONGEST_NAME = 60

_TEMPLATE = '''"""
Migration {version:03d}: {description}

Created: {created}
"""

import sqlite3


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration; without it, or when it does not restore the schema, a rollback is refused."""
'''


def folder_of(database: str) -> Path:
    """Return where this database's migrations are."""
    return Path(__file__).parent / find_database(database).name


def latest_version(database: str) -> int:
    """Return the newest version that this release knows, from the file names alone."""
    return max((int(path.name[:3]) for path in _files(folder_of(database))), default=0)


def load(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of ``folder`` in order.

    Raises:
        MigrationError: a version is there twice or missing.

    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL; opening a current database needs only the file names

    migrations = []
    for path in _files(folder):
        source = path.read_bytes()
        checksum = hashlib.sha256(source).hexdigest()
        migrations.append(Migration(int(path.name[:3]), path.stem, checksum, path, source))
    check_sequence(migrations, folder)
    return tuple(migrations)


class Body:
    """What a migration's file defines."""

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._namespace: dict[str, object] = {"__name__": migration.name, "__file__": str(migration.path)}
        # Not an import: bytecode cached from an earlier version of the file could run in place of the checked source.
        exec(compile(migration.source, str(migration.path), "exec"), self._namespace)  # noqa: S102 - see above

    def step(self, name: Literal["upgrade", "downgrade"]) -> Callable[[sqlite3.Connection], object]:
        """Return the function of this name.

        Raises:
            MigrationError: the file has none.

        """
        function = self._namespace.get(name)
        if not callable(function):
            raise MigrationError(name, self._migration.name, f"has no function {name}(conn)")
        return function

    @property
    def min_reader(self) -> str | None:
        """The oldest release that can work with the new schema, where the file says so with ``MIN_READER``.

        Raises:
            MigrationError: it says something that is not a release.

        """
        value = self._namespace.get("MIN_READER")
        if value is None:
            return None
        if not isinstance(value, str) or not _RELEASE.fullmatch(value):
            raise MigrationError("migrate", self._migration.name, f"MIN_READER is {value!r}", hint='such as "1.2.0"')
        return value


def create(folder: Path, description: str, now: datetime) -> Path:
    """Write the next migration's file, to be filled in, and return its path.

    Raises:
        InvalidValueError: the description has no letter or digit to name a file with.
        StorageError: the folder cannot be written.

    """
    text = " ".join(re.sub(r'[\\"]', "'", description).split())
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower())[:_LONGEST_NAME].strip("_")
    if not slug:
        raise InvalidValueError("create migration", repr(description), "has no letter or digit a-z, 0-9")
    version = len(load(folder)) + 1
    path = folder / f"{version:03d}_{slug}.py"
    created = now.strftime("%Y-%m-%dT%H:%M:%S")
    # Made before the file is: one without its functions would keep the database from opening.
    content = _TEMPLATE.format(version=version, description=text, created=created).encode("utf-8", "replace")
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise StorageError("create migration", path, error.strerror or str(error)) from error
    return path


def _files(folder: Path) -> list[Path]:
    """Return the migrations' files in the order of their names; other files in the folder are none of ours."""
    return sorted(path for path in folder.iterdir() if _FILE_NAME.fullmatch(path.name))
