"""What may be told of a PostgreSQL server's address, whose password may not.

Pure. Leaves out: connecting, and what an address must look like beyond that, which each caller has its own hint for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aragora_persist.settings import Secret

# A password with one of /?#@ in it as it is would be read as host, port or database, and be told in errors.
_URL = re.compile(r"postgres(?:ql)?://(?:[^@/?#]*@)?[^@]*")
_PORTS = re.compile(r"[0-9]+(,[0-9]+)*")


def place_of(address: Secret) -> str:
    """Return ``host:port/database``, or '' for what is no URL; it raises nothing: its frame holds the password.

    ``psycopg`` must be installed.
    """
    from psycopg import ProgrammingError  # noqa: PLC0415 - an extra; the command line must start without it
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - as above

    try:
        parts = conninfo_to_dict(address.reveal()) if _URL.fullmatch(address.reveal()) else {}
    except (ProgrammingError, UnicodeError):
        return ""  # their texts quote the URL
    port = str(parts.get("port", 5432))
    if not parts or not _PORTS.fullmatch(port):
        return ""
    return f"{parts.get('host', 'localhost')}:{port}/{parts.get('dbname', '')}"
