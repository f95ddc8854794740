"""What the files of backups are called. Pure.

``<database>_<YYYYmmdd_HHMMSS>[_N]`` is the id, in UTC; ``.db`` after it is a database file, ``.dump`` a dump of the
Supabase half; then ``.zst`` where it is compressed, ``.age`` where it is encrypted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

SUPABASE = "supabase"
"""The name of the cloud half, which is no database of the registry."""
DATABASE_FILE = ".db"
DUMP_FILE = ".dump"
COMPRESSED = ".zst"
ENCRYPTED = ".age"
_TWO = "([0-9]{2})"
_ID = re.compile(rf"([a-z]+)_([0-9]{{4}}){_TWO}{_TWO}_{_TWO}{_TWO}{_TWO}(?:_([0-9]+))?")
_ANY_ID = re.compile(r"([a-z]+)_[0-9_]+")


class Name(NamedTuple):
    """What an id says: of what the backup is, of which second, and which one of this second it is."""

    database: str
    moment: datetime
    number: int


def base_of(database: str, moment: datetime) -> str:
    """Return the id of the first backup of a second."""
    return f"{database}_{moment.astimezone(UTC):%Y%m%d_%H%M%S}"


def id_of(file: str) -> str:
    """Return the name of a file without its endings, or '' where these are not those of a backup."""
    plain = file.removesuffix(ENCRYPTED).removesuffix(COMPRESSED)
    return next((plain.removesuffix(kind) for kind in (DATABASE_FILE, DUMP_FILE) if plain.endswith(kind)), "")


def is_name(id_: str, database: str) -> bool:
    """Say whether this could be the id of a backup of this database: never a path to anywhere else."""
    match = _ANY_ID.fullmatch(id_)
    return match is not None and match[1] == database


def is_packed(file: str) -> bool:
    """Say whether a file of this name must be unpacked before it can be read."""
    return file.endswith((COMPRESSED, ENCRYPTED))


def is_encrypted(file: str) -> bool:
    """Say whether an identity is needed to read a file of this name."""
    return file.endswith(ENCRYPTED)


def read_id(id_: str) -> Name | None:
    """Return what an id says, or None where it is not of the form of an id."""
    if not (match := _ID.fullmatch(id_)):
        return None
    database, *parts, number = match.groups()
    year, month, day, hour, minute, second = map(int, parts)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # such as the 40th of a month
        return None
    return Name(database, moment, int(number or 1))
