"""The files ``NNN_description.py`` of one database: reading them, running one, making a new one.

Other files in the folder are none of ours, and neither are an editor's (``003_x.py~``, ``.003_x.py.swp``). But a file
that somebody may take for a migration and that is not named like one is refused: it would silently never be applied.
Leaves out: what is applied where.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aragora_persist.databases import find_database
from aragora_persist.errors import InvalidValueError, MigrationError, StorageError, UnsupportedError
from aragora_persist.migrations.plan import Migration, check_sequence

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from datetime import datetime

_READ = "read migrations"
_CREATE = "create migration"
_FILE_NAME = re.compile(r"[0-9]{3}_[a-z0-9_]+\.py")
_NEARLY = re.compile(r"_*\d.*\.py", re.IGNORECASE)
_RELEASE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_LONGEST_NAME = 60
_WIDEST_TITLE = 100  # with "Migration NNN: " it is a line of this project
_LAST_VERSION = 999
_LOCK_TIMEOUT_S = 10.0
_CODE_RUNS_LATER = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR of `inspect`
_TYPEWRITTEN = {"Pd": "-", "Pi": "'", "Pf": "'", "Sk": "'"}  # by category: dashes, quotation marks, accents alone
_ENDS_A_DOCSTRING = str.maketrans(dict.fromkeys('"\\', "'"))

_TEMPLATE = '''"""
Migration {version:03d}: {title}

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
        InvalidValueError: there is no such folder.
        MigrationError: a version is there twice or missing, or a file is not named as a migration is.
        StorageError: a file cannot be read.

    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL; opening a current database needs only the file names

    migrations = []
    for path in _files(folder):
        with _as_ours(_READ, path):
            source = path.read_bytes()
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


def create(folder: Path, description: str, now: datetime) -> Path:
    """Write the next migration's file, to be filled in, and return its path.

    Of many that create at once, each gets a number of its own; the file is there as a whole or not at all.

    Raises:
        InvalidValueError: the description names no file, or is too long for a line; or there is no such folder.
        UnsupportedError: the folder belongs to an installed package, which the next installation replaces.
        MigrationError: what the folder holds is no sequence of migrations.
        BusyError: others held the folder for ten seconds.
        StorageError: the folder cannot be written.

    """
    from aragora_persist.backup import files  # noqa: PLC0415 - opening a database creates no migrations

    title, slug = _title(description), _slug(description)
    refuse_installed(folder)
    load(folder)  # before the lock, for the better error where there is no folder
    with _as_ours(_CREATE, folder), files.locked(folder, timeout_s=_LOCK_TIMEOUT_S, operation=_CREATE):
        version = len(load(folder)) + 1
        if version > _LAST_VERSION:
            raise InvalidValueError(_CREATE, folder, "has 999 migrations, and numbers have three digits")
        path = folder / f"{version:03d}_{slug}.py"
        created = now.strftime("%Y-%m-%dT%H:%M:%S")
        content = _TEMPLATE.format(version=version, title=title, created=created).encode()
        files.clean_partials(folder)
        # Whole when it gets its name: one without its functions would keep the database from opening.
        with files.partial(path) as partial:
            partial.path.write_bytes(content)
            partial.path.chmod(0o644)  # as source code is, not private as what the library writes otherwise
            partial.publish(path, operation=_CREATE)
    return path


def refuse_installed(folder: Path) -> None:
    """Refuse a folder inside of an installed package: site-packages, a library volume, anything but a checkout.

    Raises:
        UnsupportedError: it is one.

    """
    place, package = folder.resolve(), Path(__file__).resolve().parents[1]
    ours = place.is_relative_to(package) and not _is_checkout(package.parent)
    if ours or {"site-packages", "dist-packages"} & set(place.parts):
        raise UnsupportedError(
            _CREATE,
            folder,
            "belongs to an installed package, and the next installation would take the file away",
            hint="call it in a checkout of the source, or name a folder of your own with --dir",
        )


def _is_checkout(root: Path) -> bool:
    try:
        return 'name = "aragora-persist"' in (root / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _title(description: str) -> str:
    """Return the description as one printable line that can stand between the quotes of a docstring."""
    import unicodedata  # noqa: PLC0415 - opening a database creates no migrations

    text = description.encode("utf-8", "replace").decode()
    text = "".join(_TYPEWRITTEN.get(unicodedata.category(sign), sign) for sign in text)
    text = unicodedata.normalize("NFKC", text).translate(_ENDS_A_DOCSTRING)
    title = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    width = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in title)
    if width > _WIDEST_TITLE:
        problem = f"takes {width} columns, and the line of a title has {_WIDEST_TITLE}"
        raise InvalidValueError(_CREATE, title, problem, hint="say the rest in a comment in the file")
    return title


def _slug(description: str) -> str:
    """Return the description as a part of a file name: accents are left out, everything else becomes ``_``."""
    import unicodedata  # noqa: PLC0415 - opening a database creates no migrations

    plain = "".join(
        sign for sign in unicodedata.normalize("NFKD", description.casefold()) if not unicodedata.combining(sign)
    )
    slug = re.sub(r"[^a-z0-9]+", "_", plain)[:_LONGEST_NAME].strip("_")
    if not slug:
        raise InvalidValueError(_CREATE, repr(description), "has no letter or digit a-z, 0-9 to name a file with")
    return slug


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


@contextmanager
def _as_ours(operation: str, target: Path) -> Iterator[None]:
    """Translate errors of the file system."""
    try:
        yield
    except OSError as error:
        raise StorageError(operation, target, error.strerror or str(error)) from error
