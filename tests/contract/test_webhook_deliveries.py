"""The contract of WebhookStore: what is enqueued, claimed, retried, dead, redriven. One suite over every backend."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import ConflictError, InvalidValueError, NotFoundError
from aragora_persist.storage.webhooks.claims import MOST_IN_FLIGHT
from aragora_persist.storage.webhooks.queue import LEASE, LONGEST_BODY
from aragora_persist.storage.webhooks.schedule import DELAYS_S, MOST_ATTEMPTS
from tests.webhook_rows import URL, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.webhook_store import WebhookStore
    from aragora_persist.storage.webhooks.records import ClaimedDelivery, Delivery
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.webhook_fixtures",)


@pytest.fixture
def hook(store: WebhookStore) -> str:
    """Return the id of a webhook of ``acme`` that wants every event."""
    return store.create("acme", URL, ["*"]).webhook.id


def claim_one(store: WebhookStore) -> ClaimedDelivery:
    """Return the one delivery that is due."""
    [claimed] = store.claim_due()
    return claimed


def delivery(store: WebhookStore, delivery_id: str) -> Delivery:
    """Return a delivery of ``acme``."""
    found = store.get_delivery("acme", delivery_id)
    assert found is not None
    return found


def use_up(store: WebhookStore, clock: Clock) -> None:
    """Fail every attempt of the one delivery that waits."""
    for _ in range(MOST_ATTEMPTS):
        assert store.failed(claim_one(store), error="timeout")
        clock.advance(days=2)


def test_an_event_goes_to_the_webhooks_that_want_it(store: WebhookStore, clock: Clock) -> None:
    """By type, by prefix, to all that want everything; not to inactive ones or another organization's."""
    wanting = {
        store.create("acme", URL, events).webhook.id
        for events in (["debate.ended"], ["debate.*"], ["*"], ["x", "debate.e*"])
    }
    for events in (["debate"], ["debate.ended.late"], ["user.*"], ["debate.ended2*"]):
        store.create("acme", URL, events)
    store.deactivate("acme", store.create("acme", URL, ["*"]).webhook.id)
    store.create("other", URL, ["*"])
    made = store.enqueue("acme", "debate.ended", {"winner": "é"})

    deliveries = [delivery(store, delivery_id) for delivery_id in made]
    assert {one.webhook_id for one in deliveries} == wanting
    assert len(deliveries) == len(wanting) == count(store, "webhook_deliveries")
    [body] = {one.body for one in deliveries}
    sent = json.loads(body)
    assert (sent["type"], sent["data"], len(sent["id"])) == ("debate.ended", {"winner": "é"}, 32)
    assert datetime.fromisoformat(sent["created_at"]) == clock.now
    assert {(one.state, one.attempts, one.due_at) for one in deliveries} == {("waiting", 0, clock.now)}


def test_an_event_of_one_key_goes_to_a_webhook_once(store: WebhookStore, hook: str) -> None:
    """A repetition changes nothing, also when the event was sent long since; a webhook made meanwhile gets it."""
    [first] = store.enqueue("acme", "debate.ended", {"n": 1}, event_key="debate:1")
    assert store.enqueue("acme", "debate.ended", {"n": 2}, event_key="debate:1") == []
    store.succeeded(claim_one(store), status=200, duration_ms=1)
    late = store.create("acme", URL, ["*"]).webhook.id
    [second] = store.enqueue("acme", "debate.ended", {"n": 3}, event_key="debate:1")

    assert json.loads(delivery(store, first).body)["data"] == {"n": 1}
    assert (delivery(store, first).webhook_id, delivery(store, second).webhook_id) == (hook, late)
    assert len(store.enqueue("acme", "debate.ended", {}, event_key="debate:2")) == 2


@pytest.mark.usefixtures("hook")
def test_an_event_is_sent_if_its_transaction_commits(store: WebhookStore) -> None:
    """And never otherwise."""
    with pytest.raises(RuntimeError), store.database.transaction() as tx:
        assert len(store.enqueue("acme", "debate.ended", {}, tx=tx)) == 1
        raise RuntimeError
    assert count(store, "webhook_deliveries") == 0
    with store.database.transaction() as tx:
        store.enqueue("acme", "debate.ended", {}, tx=tx)

    assert len(store.claim_due()) == 1


BAD_PAYLOADS: list[Any] = [
    *(None, [], "text", {"a": float("nan")}, {"a": "\0"}, {"a": "\ud800"}, {"a": object()}),
    *({"a": "x" * LONGEST_BODY}, {"a": "é" * (LONGEST_BODY // 2)}),
]
BAD_TYPES: list[Any] = ["", "a b", "debate.*", "x" * 101, "é", None, 7, "a\n"]


@pytest.mark.usefixtures("hook")
def test_what_cannot_be_sent_is_not_enqueued(store: WebhookStore) -> None:
    """It is refused by its field, also when it is only too long in bytes."""
    for payload in BAD_PAYLOADS:
        with pytest.raises(InvalidValueError) as refused:
            store.enqueue("acme", "debate.ended", payload)
        assert refused.value.target.startswith("payload")
    for event_type in BAD_TYPES:
        with pytest.raises(InvalidValueError, match="event_type"):
            store.enqueue("acme", event_type, {})

    assert count(store, "webhook_deliveries") == 0


def test_a_success_ends_a_delivery(store: WebhookStore, hook: str, clock: Clock) -> None:
    """It is noted with the delivery, the attempt and the webhook, and claimed no more."""
    [made] = store.enqueue("acme", "debate.ended", {})
    claimed = claim_one(store)
    assert (claimed.id, claimed.webhook_id, claimed.url, claimed.attempt) == (made, hook, URL, 1)
    assert "t0k3n" not in repr(claimed)
    clock.advance(seconds=1)

    assert store.succeeded(claimed, status=204, duration_ms=12.5) is True
    done = delivery(store, made)
    assert (done.state, done.attempts, done.due_at, done.finished_at) == ("sent", 1, None, clock.now)
    [attempt] = store.iter_attempts("acme", made)
    assert (attempt.number, attempt.status, attempt.error, attempt.duration_ms) == (1, 204, "", 12.5)
    webhook = store.get("acme", hook)
    assert webhook is not None
    assert (webhook.success_count, webhook.failure_count, webhook.last_status) == (1, 0, 204)
    assert webhook.last_success_at == webhook.last_attempt_at == clock.now
    clock.advance(days=1)
    assert store.claim_due() == []


def test_a_failure_is_tried_again_by_the_schedule(store: WebhookStore, hook: str, clock: Clock) -> None:
    """Each time after its delay and up to a quarter more, not sooner; after the last one the delivery is dead."""
    [made] = store.enqueue("acme", "debate.ended", {})
    for number, delay_s in enumerate(DELAYS_S, 1):
        assert store.failed(claim_one(store), error="status", status=503, duration_ms=1)
        due = delivery(store, made).due_at
        assert due is not None
        assert timedelta(seconds=delay_s) <= due - clock.now <= timedelta(seconds=delay_s * 1.25)
        clock.now = due - timedelta(microseconds=1)
        assert store.claim_due() == []
        clock.now = due
        webhook = store.get("acme", hook)
        assert webhook is not None
        assert (webhook.failure_count, webhook.last_status, webhook.last_error) == (number, 503, "status")
    assert store.failed(claim_one(store), error="status", status=503)

    dead = delivery(store, made)
    assert (dead.state, dead.reason, dead.attempts, dead.attempts_left) == ("dead", "status 503", MOST_ATTEMPTS, 0)
    assert [one.id for one in store.iter_deliveries("acme", hook, state="dead")] == [made]
    assert [attempt.number for attempt in store.list_attempts("acme", made).items] == list(range(1, MOST_ATTEMPTS + 1))
    clock.advance(days=30)
    assert store.claim_due() == []


def test_a_dead_delivery_is_sent_again_when_it_is_redriven(store: WebhookStore, hook: str, clock: Clock) -> None:
    """Under its old id, with every attempt anew; the old attempts stay on record. One that is not dead is refused."""
    [made] = store.enqueue("acme", "debate.ended", {})
    with pytest.raises(ConflictError, match="is waiting, not dead"):
        store.redrive("acme", made)
    use_up(store, clock)
    again = store.redrive("acme", made)

    assert (again.state, again.reason, again.attempts_left, again.due_at) == ("waiting", "", MOST_ATTEMPTS, clock.now)
    claimed = claim_one(store)
    assert (claimed.id, claimed.attempt) == (made, MOST_ATTEMPTS + 1)
    assert store.succeeded(claimed, status=200, duration_ms=1)
    first = store.list_attempts("acme", made, limit=MOST_ATTEMPTS)
    assert [attempt.error for attempt in first.items] == ["timeout"] * MOST_ATTEMPTS
    assert [attempt.error for attempt in store.list_attempts("acme", made, after=first.next).items] == [""]
    with pytest.raises(ConflictError, match="is sent, not dead"):
        store.redrive("acme", made)
    with pytest.raises(NotFoundError):
        store.redrive("acme", hook)


def test_all_dead_deliveries_of_a_webhook_are_redriven(store: WebhookStore, hook: str, clock: Clock) -> None:
    """More than a batch of them, and no other webhook's; a second time there are none."""
    other = store.create("acme", URL, ["other"]).webhook.id
    with store.database.transaction() as tx:
        for number in range(501):
            store.enqueue("acme", "other" if number == 0 else "debate.ended", {}, tx=tx)
        tx.execute(
            "UPDATE webhook_deliveries SET state = 'dead', due_at = NULL, finished_at = ?, attempts_left = 0",
            (clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),),
        )

    assert store.redrive_all("acme", hook) == 501
    assert store.redrive_all("acme", hook) == 0
    assert {one.state for one in store.iter_deliveries("acme", hook)} == {"waiting"}
    assert {one.state for one in store.iter_deliveries("acme", other)} == {"dead"}
    with store.database.transaction() as tx:
        assert store.redrive_all("acme", other, tx=tx) == 1


def test_nobody_else_gets_what_a_worker_has(store: WebhookStore, hook: str, clock: Clock) -> None:
    """Until its lease ends; then the next one gets it, and the late outcome of the first is not noted."""
    [made] = store.enqueue("acme", "debate.ended", {})
    first = claim_one(store)
    assert store.claim_due() == []
    clock.now += LEASE - timedelta(microseconds=1)
    assert store.claim_due() == []
    clock.advance(microseconds=1)
    second = claim_one(store)

    assert (first.id, second.id, second.attempt) == (made, made, 2)
    assert store.failed(first, error="timeout") is False
    assert store.succeeded(first, status=200, duration_ms=1) is False
    assert store.succeeded(second, status=200, duration_ms=1) is True
    assert store.succeeded(second, status=200, duration_ms=1) is False
    errors = [attempt.error for attempt in store.iter_attempts("acme", made)]
    assert errors == ["unreported", ""]
    webhook = store.get("acme", hook)
    assert webhook is not None
    assert (webhook.success_count, webhook.failure_count) == (1, 0)


def test_a_late_outcome_counts_where_nobody_claimed_it_again(store: WebhookStore, clock: Clock, hook: str) -> None:
    """What was sent was sent."""
    store.enqueue("acme", "debate.ended", {})
    claimed = claim_one(store)
    clock.advance(days=1)

    assert store.succeeded(claimed, status=200, duration_ms=1) is True
    assert [one.state for one in store.iter_deliveries("acme", hook)] == ["sent"]


def test_a_delivery_that_kills_its_workers_ends_dead(store: WebhookStore, hook: str, clock: Clock) -> None:
    """Each claim is an attempt: it does not kill workers for ever."""
    [made] = store.enqueue("acme", "debate.ended", {})
    for _ in range(MOST_ATTEMPTS):
        assert claim_one(store).id == made
        clock.now += LEASE
    assert store.claim_due() == []

    dead = delivery(store, made)
    assert (dead.state, dead.reason, dead.attempts) == ("dead", "unreported", MOST_ATTEMPTS)
    webhook = store.get("acme", hook)
    assert webhook is not None
    assert webhook.dead_in_a_row == 1


def test_many_workers_never_have_the_same_delivery(store: WebhookStore) -> None:
    """Each is claimed once, and sent once, however many claim at the same time."""
    for _ in range(5):
        store.create("acme", URL, ["*"])
    made = [delivery_id for _ in range(6) for delivery_id in store.enqueue("acme", "debate.ended", {})]
    start = threading.Barrier(4)
    claimed: list[str] = []

    def work() -> None:
        start.wait()
        while batch := store.claim_due(3):
            for one in batch:
                claimed.append(one.id)
                assert store.succeeded(one, status=200, duration_ms=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # A worker ends when others have all that may be under way: what it left is claimed now.
    while left := store.claim_due(1):
        claimed.append(left[0].id)
    assert sorted(claimed) == sorted(made)


def test_a_webhook_that_hangs_does_not_take_all_workers(store: WebhookStore, hook: str) -> None:
    """Of one webhook a few are under way, the oldest first; the others' are claimed all the same."""
    made = [store.enqueue("acme", "debate.ended", {"n": number})[0] for number in range(10)]
    store.create("other", URL, ["*"])
    [other] = store.enqueue("other", "debate.ended", {})
    claimed = store.claim_due(10)

    assert len(claimed) == MOST_IN_FLIGHT + 1
    assert other in {one.id for one in claimed}
    assert {one.id for one in claimed if one.webhook_id == hook} <= set(made)
    assert store.claim_due(10) == []
    for one in claimed:
        store.failed(one, error="timeout")
    assert len(store.claim_due(10)) == MOST_IN_FLIGHT


@pytest.mark.usefixtures("hook")
def test_the_oldest_is_begun_first(store: WebhookStore, clock: Clock) -> None:
    """By the time at which they are due."""
    made = []
    for number in range(4):
        made += store.enqueue("acme", "debate.ended", {"n": number})
        clock.advance(seconds=1)
    begun = []
    while claimed := store.claim_due():
        for one in claimed:
            begun.append(one.id)
            store.succeeded(one, status=200, duration_ms=1)

    assert begun == made


def test_an_inactive_webhook_keeps_what_waits_for_it(store: WebhookStore, hook: str, clock: Clock) -> None:
    """Nothing is sent or enqueued until it is active again; then it goes on."""
    [made] = store.enqueue("acme", "debate.ended", {})
    store.deactivate("acme", hook)
    clock.advance(days=40)

    assert store.enqueue("acme", "debate.ended", {}) == []
    assert store.claim_due() == []
    assert store.cleanup_deliveries() == 0
    store.activate("acme", hook)
    assert claim_one(store).id == made


def test_gone_switches_a_webhook_off(store: WebhookStore, hook: str) -> None:
    """410 is what a receiver answers that wants nothing more: the delivery is dead at once, the others wait."""
    made = [store.enqueue("acme", "debate.ended", {})[0] for _ in range(2)]
    [first, _] = store.claim_due()
    assert store.failed(first, error="status", status=410)

    webhook = store.get("acme", hook)
    assert webhook is not None
    assert (webhook.is_active, webhook.inactive_reason) == (False, "its receiver answered 410 Gone")
    assert sorted(delivery(store, one).state for one in made) == ["dead", "waiting"]
    assert delivery(store, first.id).reason == "status 410"


def test_a_webhook_that_takes_nothing_is_switched_off(store: WebhookStore, hook: str, clock: Clock) -> None:
    """After ten dead deliveries in a row; one success in between begins the count anew."""

    def die(times: int) -> bool:
        for _ in range(times):
            store.enqueue("acme", "debate.ended", {})
            use_up(store, clock)
        webhook = store.get("acme", hook)
        assert webhook is not None
        return webhook.is_active

    assert die(9)
    store.enqueue("acme", "debate.ended", {})
    store.succeeded(claim_one(store), status=200, duration_ms=1)
    assert die(9)
    assert not die(1)
    off = store.get("acme", hook)
    assert off is not None
    assert off.inactive_reason == "10 deliveries in a row came to nothing"
    assert store.activate("acme", hook).dead_in_a_row == 0


def test_deliveries_are_listed_newest_first(store: WebhookStore, hook: str, clock: Clock) -> None:
    """In pages, of all states or of one."""
    made = []
    for number in range(5):
        made += store.enqueue("acme", "debate.ended", {"n": number})
        clock.advance(seconds=1)
    store.succeeded(store.claim_due(1)[0], status=200, duration_ms=1)
    page = store.list_deliveries("acme", hook, limit=3)

    assert [one.id for one in page.items] == made[:1:-1]
    rest = store.list_deliveries("acme", hook, limit=3, after=page.next)
    assert ([one.id for one in rest.items], rest.next) == (made[1::-1], None)
    assert [one.id for one in store.iter_deliveries("acme", hook, state="sent")] == made[:1]
    assert [one.id for one in store.list_deliveries("acme", hook, state="waiting").items] == made[:0:-1]
    with pytest.raises(InvalidValueError, match="state"):
        store.list_deliveries("acme", hook, state="lost")


def test_what_is_over_is_cleaned_up_after_its_time(store: WebhookStore, hook: str, clock: Clock) -> None:
    """In batches, with its attempts; what waits stays, however old."""
    store.enqueue("acme", "debate.ended", {})
    use_up(store, clock)
    with store.database.transaction() as tx:
        for _ in range(501):
            store.enqueue("acme", "debate.ended", {}, tx=tx)
        tx.execute(
            "UPDATE webhook_deliveries SET state = 'sent', due_at = NULL, finished_at = ? WHERE state = 'waiting'",
            (clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),),
        )
    clock.advance(days=29)
    [waiting] = store.enqueue("acme", "debate.ended", {})

    assert store.cleanup_deliveries() == 1
    assert store.cleanup_deliveries() == 0
    assert count(store, "webhook_attempts") == 0
    clock.advance(days=1)
    assert store.cleanup_deliveries() == 501
    assert [one.id for one in store.iter_deliveries("acme", hook)] == [waiting]
    assert store.cleanup_deliveries(older_than_days=0) == 0
    with pytest.raises(InvalidValueError, match="older_than_days"):
        store.cleanup_deliveries(older_than_days=-1)


BAD_CALLS: list[tuple[str, Callable[[WebhookStore, ClaimedDelivery], object]]] = [
    ("limit", lambda store, _: store.claim_due(0)),
    ("limit", lambda store, _: store.claim_due(1001)),
    ("lease", lambda store, _: store.claim_due(lease=timedelta(0))),
    ("lease", lambda store, _: store.claim_due(lease=120)),  # type: ignore[arg-type] # that is the mistake
    ("status", lambda store, one: store.succeeded(one, status=99, duration_ms=1)),
    ("duration_ms", lambda store, one: store.succeeded(one, status=200, duration_ms=float("nan"))),
    ("duration_ms", lambda store, one: store.failed(one, error="status", duration_ms=-1)),
    ("status", lambda store, one: store.failed(one, error="status", status=1000)),
    ("error", lambda store, one: store.failed(one, error="")),
    ("error", lambda store, one: store.failed(one, error="unreported")),
    ("delivery", lambda store, one: store.failed(one.id, error="status")),  # type: ignore[arg-type] # that is the mistake
    ("delivery", lambda store, _: store.succeeded(None, status=200, duration_ms=1)),  # type: ignore[arg-type] # as above
]


@pytest.mark.usefixtures("hook")
def test_a_value_that_breaks_a_rule_changes_nothing(store: WebhookStore) -> None:
    """It is refused by its field, and the claim still holds."""
    store.enqueue("acme", "debate.ended", {})
    claimed = claim_one(store)
    for field, call in BAD_CALLS:
        with pytest.raises(InvalidValueError) as refused:
            call(store, claimed)
        assert refused.value.target == field

    assert store.succeeded(claimed, status=200, duration_ms=1)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "é", '"']), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.usefixtures("hook")
def test_any_payload_is_sent_as_it_was_given(store: WebhookStore) -> None:
    """Byte for byte as it was enqueued, and of the value that it had."""

    @settings(max_examples=50)
    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), JSON))
    def check(payload: dict[str, Any]) -> None:
        [made] = store.enqueue("acme", "debate.ended", payload)
        claimed = claim_one(store)
        assert claimed.id == made
        assert json.loads(claimed.body)["data"] == payload
        assert store.succeeded(claimed, status=200, duration_ms=0)

    check()
