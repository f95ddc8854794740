"""An HTTP server in the place of Supabase's gateway, for tests of when is sent and not of what is stored.

It takes every write and keeps it, or answers as told. What rows really become is tested on a real Supabase.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success."""

    status: int
    code: str = ""
    message: str = "no"


UNREACHABLE = Refusal(503)
WRONG_KEY = Refusal(401)
MISSING_GRANT = Refusal(403, "42501", "permission denied for table")
MISSING_TABLE = Refusal(404, "PGRST205", "Could not find the table")
MISSING_COLUMN = Refusal(400, "PGRST204", "Could not find the column")
BAD_ROW = Refusal(400, "22P02", "invalid input syntax")

Row = dict[str, Any]


class RestStub:
    """Running while its block runs; ``answer`` says what a write of these rows to this table gets, None is success."""

    def __init__(self, answer: Callable[[str, Sequence[Row]], Refusal | None] = lambda _table, _rows: None) -> None:
        self.answer = answer
        self.requests: list[tuple[str, int]] = []
        """Table and number of rows of each request, in their order."""
        self.rows: list[tuple[str, Row]] = []
        """What was taken."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, table: str, rows: Sequence[Row]) -> Refusal | None:
        """Keep rows, or refuse them."""
        self.requests.append((table, len(rows)))
        refusal = self.answer(table, rows)
        if refusal is None:
            self.rows += [(table, row) for row in rows]
        return refusal

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refusal = take(urlsplit(self.path).path.rpartition("/")[2], rows)
                body = json.dumps({"code": refusal.code, "message": refusal.message}).encode() if refusal else b""
                self.send_response(refusal.status if refusal else 201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
