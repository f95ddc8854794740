"""The files ``NNN_description.py`` of one database: reading them, and running one.

Other files in the folder are none of ours, and neither are an editor's (``003_x.py~``, ``.003_x.py.swp``). But a file
that somebody may take for a migration and that is not named like one is refused: it would silently never be applied.
Leaves out: making a new one (``creating``), and what is applied where.
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

_READ = "read migrations"
_FILE_NAME = re.compile(r"[0-9]{3}_[a-z0-9_]+\.py")
_NEARLY = re.compile(r"_*\d.*\.py", re.IGNORECASE)
_RELEASE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_CODE_RUNS_LATER = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR of `inspect`


def folder_of(database: str) -> Path:
    """Return where this database's migrations are."""
    return Path(__file__).parent / find_database(database).name


def latest_version(database: str) -> int:
    """Return the newest version that this release knows, from the file names alone."""
    return max((int(path.name[:3]) for path in _files(folder_of(database))), default=0)


def load(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of ``folder`` in order.

    Raises:
        InvalidValueError: there is no such folder.
        MigrationError: a version is there twice or missing, or a file is not named as a migration is.
        StorageError: a file cannot be read.

    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL; opening a current database needs only the file names

    migrations = []
    for path in _files(folder):
        try:
            source = path.read_bytes()
        except OSError as error:
            raise StorageError(_READ, path, error.strerror or str(error)) from error
        checksum = hashlib.sha256(source).hexdigest()
        migrations.append(Migration(int(path.name[:3]), path.stem, checksum, path, source))
    check_sequence(migrations, folder)
    return tuple(migrations)


class Body:
    """What a migration's file defines.

    Raises:
        MigrationError: the file is not Python, or fails when it is loaded; the line is named.

    """

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._namespace: dict[str, object] = {"__name__": migration.name, "__file__": str(migration.path)}
        try:
            # Not an import: bytecode cached from an earlier version of the file could run in place of this source.
            exec(compile(migration.source, str(migration.path), "exec"), self._namespace)  # noqa: S102 - see above
        except Exception as error:
            place = f"{migration.path}, line {_line_of(error, str(migration.path))}"
            text = error.msg if isinstance(error, SyntaxError) else str(error)
            raise MigrationError(_READ, place, f"{type(error).__name__}: {text}") from error

    def step(self, name: Literal["upgrade", "downgrade"]) -> Callable[[sqlite3.Connection], object]:
        """Return the function of this name.

        Raises:
            MigrationError: the file has none, or it is one whose code does not run when it is called.

        """
        function = self.constant(name)
        if not callable(function):
            raise MigrationError(name, self._migration.path, f"has no function {name}(conn)")
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CODE_RUNS_LATER:
            # Called, it would do nothing, and be written into the ledger as done.
            place = f"{self._migration.path}, line {code.co_firstlineno}"
            raise MigrationError(name, place, f"{name} is async or a generator", hint="make it a plain function")
        return function

    def constant(self, name: str) -> object:
        """Return what the file calls so; None where it has no such name."""
        return self._namespace.get(name)

    @property
    def min_reader(self) -> str | None:
        """The oldest release that can work with the new schema, where the file says so with ``MIN_READER``.

        Raises:
            MigrationError: it says something that is not a release.

        """
        value = self.constant("MIN_READER")
        if value is None:
            return None
        if not isinstance(value, str) or not _RELEASE.fullmatch(value):
            raise MigrationError("migrate", self._migration.name, f"MIN_READER is {value!r}", hint='such as "1.2.0"')
        return value


def _files(folder: Path) -> list[Path]:
    """Return the migrations' files in the order of their names."""
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidValueError(_READ, folder, "is not a folder") from None
    except OSError as error:
        raise StorageError(_READ, folder, error.strerror or str(error)) from error
    for path in files:
        if _NEARLY.fullmatch(path.name) and not _FILE_NAME.fullmatch(path.name):
            raise MigrationError(
                _READ,
                path,
                "is not named as a migration is, and would never be applied",
                hint="three digits, _, and a-z 0-9 _: such as 003_add_lockout.py; or move it elsewhere",
            )
    return [path for path in files if _FILE_NAME.fullmatch(path.name)]


def _line_of(error: Exception, file: str) -> int | str:
    """Return the line of ``file`` that an error came from."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or "?"
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
