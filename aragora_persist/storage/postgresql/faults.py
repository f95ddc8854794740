"""Where the errors of ``psycopg`` become ours: once, at the boundary.

The SQLSTATE decides, not the text. Of the server's words only those are taken that hold no value of a row: its DETAIL
shows them, and so does the text of an error about a value. So these errors are raised ``from None``.
"""

from __future__ import annotations

import re

import psycopg

from aragora_persist.errors import (
    AccessDeniedError,
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    MisuseError,
    NotFoundError,
    PersistError,
    StorageError,
    UnreachableError,
)

DRIVER_ERRORS = (psycopg.Error, OverflowError, UnicodeError)
"""All that ``psycopg`` raises for a statement or its parameters (an int of more than 64 bits, a lone surrogate)."""

_BUSY_HINT = "look for a long-running query or transaction, or raise DB_TIMEOUT"
_FAILED_HINT = "put what may fail into nested()"
_LOST = (UnreachableError, "nothing was written; is the server running?")

_LEAVES: dict[str, tuple[type[PersistError], str]] = {
    # By whole code where a class of codes holds several kinds, else by its first two characters.
    "08P01": (InvalidValueError, "a value for each ? of the statement"),
    "08": _LOST,
    "22": (InvalidValueError, ""),
    "23": (ConflictError, ""),
    "25006": (StorageError, "this view is for reading only"),
    "25P02": (MisuseError, _FAILED_HINT),
    "25P03": _LOST,
    "28": (AccessDeniedError, "correct user and password"),
    "3D": (NotFoundError, "correct the name of the database"),
    "40": (BusyError, "try again"),
    "42P02": (InvalidValueError, "a value for each ? of the statement"),
    "42501": (AccessDeniedError, "grant this user the right"),
    "53100": (StorageError, "free some space on the server"),
    "53300": (UnreachableError, "the server has no connection to spare: raise its max_connections"),
    "54": (InvalidValueError, ""),
    "55P03": (BusyError, _BUSY_HINT),
    "57014": (BusyError, _BUSY_HINT),
    "57P": _LOST,
    "XX001": (DamagedError, "restore a backup"),
    "XX002": (DamagedError, "rebuild the index: REINDEX"),
}
# The server refuses a connection before it has a SQLSTATE to send: libpq passes on the text alone.
_DENIED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "not permitted to log in")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def translate(error: BaseException, operation: str, target: object) -> PersistError:
    """Return the error of this package that says what ``error`` of the driver says; raise it ``from None``."""
    state = getattr(error, "sqlstate", None) or ""
    if not state:
        return _without_state(error, operation, target)
    leaf, hint = next((_LEAVES[key] for key in (state, state[:3], state[:2]) if key in _LEAVES), (StorageError, ""))
    return leaf(operation, target, _words(error, state), hint=hint)


def refusal(error: psycopg.OperationalError, operation: str, target: str) -> PersistError:
    """Return why a connection was not had; raise it without its cause, whose frames hold the password."""
    text, problem = str(error).lower(), _first_line(error)
    if any(sign in text for sign in _DENIED):
        return AccessDeniedError(operation, target, problem, hint="correct user and password in the address")
    if 'database "' in text and "does not exist" in text:
        return NotFoundError(operation, target, problem, hint="correct the name of the database in the address")
    return UnreachableError(operation, target, problem, hint="is the server running, and the address right?")


def _without_state(error: BaseException, operation: str, target: object) -> PersistError:
    """Return the error for what the driver itself refused, or for a connection that broke."""
    if isinstance(error, psycopg.OperationalError):
        leaf, hint = _LOST
        return leaf(operation, target, f"the connection broke: {_first_line(error)}", hint=hint)
    caller = isinstance(error, psycopg.DataError | psycopg.ProgrammingError | OverflowError | UnicodeError)
    # A UnicodeError's text shows the whole value.
    problem = "a text that is not Unicode" if isinstance(error, UnicodeError) else _first_line(error)
    return (InvalidValueError if caller else StorageError)(operation, target, problem)


def _words(error: BaseException, state: str) -> str:
    """Return the server's words, or the name of the state where those may quote a value."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary is None or state.startswith("22"):
        return f"{_WORDS.sub(' ', type(error).__name__).lower()} (SQLSTATE {state})"
    return str(primary)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
