"""The contract of WebhookStore: configurations, secrets and receipts. One suite over every backend."""

from __future__ import annotations

import base64
import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import ConflictError, InvalidValueError, MisuseError, NotFoundError
from aragora_persist.json_text import unstorable
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.storage.webhook_store import WebhookStore
from aragora_persist.storage.webhooks.configs import MOST_WEBHOOKS
from aragora_persist.storage.webhooks.receipts import WINDOW
from aragora_persist.storage.webhooks.rules import MOST_PATTERNS
from tests.webhook_rows import URL, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from aragora_persist.settings import Settings
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.webhook_fixtures",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(["x" * 255, "x" * 1001])
ANY_VALUE: st.SearchStrategy[Any] = ANY_TEXT | st.none() | st.integers() | st.floats() | st.binary(max_size=3)


def stored(store: WebhookStore) -> list[tuple[Any, ...]]:
    """Return what is stored of secrets, in the order of the webhooks."""
    with store.database.read("look") as view:
        return view.all("SELECT secret, previous_secret, previous_secret_until FROM webhooks ORDER BY created_at, id")


def test_a_new_webhook_is_read_back_as_it_was_made(store: WebhookStore, clock: Clock) -> None:
    """Active, without any attempt; the secret is given out once and shows in no repr."""
    issued = store.create("acme", URL, ["debate.*", "user.created", "debate.*"], description="Our chat")
    webhook = issued.webhook

    assert store.get("acme", webhook.id) == webhook
    assert (webhook.org_id, webhook.url, webhook.description) == ("acme", URL, "Our chat")
    assert webhook.events == ("debate.*", "user.created")
    assert (webhook.is_active, webhook.inactive_reason, webhook.previous_secret_until) == (True, "", None)
    assert webhook.created_at == webhook.updated_at == clock.now
    assert (webhook.success_count, webhook.failure_count, webhook.last_status, webhook.last_error) == (0, 0, None, "")
    assert issued.secret.reveal().startswith("whsec_")
    assert len(issued.secret.reveal()) == 49
    assert issued.secret.reveal() not in repr(issued)
    assert "t0k3n" not in repr(issued)


def test_secrets_are_never_stored_as_they_are(store: WebhookStore) -> None:
    """Each is encrypted and bound to its webhook, also after a rotation."""
    issued = store.create("acme", URL, ["*"])
    again = store.rotate_secret("acme", issued.webhook.id)

    [(secret, previous, until)] = stored(store)
    assert secret.startswith("v1.")
    assert previous.startswith("v1.")
    assert until is not None
    for plain in (issued.secret.reveal(), again.secret.reveal()):
        assert plain not in str(stored(store))


def test_without_a_key_nothing_that_holds_a_secret_works(store: WebhookStore, keyed: Settings) -> None:
    """It is refused by the name of the setting; nothing is stored in plain text, nothing is claimed."""
    issued = store.create("acme", URL, ["*"])
    before = stored(store)
    bare = WebhookStore(store.database, settings=replace(keyed, encryption_key_file=None))
    for call in (
        lambda: bare.create("acme", URL, ["*"]),
        lambda: bare.rotate_secret("acme", issued.webhook.id),
        bare.rotate_encryption,
        bare.claim_due,
    ):
        with pytest.raises(InvalidValueError, match="ARAGORA_ENCRYPTION_KEY_FILE: is not set"):
            call()

    assert stored(store) == before


def test_an_unknown_organization_has_no_webhooks(store: WebhookStore) -> None:
    """None is made for it, and there are none to read."""
    with pytest.raises(NotFoundError, match="there is no such organization"):
        store.create("nobody", URL, ["*"])
    assert store.list_webhooks("nobody").items == []
    assert count(store, "webhooks") == 0


def test_a_closed_organization_gets_no_new_webhooks(store: WebhookStore) -> None:
    """Those that it has stay."""
    webhook = store.create("acme", URL, ["*"]).webhook
    with store.database.transaction() as tx:
        tx.execute("UPDATE organizations SET closed_at = created_at WHERE id = 'acme'")
    with pytest.raises(ConflictError, match="this organization is closed"):
        store.create("acme", URL, ["*"])

    assert list(store.iter_webhooks("acme")) == [webhook]


def test_tenants_never_see_or_touch_each_others(store: WebhookStore) -> None:
    """Under another organization's id it is as if the webhook were not there, and it stays as it was."""
    webhook = store.create("acme", URL, ["*"]).webhook
    [delivery_id] = store.enqueue("acme", "debate.ended", {})
    secrets = stored(store)
    for call in (
        lambda: store.update("other", webhook.id, description="mine now"),
        lambda: store.activate("other", webhook.id),
        lambda: store.deactivate("other", webhook.id),
        lambda: store.delete("other", webhook.id),
        lambda: store.rotate_secret("other", webhook.id),
        lambda: store.list_deliveries("other", webhook.id),
        lambda: next(store.iter_deliveries("other", webhook.id)),
        lambda: store.list_attempts("other", delivery_id),
        lambda: store.redrive("other", delivery_id),
        lambda: store.redrive_all("other", webhook.id),
    ):
        with pytest.raises(NotFoundError, match="the organization has no such"):
            call()
    with store.database.transaction() as tx, pytest.raises(NotFoundError):
        store.delete("other", webhook.id, tx=tx)

    assert store.get("other", webhook.id) is None
    assert store.get_delivery("other", delivery_id) is None
    assert store.list_webhooks("other").items == []
    assert store.enqueue("other", "debate.ended", {}) == []
    assert store.get("acme", webhook.id) == webhook
    assert (stored(store), count(store, "webhook_deliveries")) == (secrets, 1)


def test_a_list_comes_in_pages_with_the_oldest_first(store: WebhookStore, clock: Clock) -> None:
    """Every webhook of the organization once, in bounded pages."""
    made = []
    for number in range(5):
        made.append(store.create("acme", f"{URL}&n={number}", ["*"]).webhook)
        clock.advance(seconds=1)
    store.create("other", URL, ["*"])
    page = store.list_webhooks("acme", limit=3)

    assert page.items == made[:3]
    assert store.list_webhooks("acme", limit=3, after=page.next).items == made[3:]
    assert list(store.iter_webhooks("acme")) == made
    for wrong in (0, 1001, -1, True):
        with pytest.raises(InvalidValueError, match="limit"):
            store.list_webhooks("acme", limit=wrong)
    with pytest.raises(InvalidValueError, match="cursor"):
        store.list_webhooks("acme", after="nonsense")


def test_an_update_changes_what_it_names(store: WebhookStore, clock: Clock) -> None:
    """Everything else stays; a value that breaks a rule changes nothing."""
    webhook = store.create("acme", URL, ["*"], description="before").webhook
    clock.advance(seconds=1)
    changed = store.update("acme", webhook.id, url="https://example.org/new", events=("a.b",))

    assert changed == replace(webhook, url="https://example.org/new", events=("a.b",), updated_at=clock.now)
    with pytest.raises(InvalidValueError, match="url"):
        store.update("acme", webhook.id, description="after", url="https://10.0.0.1/")
    with pytest.raises(InvalidValueError, match="secret: cannot be given here"):
        store.update("acme", webhook.id, secret="mine")  # type: ignore[call-arg] # what is refused at run time too
    assert store.get("acme", webhook.id) == changed


def test_a_webhook_is_switched_off_and_on(store: WebhookStore) -> None:
    """With the reason that was given; switching it on forgets it."""
    webhook = store.create("acme", URL, ["*"]).webhook
    off = store.deactivate("acme", webhook.id, reason="unpaid")

    assert (off.is_active, off.inactive_reason) == (False, "unpaid")
    on = store.activate("acme", webhook.id)
    assert (on.is_active, on.inactive_reason) == (True, "")


@pytest.mark.parametrize("inside", ["alone", "tx"])
def test_deleting_a_webhook_takes_its_deliveries_along(store: WebhookStore, inside: str) -> None:
    """And nothing of another webhook; a second time there is none."""
    webhook = store.create("acme", URL, ["*"]).webhook
    kept = store.create("acme", URL, ["*"]).webhook
    store.enqueue("acme", "debate.ended", {})
    store.claim_due()
    if inside == "tx":
        with store.database.transaction() as tx:
            store.delete("acme", webhook.id, tx=tx)
    else:
        store.delete("acme", webhook.id)

    assert store.get("acme", webhook.id) is None
    assert [delivery.webhook_id for delivery in store.iter_deliveries("acme", kept.id)] == [kept.id]
    assert (count(store, "webhook_deliveries"), count(store, "webhook_attempts")) == (1, 1)
    with pytest.raises(NotFoundError, match=r"webhook\.delete"):
        store.delete("acme", webhook.id)


def test_a_deleted_organization_leaves_no_webhook(store: WebhookStore) -> None:
    """The database itself sees to it."""
    store.create("acme", URL, ["*"])
    store.enqueue("acme", "debate.ended", {})
    store.claim_due()
    with store.database.transaction() as tx:
        tx.execute("DELETE FROM organizations WHERE id = 'acme'")

    tables = ("webhooks", "webhook_deliveries", "webhook_attempts")
    assert [count(store, table) for table in tables] == [0, 0, 0]


def test_an_organization_goes_in_batches_and_goes_on_after_an_interrupt(
    store: WebhookStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody waits behind all its deliveries; cut off after any batch it is closed, and another loses nothing."""
    monkeypatch.setattr("aragora_persist.storage.organizations.deletion._BATCH", 2)
    organizations = OrganizationStore(store.database)
    for name in ("acme", "other"):
        for _ in range(2):
            store.create(name, URL, ["*"])
        for _ in range(3):
            store.enqueue(name, "debate.ended", {})
    left = []
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), cut_off("clear_some", 2):
            organizations.delete("acme")
        left.append(count(store, "webhook_deliveries"))
        found = organizations.get("acme")
        assert found is not None
        assert found.closed_at is not None
        with pytest.raises(ConflictError, match="closed"):
            store.create("acme", URL, ["*"])
    assert left == [10, 8, 6]
    organizations.delete("acme")

    assert organizations.get("acme") is None
    assert [count(store, table) for table in ("webhooks", "webhook_deliveries")] == [2, 6]


@contextmanager
def cut_off(function: str, calls: int) -> Iterator[None]:
    """Interrupt when a function is called the so many-th time."""
    left = calls

    def step(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event == "call" and frame.f_code.co_name == function:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    sys.setprofile(step)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_an_organization_has_a_bounded_number_of_webhooks(store: WebhookStore) -> None:
    """So that an event goes to a bounded number of them; another organization is not concerned."""
    with store.database.transaction() as tx:
        for _ in range(MOST_WEBHOOKS):
            store.create("acme", URL, ["*"], tx=tx)
    with pytest.raises(ConflictError, match=f"has {MOST_WEBHOOKS} webhooks"):
        store.create("acme", URL, ["*"])

    assert count(store, "webhooks") == MOST_WEBHOOKS
    assert store.create("other", URL, ["*"]).webhook.is_active


def test_a_failure_in_a_callers_transaction_takes_back_only_its_own_part(store: WebhookStore) -> None:
    """What the caller wrote before and after it stays; a foreign transaction is refused."""
    with store.database.transaction() as tx:
        webhook = store.create("acme", URL, ["*"], tx=tx).webhook
        with pytest.raises(NotFoundError):
            store.create("nobody", URL, ["*"], tx=tx)
        store.update("acme", webhook.id, description="after", tx=tx)
    found = store.get("acme", webhook.id)

    assert found is not None
    assert found.description == "after"
    assert count(store, "webhooks") == 1
    with UserStore(":memory:") as users, users.database.transaction() as foreign, pytest.raises(MisuseError):
        store.create("acme", URL, ["*"], tx=foreign)


BAD_URLS: list[Any] = [
    "https://127.0.0.1/",
    "http://example.com/",
    "https://user:pw@example.com/",
    "https://[::ffff:10.0.0.1]/",
    "ftp://example.com/",
    "https://example.com/" + "x" * 2000,
    "",
    "no url",
    None,
    7,
]


def test_a_url_that_may_not_be_reached_is_refused(store: WebhookStore) -> None:
    """By its field and without being quoted; nothing is stored. The rules themselves are tested on their own."""
    for url in BAD_URLS:
        with pytest.raises(InvalidValueError) as caught:
            store.create("acme", url, ["*"])
        assert (caught.value.operation, caught.value.target) == ("webhook.create", "url")
        assert "pw" not in str(caught.value)

    assert count(store, "webhooks") == 0


def test_a_network_that_the_settings_allow_may_be_reached(store: WebhookStore, keyed: Settings) -> None:
    """And no other one."""
    allowing = WebhookStore(
        store.database, settings=replace(keyed, webhook_allowed_networks=(ip_network("10.1.0.0/16"),))
    )

    assert allowing.create("acme", "http://10.1.2.3:8080/in", ["*"]).webhook.is_active
    with pytest.raises(InvalidValueError, match="url"):
        allowing.create("acme", "https://10.2.0.1/", ["*"])


BAD_EVENTS: list[Any] = [
    *([], ["a b"], ["*.ended"], ["**"], [""], [None], [["a"]], ["x" * 101], ["a\n"]),
    *("debate", None, 7, {"a"}, ["x"] * (MOST_PATTERNS + 1)),
]


def test_what_is_no_list_of_event_types_is_refused(store: WebhookStore) -> None:
    """By its field; nothing is stored."""
    for events in BAD_EVENTS:
        with pytest.raises(InvalidValueError) as caught:
            store.create("acme", URL, events)
        assert caught.value.target == "events"

    assert count(store, "webhooks") == 0


def test_a_rotated_secret_signs_for_the_time_of_the_overlap(store: WebhookStore, clock: Clock) -> None:
    """Both sign until the very moment that the webhook tells; then only the new one."""
    issued = store.create("acme", URL, ["*"])
    again = store.rotate_secret("acme", issued.webhook.id, overlap=timedelta(hours=1))
    assert again.webhook.previous_secret_until == clock.now + timedelta(hours=1)
    clock.advance(hours=1, microseconds=-1)
    store.enqueue("acme", "a", {})
    [both] = store.claim_due()
    clock.advance(microseconds=1)
    store.enqueue("acme", "a", {})
    [one] = store.claim_due()

    assert both.secrets == (again.secret, issued.secret)
    assert one.secrets == (again.secret,)


def test_after_a_leak_the_old_secret_ends_at_once(store: WebhookStore) -> None:
    """With an overlap of zero; the one before that one ends with any rotation."""
    first = store.create("acme", URL, ["*"])
    second = store.rotate_secret("acme", first.webhook.id)
    third = store.rotate_secret("acme", first.webhook.id, overlap=timedelta(0))
    store.enqueue("acme", "a", {})
    [claimed] = store.claim_due()

    assert claimed.secrets == (third.secret,)
    assert len({first.secret, second.secret, third.secret}) == 3
    for wrong in (timedelta(seconds=-1), timedelta(days=31), 3600):
        with pytest.raises(InvalidValueError, match="overlap"):
            store.rotate_secret("acme", first.webhook.id, overlap=wrong)  # type: ignore[arg-type] # one is refused for that


def rekeyed(store: WebhookStore, keyed: Settings, folder: Path, *, keep_old: bool) -> WebhookStore:
    """Return the store under a new key, in front of the old one or in its place."""
    assert keyed.encryption_key_file is not None
    old = keyed.encryption_key_file.read_text()
    path = folder / "keys"
    path.write_text(base64.b64encode(os.urandom(32)).decode() + (f"\n{old}" if keep_old else ""))
    return WebhookStore(store.database, settings=replace(keyed, encryption_key_file=path), clock=store._clock)


def test_secrets_are_encrypted_anew_under_a_new_key(store: WebhookStore, keyed: Settings, tmp_path: Path) -> None:
    """All of them, those that rotate away too, and they sign as before; doing it again does nothing."""
    issued = [store.create(org, URL, ["*"]) for org in ("acme", "other")]
    again = store.rotate_secret("acme", issued[0].webhook.id)
    new = rekeyed(store, keyed, tmp_path, keep_old=True)

    done = new.rotate_encryption()
    assert (done.renewed, done.current, done.unreadable) == (3, 0, ())
    done = new.rotate_encryption()
    assert (done.renewed, done.current, done.unreadable) == (0, 3, ())
    path = tmp_path / "keys"
    path.write_text(path.read_text().splitlines()[0])
    new.enqueue("acme", "a", {})
    [claimed] = new.claim_due()
    assert claimed.secrets == (again.secret, issued[0].secret)


def test_what_no_key_decrypts_is_named_and_stays(store: WebhookStore, keyed: Settings, tmp_path: Path) -> None:
    """So that the old key can be put back."""
    webhook = store.create("acme", URL, ["*"]).webhook
    before = stored(store)
    new = rekeyed(store, keyed, tmp_path, keep_old=False)
    good = new.create("other", URL, ["*"])

    done = new.rotate_encryption()
    assert (done.renewed, done.current, done.unreadable) == (0, 1, (webhook.id,))
    assert before[0] in stored(store)
    assert good.secret.reveal() not in repr(done)


def test_a_secret_copied_into_another_row_signs_nothing(store: WebhookStore) -> None:
    """The delivery fails with that reason, and the others are claimed."""
    mine = store.create("acme", URL, ["*"])
    theirs = store.create("other", URL, ["*"])
    with store.database.transaction() as tx:
        tx.execute(
            "UPDATE webhooks SET secret = (SELECT w.secret FROM webhooks AS w WHERE w.id = ?) WHERE id = ?",
            (theirs.webhook.id, mine.webhook.id),
        )
    [stolen] = store.enqueue("acme", "a", {})
    [good] = store.enqueue("other", "a", {})

    assert [claimed.id for claimed in (*store.claim_due(1), *store.claim_due(1))] == [good]
    assert [attempt.error for attempt in store.list_attempts("acme", stolen).items] == ["secret"]


def test_an_event_is_received_once_within_its_window(store: WebhookStore, clock: Clock) -> None:
    """By source and id; at the end of the window it is new again."""
    assert store.receive("stripe", "evt_1") is True
    assert store.receive("stripe", "evt_1") is False
    assert store.receive("github", "evt_1") is True
    clock.advance(hours=24, microseconds=-1)
    assert store.receive("stripe", "evt_1") is False
    clock.advance(microseconds=1)
    assert store.receive("stripe", "evt_1") is True
    assert store.receive("stripe", "evt_1") is False


def test_one_of_many_receivers_is_the_first(store: WebhookStore) -> None:
    """However many threads are told of an event at once."""
    start = threading.Barrier(8)
    first: list[str] = []

    def receive() -> None:
        start.wait()
        first.extend(f"evt_{number}" for number in range(10) if store.receive("stripe", f"evt_{number}"))

    threads = [threading.Thread(target=receive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(first) == [f"evt_{number}" for number in range(10)]


def test_a_receipt_stands_or_falls_with_what_is_made_of_it(store: WebhookStore) -> None:
    """An event whose handling failed is new when it comes again."""
    with pytest.raises(RuntimeError), store.database.transaction() as tx:
        assert store.receive("stripe", "evt_1", tx=tx) is True
        raise RuntimeError
    with store.database.transaction() as tx:
        assert store.receive("stripe", "evt_1", tx=tx) is True

    assert store.receive("stripe", "evt_1") is False


def test_old_receipts_are_cleaned_up_in_batches(store: WebhookStore, clock: Clock) -> None:
    """Those that no longer count, more than one batch of them; the others stay."""
    with store.database.transaction() as tx:
        for number in range(1001):
            store.receive("stripe", f"old_{number}", tx=tx)
    clock.advance(hours=1)
    store.receive("stripe", "young")
    clock.now += WINDOW - timedelta(hours=1)

    assert store.cleanup_receipts() == 1001
    assert store.cleanup_receipts() == 0
    assert store.receive("stripe", "young") is False
    assert store.receive("stripe", "old_1") is True


def refused(call: Callable[[], Any]) -> str | None:
    """Return the field or id that a call is refused for, or None when it is not."""
    try:
        call()
    except (InvalidValueError, NotFoundError) as error:
        return error.target
    return None


def test_any_value_is_stored_exactly_or_refused_by_name(store: WebhookStore) -> None:
    """Texts of any kind, numbers, bytes and nothing at all, in every argument."""
    webhook = store.create("acme", URL, ["*"]).webhook
    fields = {"org_id", "webhook_id", "delivery_id", "source", "event_id", None}

    @settings(max_examples=50)
    @given(value=ANY_VALUE, other=ANY_VALUE)
    def check(value: Any, other: Any) -> None:  # noqa: ANN401 - any value at all
        good = isinstance(value, str) and len(value) <= 1000 and unstorable(value) is None
        assert refused(lambda: store.update("acme", webhook.id, description=value)) == (None if good else "description")
        found = store.get("acme", webhook.id)
        assert found is not None
        assert not good or found.description == value
        assert refused(lambda: store.get(value, other)) in fields
        assert refused(lambda: store.get_delivery(value, other)) in fields
        assert refused(lambda: store.receive(value, other)) in fields
        assert refused(lambda: store.list_webhooks(value)) in fields
        # Nothing of this kind exists: each of these is refused, whatever the value.
        assert refused(lambda: store.create(value, URL, ["*"]))
        assert refused(lambda: store.create("acme", value, ["*"]))
        assert refused(lambda: store.activate(value, other))
        assert refused(lambda: store.deactivate("acme", value, reason=other))
        assert refused(lambda: store.delete(value, other))
        assert refused(lambda: store.rotate_secret("acme", value))

    check()
    assert count(store, "webhooks") == 1
