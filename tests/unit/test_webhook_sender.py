"""What is sent to webhooks and to which addresses, against receivers of every kind on this machine."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.webhook_store import WebhookStore
from aragora_persist.storage.webhooks import post as posting
from aragora_persist.storage.webhooks.queue import LEASE
from aragora_persist.storage.webhooks.sender import Round, WebhookSender
from aragora_persist.storage.webhooks.signing import verify
from aragora_persist.testing import Clock, temporary_settings
from tests.unit.webhook_receiver import OK, Receiver, answering, certificate, server_tls
from tests.waiting import wait_until
from tests.webhook_rows import with_organizations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aragora_persist.settings import Settings
    from aragora_persist.storage.webhooks.records import Attempt, Webhook

NAME = "hooks.example.test"
REDIRECT = "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def keyed() -> Iterator[Settings]:
    """Give settings with an encryption key, under which webhooks may reach this machine."""
    with temporary_settings() as settings:
        yield replace(settings, webhook_allowed_networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def clock() -> Clock:
    """Return the clock of store and sender."""
    return Clock()


@pytest.fixture
def store(keyed: Settings, clock: Clock, tmp_path: Path) -> Iterator[WebhookStore]:
    """Open a store of the organizations ``acme`` and ``other``."""
    with WebhookStore(tmp_path / "aragora_users.db", settings=keyed, clock=clock) as opened:
        yield with_organizations(opened)


@pytest.fixture
def sender(store: WebhookStore, keyed: Settings, clock: Clock) -> WebhookSender:
    """Return a sender of few threads."""
    return WebhookSender(store, workers=4, settings=keyed, clock=clock)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return the addresses of names that no name server knows; each look-up takes the first list away."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **more: Any) -> list[Any]:  # noqa: ANN401 - as it is
        if host not in known:
            return real(host, *arguments, **more)
        first = known[host].pop(0) if known[host] else "127.0.0.66"
        return [place for address in first.split() for place in real(address, *arguments, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def sent(store: WebhookStore, sender: WebhookSender, url: str) -> tuple[Webhook, Attempt]:
    """Send one event to a new webhook, and return what is noted of it."""
    webhook = store.create("acme", url, ["*"]).webhook
    [made] = store.enqueue("acme", "debate.ended", {"winner": "é"})
    done = sender.run_once()
    [attempt] = store.list_attempts("acme", made).items
    found = store.get("acme", webhook.id)
    assert found is not None
    assert done == (Round(0, 1) if attempt.error else Round(1, 0))
    return found, attempt


def test_a_receiver_gets_what_it_can_verify(store: WebhookStore, sender: WebhookSender, clock: Clock) -> None:
    """The exact bytes, signed by all current secrets, with an id that it can remember."""
    with Receiver() as receiver:
        issued = store.create("acme", receiver.url, ["*"])
        again = store.rotate_secret("acme", issued.webhook.id)
        [made] = store.enqueue("acme", "debate.ended", {"winner": "é"})
        assert sender.run_once() == Round(1, 0)

    [request] = receiver.requests
    assert request.line == "POST /in?a=b HTTP/1.1"
    found = store.get_delivery("acme", made)
    assert found is not None
    assert request.body == found.body.encode()
    headers = request.headers
    assert (headers["x-aragora-delivery"], headers["x-aragora-event"]) == (made, "debate.ended")
    assert (headers["host"], headers["content-type"]) == (f"127.0.0.1:{receiver.port}", "application/json")
    for secret in (issued.secret, again.secret):
        assert verify(secret.reveal(), headers["x-aragora-signature"], request.body, now=clock.now)
    [attempt] = store.list_attempts("acme", made).items
    assert (attempt.status, attempt.error) == (204, "")
    assert attempt.duration_ms is not None
    assert attempt.duration_ms > 0


def test_a_repetition_has_the_same_id_and_body(store: WebhookStore, sender: WebhookSender, clock: Clock) -> None:
    """And a signature of its own time."""
    with Receiver(answering(b"HTTP/1.1 503 Later\r\n\r\n")) as receiver:
        _, attempt = sent(store, sender, receiver.url)
        assert (attempt.error, attempt.status) == ("status", 503)
        clock.advance(minutes=1)
        receiver.behave = answering(OK)
        assert sender.run_once() == Round(1, 0)

    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["x-aragora-delivery"] == second.headers["x-aragora-delivery"]
    assert first.headers["x-aragora-signature"] != second.headers["x-aragora-signature"]


ANSWERS = {
    "plain": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", 200),
    "old": (b"HTTP/1.0 200 OK\r\n\r\n", "", 200),
    "bare": (b"HTTP/1.1 202\r\n\r\n", "", 202),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n\r\n", "", 201),
    "bad length": (b"HTTP/1.1 200 OK\r\nContent-Length: -x\r\n\r\n", "", 200),
    "large": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10**6, "", 200),
    "refused": (b"HTTP/1.1 404 Not Found\r\n\r\n", "status", 404),
    "gone": (b"HTTP/1.1 410 Gone\r\n\r\n", "status", 410),
    "redirect": (b"HTTP/1.1 307 Elsewhere\r\nLocation: https://example.com/\r\n\r\n", "redirect", 307),
    "nothing": (b"", "unreachable", None),
    "garbage": (b"\x00\xff garbage \r\n\r\n", "answer", None),
    "no status": (b"HTTP/1.1 abc OK\r\n\r\n", "answer", None),
    "status of five digits": (b"HTTP/1.1 20000 OK\r\n\r\n", "answer", None),
    "endless line": (b"HTTP/1.1 200 " + b"x" * 70_000, "answer", None),
    "endless header": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "answer", None),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "answer", None),
}


@pytest.mark.parametrize(("answer", "error", "status"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_has_its_outcome(
    store: WebhookStore, sender: WebhookSender, answer: bytes, error: str, status: int | None
) -> None:
    """Success is 2xx; whatever else a receiver says is a failure by its kind, and never an exception."""
    with Receiver(answering(answer)) as receiver:
        webhook, attempt = sent(store, sender, receiver.url)

    assert (attempt.error, attempt.status) == (error, status)
    assert (webhook.last_error, webhook.last_status) == (error, status)
    assert webhook.is_active is (status != 410)


def test_a_redirect_to_a_private_address_is_not_followed(store: WebhookStore, sender: WebhookSender) -> None:
    """Nothing connects to it."""
    with Receiver() as private, Receiver() as receiver:
        receiver.behave = answering(REDIRECT.format(private.url).encode())
        _, attempt = sent(store, sender, receiver.url)

    assert (attempt.error, attempt.status) == ("redirect", 302)
    assert private.connections == 0


def test_nobody_listening_is_a_failure(store: WebhookStore, sender: WebhookSender) -> None:
    """Of the kind that a retry may mend."""
    with Receiver() as receiver:
        url = receiver.url
    _, attempt = sent(store, sender, url)

    assert (attempt.error, attempt.status) == ("unreachable", None)


def test_an_unknown_name_is_a_failure(store: WebhookStore, sender: WebhookSender) -> None:
    """The domain ``invalid`` never has a name (RFC 6761)."""
    _, attempt = sent(store, sender, "https://hooks.invalid/")

    assert (attempt.error, attempt.status) == ("unreachable", None)


def silent(receiver: Receiver) -> Callable[[socket.socket], None]:
    """Return the behaviour of one that never answers."""

    def behave(_: socket.socket) -> None:
        receiver.ending.wait(60)

    return behave


def trickling(receiver: Receiver) -> Callable[[socket.socket], None]:
    """Return the behaviour of one that never stops to answer, a byte at a time."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 ")
        while not receiver.ending.wait(0.02):
            connection.sendall(b"x")

    return behave


@pytest.mark.parametrize("kind", [silent, trickling])
def test_a_receiver_that_takes_too_long_is_given_up(
    store: WebhookStore,
    sender: WebhookSender,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[Receiver], Callable[[socket.socket], None]],
) -> None:
    """Whether it is silent or lets a byte through now and then."""
    monkeypatch.setattr(posting, "ANSWER_S", 0.3)
    with Receiver() as receiver:
        receiver.behave = kind(receiver)
        _, attempt = sent(store, sender, receiver.url)

    assert (attempt.error, attempt.status) == ("timeout", None)


def test_tls_that_never_begins_is_given_up(
    store: WebhookStore, sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that accepts and says nothing holds a worker for a bounded time."""
    monkeypatch.setattr(posting, "CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _, attempt = sent(store, sender, f"https://127.0.0.1:{listener.getsockname()[1]}/")

    assert (attempt.error, attempt.status) == ("timeout", None)


def test_a_name_that_leads_to_this_machine_is_refused(store: WebhookStore, keyed: Settings) -> None:
    """Where it may not be reached: the addresses are looked at, not the name; nothing connects."""
    elsewhere = replace(keyed, webhook_allowed_networks=(ip_network("10.99.0.0/16"),))
    with Receiver() as receiver:
        _, attempt = sent(store, WebhookSender(store, settings=elsewhere), f"http://localhost:{receiver.port}/")

    assert (attempt.error, attempt.status) == ("target", None)
    assert receiver.connections == 0


def test_a_network_that_is_not_allowed_any_more_is_not_reached(store: WebhookStore, keyed: Settings) -> None:
    """What was stored while it was allowed is refused when it is sent."""
    strict = replace(keyed, webhook_allowed_networks=())
    with Receiver() as receiver:
        _, attempt = sent(store, WebhookSender(store, settings=strict), receiver.url)

    assert (attempt.error, attempt.status) == ("target", None)
    assert receiver.connections == 0


@pytest.mark.parametrize("addresses", ["127.0.0.1 10.0.0.1", "169.254.169.254 127.0.0.1", "127.0.0.1 93.184.216.34"])
def test_one_bad_address_refuses_a_name(
    store: WebhookStore, sender: WebhookSender, names: dict[str, list[str]], addresses: str
) -> None:
    """Every address of a name counts, not only the first; a public one without TLS is bad too."""
    names[NAME] = [addresses]
    with Receiver() as receiver:
        _, attempt = sent(store, sender, f"http://{NAME}:{receiver.port}/")

    assert (attempt.error, attempt.status) == ("target", None)
    assert receiver.connections == 0


def test_a_name_is_looked_up_once(store: WebhookStore, sender: WebhookSender, names: dict[str, list[str]]) -> None:
    """The connection goes to the address that was checked, whatever the name leads to a moment later."""
    names[NAME] = ["127.0.0.1", "127.0.0.66"]
    with Receiver() as receiver:
        _, attempt = sent(store, sender, f"http://{NAME}:{receiver.port}/")

    assert (attempt.error, attempt.status) == ("", 204)
    assert names[NAME] == ["127.0.0.66"]
    assert receiver.requests[0].headers["host"] == f"{NAME}:{receiver.port}"


def test_the_next_address_is_tried(store: WebhookStore, sender: WebhookSender, names: dict[str, list[str]]) -> None:
    """When nobody listens at the first."""
    names[NAME] = ["127.0.0.66 127.0.0.1"]
    with Receiver() as receiver:
        _, attempt = sent(store, sender, f"http://{NAME}:{receiver.port}/")

    assert (attempt.error, attempt.status) == ("", 204)


@pytest.mark.parametrize(
    ("issued_to", "trusted", "error"),
    [(NAME, True, ""), ("another.example.test", True, "tls"), (NAME, False, "tls")],
    ids=["good", "another name", "unknown issuer"],
)
def test_tls_is_held_with_the_name_not_the_address(
    store: WebhookStore,
    keyed: Settings,
    names: dict[str, list[str]],
    tmp_path: Path,
    issued_to: str,
    trusted: bool,  # noqa: FBT001 - a case
    error: str,
) -> None:
    """The name is asked for, and the certificate must be for it and of somebody who is trusted."""
    path = certificate(tmp_path, issued_to)
    asked: list[str | None] = []
    tls = server_tls(path)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    trust = ssl.create_default_context(cafile=str(path) if trusted else None)
    names[NAME] = ["127.0.0.1"]
    with Receiver(tls=tls) as receiver:
        sender = WebhookSender(store, settings=keyed, tls=trust)
        _, attempt = sent(store, sender, f"https://{NAME}:{receiver.port}/")

    assert attempt.error == error
    assert asked == [NAME]
    assert len(receiver.requests) == (0 if error else 1)


def test_a_receiver_that_hangs_holds_nobody_else_up(store: WebhookStore, sender: WebhookSender) -> None:
    """While it does, others get all of theirs, and one round sends everything that is due."""
    with Receiver() as hanging, Receiver() as good:
        release = threading.Event()

        def wait(connection: socket.socket) -> None:
            release.wait(60)
            connection.sendall(OK)

        def let_go(connection: socket.socket) -> None:
            connection.sendall(OK)
            if len(good.requests) == 20:
                release.set()

        hanging.behave, good.behave = wait, let_go
        store.create("acme", hanging.url, ["*"])
        store.create("other", good.url, ["*"])
        for number in range(20):
            store.enqueue("acme", "debate.ended", {"n": number})
            store.enqueue("other", "debate.ended", {"n": number})
        done = sender.run_once()

    assert done.failed == 0
    assert len(good.requests) == len({one.headers["x-aragora-delivery"] for one in good.requests}) == 20
    assert done.sent == len(good.requests) + len(hanging.requests)


def test_a_round_ends_when_it_is_told_to(store: WebhookStore, sender: WebhookSender) -> None:
    """At its limit, or when the service stops; what was not begun waits."""
    with Receiver() as receiver:
        webhook = store.create("acme", receiver.url, ["*"]).webhook
        for number in range(5):
            store.enqueue("acme", "debate.ended", {"n": number})
        assert sender.run_once(stopping=lambda: True) == Round(0, 0)
        assert sender.run_once(limit=2) == Round(2, 0)

    assert len(store.list_deliveries("acme", webhook.id, state="waiting").items) == 3
    with pytest.raises(InvalidValueError, match="limit"):
        sender.run_once(limit=0)
    with pytest.raises(InvalidValueError, match="workers"):
        WebhookSender(store, workers=0)


WORKER = """
import sys
from aragora_persist.settings import Settings
from aragora_persist.storage.webhook_store import WebhookStore
from aragora_persist.storage.webhooks.sender import WebhookSender
settings = Settings.from_env(
    {"ARAGORA_ENCRYPTION_KEY_FILE": sys.argv[2], "ARAGORA_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
)
with WebhookStore(sys.argv[1], settings=settings) as store:
    WebhookSender(store, settings=settings).run_once()
"""


def test_a_killed_worker_gives_its_deliveries_back(
    store: WebhookStore, sender: WebhookSender, keyed: Settings, clock: Clock
) -> None:
    """Killed in the middle of a request; another one sends it again when the claim has ended, and not before."""
    clock.now = clock.now.replace(year=2020)  # what is enqueued now is due for a process with the real time
    with Receiver() as receiver:
        receiver.behave = silent(receiver)
        webhook = store.create("acme", receiver.url, ["*"]).webhook
        [made] = store.enqueue("acme", "debate.ended", {})
        command = [sys.executable, "-c", WORKER, store.database.target, str(keyed.encryption_key_file)]
        worker = subprocess.Popen(command)
        try:
            wait_until(lambda: len(receiver.requests) == 1, "the request of the worker")
        finally:
            worker.kill()
        assert worker.wait() == -signal.SIGKILL
        receiver.behave = answering(OK)
        found = store.get_delivery("acme", made)
        assert found is not None
        assert found.due_at is not None
        clock.now = found.due_at - LEASE / 2
        assert sender.run_once() == Round(0, 0)
        clock.now = found.due_at
        assert sender.run_once() == Round(1, 0)

    assert {one.headers["x-aragora-delivery"] for one in receiver.requests} == {made}
    assert [attempt.error for attempt in store.list_attempts("acme", made).items] == ["unreported", ""]
    assert [one.state for one in store.iter_deliveries("acme", webhook.id)] == ["sent"]
