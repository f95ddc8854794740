"""Opening a database on PostgreSQL: what is decided, and refused, before a server is asked."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import psycopg
import pytest

from aragora_persist.errors import (
    AccessDeniedError,
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    MisuseError,
    PersistError,
    StorageError,
    UnreachableError,
)
from aragora_persist.settings import Secret
from aragora_persist.storage.postgresql import open_postgresql
from aragora_persist.storage.postgresql.connecting import milliseconds
from aragora_persist.storage.postgresql.faults import translate

ROOT = Path(__file__).parents[2]
ADDRESS = "postgresql://user:hidden@localhost/db"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "hidden",
        "host=localhost password=hidden",
        "postgresql://user:hid@den@localhost/db",
        "postgresql://user:hid/den@localhost/db",
        "postgresql://user:hidden@localhost:hidden/db",
        "postgresql://user:hidden@localhost/db?hidden=1",
        "mysql://user:hidden@localhost/db",
        "postgresql://user:hidden\ud800@localhost/db",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_shown(address: str) -> None:
    """A part of a password that is not escaped would be read as a host or a database, and be told as such."""
    with pytest.raises(InvalidValueError, match="not a URL") as refused:
        open_postgresql("users", Secret(address))
    shown = "".join(traceback.TracebackException.from_exception(refused.value, capture_locals=True).format())
    assert "hidden" not in shown.replace(repr(address)[1:-1] or "-", "")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("schema", ["A", "a b", "a;b", "1a", '"', "a" * 64, "a.b", "-c x"])
def test_a_schema_that_is_no_plain_name_is_refused(schema: str) -> None:
    """It becomes part of statements and of the connection's options."""
    with pytest.raises(InvalidValueError) as refused:
        open_postgresql("users", ADDRESS, schema=schema)
    assert refused.value.target == "schema"


def test_an_unknown_database_is_refused() -> None:
    """With the list of those that exist."""
    with pytest.raises(InvalidValueError) as refused:
        open_postgresql("nothing", ADDRESS)
    assert "users" in refused.value.hint


def run(code: str, *flags: str) -> str:
    """Run Python with the package alone on its path."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_driver_loads_only_when_a_database_is_opened() -> None:
    """Whoever keeps files pays nothing for this backend."""
    loaded = run("import sys, aragora_persist.storage.postgresql; print('psycopg' in sys.modules)")
    assert loaded == "False"


def test_without_the_extra_it_says_what_to_install() -> None:
    """Not an ImportError from somewhere inside."""
    code = f"""
from aragora_persist.errors import UnsupportedError
from aragora_persist.storage.postgresql import open_postgresql
try:
    open_postgresql("users", {ADDRESS!r})
except UnsupportedError as error:
    print(error.hint)
"""
    assert run(code, "-S") == "pip install 'aragora-persist[postgresql]'"


@pytest.mark.parametrize(
    ("timeout_s", "expected"), [(0.0, 1), (-1.0, 1), (0.25, 250), (30.0, 30_000), (1e300, 2**31 - 1)]
)
def test_a_timeout_is_never_none_at_all(timeout_s: float, expected: int) -> None:
    """To PostgreSQL, 0 means for ever."""
    assert milliseconds(timeout_s) == expected


@pytest.mark.parametrize(
    ("state", "leaf"),
    [
        ("23505", ConflictError),
        ("23503", ConflictError),
        ("22003", InvalidValueError),
        ("22P02", InvalidValueError),
        ("08P01", InvalidValueError),
        ("08006", UnreachableError),
        ("57P01", UnreachableError),
        ("57014", BusyError),
        ("55P03", BusyError),
        ("40001", BusyError),
        ("40P01", BusyError),
        ("25006", StorageError),
        ("25P02", MisuseError),
        ("28P01", AccessDeniedError),
        ("42501", AccessDeniedError),
        ("42P01", StorageError),
        ("53100", StorageError),
        ("53300", UnreachableError),
        ("XX001", DamagedError),
        ("XX000", StorageError),
    ],
)
def test_the_state_decides_the_leaf(state: str, leaf: type[PersistError]) -> None:
    """What the server's words are makes no difference."""
    error = psycopg.errors.lookup(state)("words with a hidden value")
    translated = translate(error, "user.create", "server/db")
    assert type(translated) is leaf
    assert (translated.operation, translated.target) == ("user.create", "server/db")
    assert "hidden" not in str(translated)
    assert state in translated.problem


@pytest.mark.parametrize(
    ("error", "leaf"),
    [
        (OverflowError("too large"), InvalidValueError),
        ("\udc80", InvalidValueError),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), InvalidValueError),
        (psycopg.ProgrammingError("cannot adapt type 'object'"), InvalidValueError),
        (psycopg.OperationalError("server closed the connection unexpectedly"), UnreachableError),
        (psycopg.InternalError("?"), StorageError),
    ],
)
def test_what_the_driver_itself_says(error: BaseException | str, leaf: type[PersistError]) -> None:
    """A text that is not Unicode is not quoted."""
    if isinstance(error, str):
        with pytest.raises(UnicodeEncodeError) as raised:
            f"hidden{error}".encode()
        error = raised.value
    translated = translate(error, "user.create", "server/db")
    assert type(translated) is leaf
    assert "hidden" not in str(translated)
