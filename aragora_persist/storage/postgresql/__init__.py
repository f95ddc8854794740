"""PostgreSQL as a backend of the port, for a tier that has outgrown one machine; ``open_postgresql`` is the door.

Each of the tier's databases is a schema of its own (``aragora_users``), so that one server holds them all. Nothing here
loads the driver before a database is opened: it comes with the extra ``postgresql``. Leaves out: moving what stands in
files over, and transaction poolers (a connection keeps its search path and its prepared statements).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from aragora_persist.databases import find_database
from aragora_persist.errors import UnsupportedError
from aragora_persist.settings import Secret, Settings

if TYPE_CHECKING:
    from aragora_persist.storage.postgresql.backend import PostgresqlDatabase


def open_postgresql(
    database: str,
    address: Secret | str,
    *,
    migrate: bool = False,
    settings: Settings | None = None,
    schema: str | None = None,
) -> PostgresqlDatabase:
    """Open the database of this name (``"users"``) on a server: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.

    It lives in the PostgreSQL schema ``schema``, by default ``aragora_<name>``; one that is missing is made, whoever of
    several openers comes first. The address is kept out of every error and log.

    Raises:
        UnsupportedError: the extra is not installed.
        InvalidValueError: the address is no such URL, the schema no name, or there is no database of this name.
        UnreachableError: no server answers there.
        AccessDeniedError: user or password are wrong, or the user may not make the schema.
        NotFoundError: the server has no such database.
        SchemaOutdatedError: the schema is older than this release's, and ``migrate`` is False.
        MigrationError: a migration was refused or failed; the schema is as it was.
        SchemaTooNewError: it is newer, and says that this release cannot work with it.

    """
    if find_spec("psycopg") is None:
        hint = "pip install 'aragora-persist[postgresql]'"
        raise UnsupportedError("open database", "psycopg", "is not installed", hint=hint)
    from aragora_persist.storage.postgresql.backend import open_database  # noqa: PLC0415 - loads the driver

    find_database(database)
    secret = address if isinstance(address, Secret) else Secret(address)
    settings = settings or Settings.from_env()
    return open_database(database, secret, schema or f"aragora_{database}", settings, migrate=migrate)
