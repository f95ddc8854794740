"""Connections to a project's database, and what its errors mean. The URL holds a password: it is in no error.

Everything runs through a transaction pooler too: no prepared statements, no state that outlives a transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import (
    AccessDeniedError,
    InvalidValueError,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
)
from aragora_persist.storage.postgresql.addresses import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import psycopg

    from aragora_persist.errors import PersistError
    from aragora_persist.settings import Secret, Settings

NOT_THERE = (UnreachableError, AccessDeniedError, NotFoundError)
"""What ``connected`` raises where a database may be there a moment later: started, or with another password."""

_CONNECT = "connect to the database"
_VARIABLE = "SUPABASE_DB_URL"
_TIMEOUT_S = 10
_DENIED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "sasl",
    "tenant or user not found",
    "wrong password",
)
_URL_HINT = (
    "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, as the project's page shows it under Connect; in the password "
    "write %40 for @, %2F for /, %3F for ?, %23 for #"
)
_POOLER_HINT = (
    "the direct host of a project has an IPv6 address only: use the URL of the session or transaction pooler, or a "
    "network with IPv6"
)


def database_url(settings: Settings, operation: str) -> Secret:
    """Return the address of the project's database.

    Raises:
        InvalidValueError: there is none.

    """
    if settings.supabase_db_url is None:
        hint = f"the URL of the project's database, from its page under Connect, or {_VARIABLE}_FILE with it in"
        raise InvalidValueError(operation, _VARIABLE, "is not set", hint=hint)
    return settings.supabase_db_url


@contextmanager
def connected(db_url: Secret) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """Open a connection, with the name of its database as errors say it: `host:port/database`.

    Raises:
        InvalidValueError: it is no URL of a PostgreSQL database.
        AccessDeniedError: user or password are wrong.
        NotFoundError: the server has no such database.
        UnreachableError: no server answers, or the connection broke.
        UnsupportedError: psycopg is not installed.

    """
    psycopg = _psycopg()
    target = database_of(db_url)
    with _connect(db_url, target) as connection:
        try:
            yield connection, target
        except psycopg.OperationalError as error:
            if not connection.broken:
                raise
            problem = f"the connection broke: {_first_line(error)}"
            raise UnreachableError(_CONNECT, target, problem, hint="run it again") from error


def _connect(db_url: Secret, target: str) -> psycopg.Connection[Any]:
    import psycopg  # noqa: PLC0415 - as in _psycopg, which was asked before

    try:
        return psycopg.connect(
            db_url.reveal(),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=_TIMEOUT_S,
            # A server that is gone without a word is noticed within a minute, also while it computes.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            application_name="aragora-persist",
        )
    except psycopg.OperationalError as error:
        refusal = _refusal(error, target)
    raise refusal  # without its cause, whose frames hold the password


def database_of(db_url: Secret) -> str:
    """Return the database that a URL names, `host:port/database`, without asking anybody.

    Raises:
        InvalidValueError: it is no URL of a PostgreSQL database.

    """
    _psycopg()
    place = place_of(db_url)
    if not place:
        raise InvalidValueError(_CONNECT, _VARIABLE, "is not a URL of a PostgreSQL database", hint=_URL_HINT)
    return place


def _psycopg() -> ModuleType:
    try:
        import psycopg  # noqa: PLC0415 - an extra; the command line must start without it
    except ImportError as error:
        raise UnsupportedError(
            _CONNECT, "psycopg", "is not installed", hint="pip install 'aragora-persist[supabase]'"
        ) from error
    return psycopg


def _refusal(error: psycopg.OperationalError, target: str) -> PersistError:
    text = str(error).lower()
    problem = _first_line(error)
    if any(sign in text for sign in _DENIED):
        return AccessDeniedError(_CONNECT, target, problem, hint=f"correct user and password in {_VARIABLE}")
    if "does not exist" in text and 'database "' in text:
        return NotFoundError(_CONNECT, target, problem, hint=f"correct the database in {_VARIABLE}")
    direct = target.startswith("db.") and ".supabase." in target
    return UnreachableError(
        _CONNECT, target, problem, hint=_POOLER_HINT if direct else "is it running, and the URL right?"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
