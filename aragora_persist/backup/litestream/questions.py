"""What a running Litestream answers on its socket: when it shipped last, and what keeps it from it.

Leaves out: what follows from that (``shipping``).
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aragora_persist import times
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What Litestream says of one database."""

    shipped_at: datetime | None
    """When it last found everything shipped that it had taken over; None where it has not done so yet."""
    looked_at: datetime | None
    """When it last looked for new transactions."""
    problem: str
    """What kept it from taking over new transactions then, or ''."""


def ask(path: Path) -> dict[str, Answer]:
    """Return what Litestream says of each database, by the database's path; nothing where it does not answer."""
    try:
        shipping, looking = _get(path, "/list"), _get(path, "/debug/sync-status")
        looks = {one["path"]: one for one in looking["databases"]}
        return {one["path"]: _answer(one, looks.get(one["path"], {})) for one in shipping["databases"]}
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return {}


def _answer(shipping: dict[str, Any], look: dict[str, Any]) -> Answer:
    shipped_at, looked_at = (
        text and times.from_text(text) for text in (shipping.get("last_sync_at"), look.get("updated_at"))
    )
    return Answer(shipped_at or None, looked_at or None, redact(str(look.get("error") or "")))


def _get(path: Path, question: str) -> Any:  # noqa: ANN401 - whatever it answers, in JSON
    connection = http.client.HTTPConnection("litestream", timeout=_ANSWER_S)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(_ANSWER_S)
        connection.sock.connect(str(path))
        connection.request("GET", question)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
