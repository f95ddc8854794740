"""The process in the SQLite container: it keeps the databases, and shows their state over HTTP until it is stopped.

It listens at once, so that whoever asks is told "alive, not ready yet" instead of being refused, and is ready when
every database is open and migrated. Where Supabase is configured, it sends what waits in the outbox.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.metrics import METRICS_FILE, work_of
from aragora_persist.backup.report import Reports
from aragora_persist.exposition import CONTENT_TYPE
from aragora_persist.service import courier, metrics, page
from aragora_persist.service.encryption_key import check_encryption_key
from aragora_persist.service.keeper import Keeper
from aragora_persist.service.listener import Listener, Response, text_response
from aragora_persist.service.state import ServiceState
from aragora_persist.service.stops import Stop
from aragora_persist.status import collect_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aragora_persist.backup.report import BackupReport
    from aragora_persist.settings import Settings
    from aragora_persist.status import DatabaseStatus

_STOP_SECONDS = 1.5
"""How long a stop waits for each of its parts; a container engine kills after 10 s."""
_READY_SECONDS = 1.0
"""For how long one look at the databases answers: however often is asked, they are read once in this time at most."""
_NOT_READY_SECONDS = 0.1
"""The same while not everything is ready, when somebody waits for the change."""
_BACKUPS_SECONDS = 5.0
"""For how long one look at the backups answers: with thousands of them, a catalog that changed takes some tenths."""
_log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    databases: Sequence[str],
    *,
    backups: Path,
    host: str,
    port: int,
    announce: Callable[[str], None],
) -> int:
    """Serve until SIGTERM or SIGINT; return 0 then, 1 when the service cannot go on.

    To be called in the main thread. ``backups`` is the folder whose backups are shown: a sidecar's is only to be read,
    while the service's own folder takes the snapshots before migrations. ``announce`` is called with the page's URL
    when it can be read.

    Raises:
        PersistError: the address cannot be listened on, or the data belongs to another encryption key.

    """
    if settings.encryption_key_file is not None:
        check_encryption_key(settings.encryption_key_file, settings.nomic_dir)
    stop = Stop()
    keeper = Keeper(settings, databases, on_end=stop.ask)
    sends = courier.DATABASE in databases and settings.supabase_configured
    sender = courier.Courier(settings, lambda: courier.DATABASE not in keeper.problems()) if sends else None
    service = Service(replace(settings, backup_dir=backups), databases, keeper)
    with Listener(host, port, service.respond) as listener:
        answering = True

        def answer() -> None:
            nonlocal answering
            try:
                listener.serve_forever(0.1)
            finally:
                answering = False
                stop.ask()

        threading.Thread(target=answer, name="listener", daemon=True).start()
        keeper.start()
        if sender is not None:
            sender.start()
        announce(f"http://{f'[{host}]' if ':' in host else host}:{listener.port}/")
        stop.wait()
        failed = keeper.failed or not answering
        listener.shutdown()
        service.stop_looking()
        if sender is not None and not sender.stop(_STOP_SECONDS):
            _log.info("stopped in the middle of a request to Supabase; its records are sent again by the next start")
        if not keeper.stop(_STOP_SECONDS):
            _log.warning("stopped in the middle of opening a database; the next start repeats it")
    return 1 if failed or keeper.failed else 0


class Service:
    """Answers paths from the state of the databases."""

    def __init__(self, settings: Settings, databases: Sequence[str], keeper: Keeper) -> None:
        self._settings = settings
        self._databases = databases
        self._keeper = keeper
        self._started_at = times.utc_now()
        self._lock = threading.Lock()
        self._state: ServiceState | None = None
        self._valid_until = 0.0
        self._reports = Reports(settings)
        self._backups: BackupReport | None = None
        self._backups_valid_until = 0.0

    def respond(self, path: str) -> Response:
        """Return the answer to a path."""
        answers = {
            "/": self._page,
            "/status.json": self._json,
            "/metrics": self._metrics,
            "/healthz": lambda: text_response(HTTPStatus.OK, "alive"),
            "/readyz": self._readiness,
        }
        answer = answers.get(path)
        return answer() if answer else text_response(HTTPStatus.NOT_FOUND, "not found")

    def stop_looking(self) -> None:
        """Wait for a look at the databases to end, and let no other begin: a reader would keep them from closing."""
        self._lock.acquire(timeout=_STOP_SECONDS)

    def _page(self) -> Response:
        security = {"Content-Security-Policy": page.CONTENT_SECURITY_POLICY}
        return Response(HTTPStatus.OK, page.CONTENT_TYPE, page.page(self.state()), security)

    def _json(self) -> Response:
        return Response(HTTPStatus.OK, "application/json", json.dumps(self.state().to_json(), indent=2) + "\n")

    def _metrics(self) -> Response:
        return Response(HTTPStatus.OK, CONTENT_TYPE, metrics.metrics_text(self.state()) + self._sidecar_metrics())

    def _sidecar_metrics(self) -> str:
        try:
            return work_of((self._settings.backup_dir / METRICS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # no sidecar has written there
            return ""

    def _readiness(self) -> Response:
        if problems := self.state().problems:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, *problems)
        return text_response(HTTPStatus.OK, "ready")

    def state(self) -> ServiceState:
        """Return the state as it is, or was a moment ago."""
        with self._lock:  # one look at a time: the others wait for it and share it
            if self._state is None or time.monotonic() > self._valid_until:
                self._state = self._look()
                self._valid_until = time.monotonic() + (_READY_SECONDS if self._state.ready else _NOT_READY_SECONDS)
            return self._state

    def _look(self) -> ServiceState:
        problems = self._keeper.problems()
        if self._backups is None or time.monotonic() > self._backups_valid_until:
            self._backups = self._reports.take(times.utc_now())
            self._backups_valid_until = time.monotonic() + _BACKUPS_SECONDS
        # Only what is open: a look at a file while it is being opened would get in the way of that.
        names = [name for name in self._databases if name not in problems]
        status = collect_status(self._settings, names, backups=self._backups)
        for database in status.databases:
            if problem := _problem(database):
                problems[database.name] = problem
        return ServiceState(
            status=status,
            problems=tuple(f"{name}: {problem}" for name, problem in problems.items()),
            started_at=self._started_at,
            maintenance_runs=self._keeper.maintenance_runs(),
        )


def _problem(database: DatabaseStatus) -> str:
    """Return why an open database is not one to work with, or ''."""
    if not database.present and not database.problem:
        return "its file is gone"
    if database.schema_pending:
        return f"has schema {database.schema_version} of {database.schema_latest}"
    return f"{database.problem} ({database.hint})" if database.hint else database.problem
