"""Sends what waits for webhooks, with several threads, each one delivery at a time.

``run_once`` sends what is due; a service calls it again and again, in as many processes as it likes. Leaves out: when.
"""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Settings
from aragora_persist.storage import checks
from aragora_persist.storage.webhooks.post import Answer, post
from aragora_persist.storage.webhooks.signing import SIGNATURE_HEADER, signature_header
from aragora_persist.storage.webhooks.targets import parse_target
from aragora_persist.times import utc_now
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aragora_persist.storage.webhook_store import WebhookStore
    from aragora_persist.storage.webhooks.records import ClaimedDelivery

DELIVERY_HEADER = "X-Aragora-Delivery"
"""The same at every attempt: by it a receiver knows a delivery that it has seen."""
EVENT_HEADER = "X-Aragora-Event"

_MOST_WORKERS = 64


class Round(NamedTuple):
    """How many deliveries were sent in one round, and how many attempts failed."""

    sent: int
    failed: int


class WebhookSender:
    """Sends from one store. ``tls`` is for receivers whose certificates this machine does not trust by itself."""

    def __init__(
        self,
        store: WebhookStore,
        *,
        workers: int = 8,
        settings: Settings | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._workers = checks.whole("webhook.send", "workers", workers, least=1, most=_MOST_WORKERS)
        self._allowed = (settings or Settings.from_env()).webhook_allowed_networks
        self._tls = tls or ssl.create_default_context()
        self._clock = clock

    def run_once(self, limit: int = 1000, *, stopping: Callable[[], bool] = lambda: False) -> Round:
        """Send what is due, at most ``limit`` deliveries, and return how many there were; none is left under way.

        Whatever a receiver does is an outcome. An error of the store is raised when all threads have ended; what it
        kept from being noted is sent again. When ``stopping`` says so, nothing more is begun.

        Raises:
            InvalidValueError: the limit is none, or no keys are configured.

        """
        checks.whole("webhook.send", "limit", limit, least=1)
        turns = count(1)

        def work(_: int) -> tuple[int, int]:
            sent = failed = 0
            # One at a time: what another thread could send does not wait behind a receiver that hangs.
            while next(turns) <= limit and not stopping() and (claimed := self._store.claim_due(1)):
                if self.deliver(claimed[0]):
                    sent += 1
                else:
                    failed += 1
            return sent, failed

        with ThreadPoolExecutor(self._workers, thread_name_prefix="webhooks") as pool:
            done = list(pool.map(work, range(self._workers)))
        return Round(sum(sent for sent, _ in done), sum(failed for _, failed in done))

    def deliver(self, delivery: ClaimedDelivery) -> bool:
        """Send one delivery that was claimed, note how it ended, and tell whether the receiver has taken it."""
        began = monotonic()
        answer = self._send(delivery)
        duration_ms = (monotonic() - began) * 1000
        if answer.error or answer.status is None:
            self._store.failed(delivery, error=answer.error, status=answer.status, duration_ms=duration_ms)
            return False
        self._store.succeeded(delivery, status=answer.status, duration_ms=duration_ms)
        return True

    def _send(self, delivery: ClaimedDelivery) -> Answer:
        try:
            target = parse_target("webhook.send", delivery.url, self._allowed)
        except InvalidValueError:  # what was allowed when it was stored is not any more
            return Answer("target")
        body = delivery.body.encode()
        secrets = [secret.reveal() for secret in delivery.secrets]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"aragora-persist/{VERSION}",
            "Connection": "close",
            EVENT_HEADER: delivery.event_type,
            DELIVERY_HEADER: delivery.id,
            SIGNATURE_HEADER: signature_header(secrets, int(self._clock().timestamp()), body),
        }
        return post(target, body, headers, allowed=self._allowed, tls=self._tls)
