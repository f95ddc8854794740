"""How a connection to the server is opened. The address holds a password: it is in no error.

Leaves out: who uses it when (``pool``), and transactions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.postgresql.addresses import place_of
from aragora_persist.storage.postgresql.faults import refusal
from aragora_persist.storage.postgresql.values import adapt

if TYPE_CHECKING:
    from aragora_persist.settings import Secret

    Connection = psycopg.Connection[tuple[Any, ...]]

_LONGEST_CONNECT_S = 10
_PROBED_AFTER_S = 5
_LONGEST_TIMEOUT_MS = 2**31 - 1
_URL_HINT = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE; in the password write %40 for @, %2F for /, %3F for ?"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Server:
    """Where a database is: an address, and the schema there."""

    def __init__(self, address: Secret, schema: str, timeout_s: float) -> None:
        if not _NAME.fullmatch(schema):
            raise InvalidValueError(
                "open database", "schema", "is not a name of a-z, 0-9 and _, of at most 63 characters"
            )
        place = place_of(address)
        if not place:
            raise InvalidValueError("open database", "address", "is not a URL of a PostgreSQL database", hint=_URL_HINT)
        self.schema = schema
        self.timeout_s = timeout_s
        self.target = f"{place}/{schema}"
        self._address = address

    def connect(self, operation: str) -> Connection:
        """Open a connection.

        Raises:
            AccessDeniedError: user or password are wrong.
            NotFoundError: the server has no such database.
            UnreachableError: no server answers.

        """
        try:
            connection = psycopg.Connection.connect(self._address.reveal(), **self._parameters())
        except psycopg.OperationalError as error:
            refused = refusal(error, operation, self.target)
        else:
            adapt(connection)
            return connection
        raise refused  # without its cause, whose frames hold the password

    def _parameters(self) -> dict[str, Any]:
        options = {
            "search_path": self.schema,
            "default_transaction_read_only": "on",  # what writes says so
            "lock_timeout": milliseconds(self.timeout_s),
            # A client that vanished must not keep the write lock for hours: it is looked for after half a minute.
            "tcp_keepalives_idle": 30,
            "tcp_keepalives_interval": 10,
            "tcp_keepalives_count": 3,
        }
        return {
            "autocommit": True,
            "cursor_factory": psycopg.RawCursor,
            "connect_timeout": int(min(max(2, self.timeout_s), _LONGEST_CONNECT_S)),  # libpq's least is 2
            # A machine that is gone is noticed while an answer is waited for, too; a server that only hangs is not.
            "tcp_user_timeout": milliseconds(self.timeout_s),
            "keepalives_idle": _PROBED_AFTER_S,
            "keepalives_interval": _PROBED_AFTER_S,
            "application_name": f"aragora-persist {self.schema}",
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        }


def milliseconds(timeout_s: float) -> int:
    """Return PostgreSQL's form of a timeout: at least one, since none at all would be for ever."""
    return int(min(max(1.0, timeout_s * 1000), _LONGEST_TIMEOUT_MS))
