"""Making the next migration's file, to be filled in: ``--create``. Leaves out: reading the files (``folder``)."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.backup import files
from aragora_persist.errors import InvalidValueError, StorageError, UnsupportedError
from aragora_persist.migrations.folder import load

if TYPE_CHECKING:
    from datetime import datetime

_CREATE = "create migration"
_LONGEST_NAME = 60
_WIDEST_TITLE = 100  # with "Migration NNN: " it is a line of this project
_LAST_VERSION = 999
_LOCK_TIMEOUT_S = 10.0
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
    title, slug = names_of(description)
    _refuse_installed(folder)
    load(folder)  # before the lock, for the better error where there is no folder
    try:
        with files.locked(folder, timeout_s=_LOCK_TIMEOUT_S, operation=_CREATE):
            version = len(load(folder)) + 1
            if version > _LAST_VERSION:
                raise InvalidValueError(_CREATE, folder, "has 999 migrations, and numbers have three digits")
            path = folder / f"{version:03d}_{slug}.py"
            created = now.strftime("%Y-%m-%dT%H:%M:%S")
            files.clean_partials(folder)
            # Whole when it gets its name: one without its functions would keep the database from opening.
            with files.partial(path) as partial:
                partial.path.write_bytes(_TEMPLATE.format(version=version, title=title, created=created).encode())
                partial.path.chmod(0o644)  # as source code is, not private as what the library writes otherwise
                partial.publish(path, operation=_CREATE)
    except OSError as error:
        raise StorageError(_CREATE, folder, error.strerror or str(error)) from error
    return path


def _refuse_installed(folder: Path) -> None:
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


def names_of(description: str) -> tuple[str, str]:
    """Return the title and the part of a file's name that a description gives.

    Raises:
        InvalidValueError: it names no file, or is too long for a line.

    """
    return _title(description), _slug(description)


def _title(description: str) -> str:
    """Return the description as one printable line that can stand between the quotes of a docstring."""
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
    plain = "".join(
        sign for sign in unicodedata.normalize("NFKD", description.casefold()) if not unicodedata.combining(sign)
    )
    slug = re.sub(r"[^a-z0-9]+", "_", plain)[:_LONGEST_NAME].strip("_")
    if not slug:
        raise InvalidValueError(_CREATE, repr(description), "has no letter or digit a-z, 0-9 to name a file with")
    return slug
