"""WebhookStore's queue against a plain model: whatever workers do or leave undone, each delivery ends as it should."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.storage.webhooks.claims import MOST_IN_FLIGHT
from aragora_persist.storage.webhooks.queue import LEASE
from aragora_persist.storage.webhooks.schedule import DEAD_IN_A_ROW, DELAYS_S, MOST_ATTEMPTS
from tests.webhook_rows import URL

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.webhook_store import WebhookStore
    from aragora_persist.storage.webhooks.records import ClaimedDelivery
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.webhook_fixtures",)

# Its bounds never depend on the state: with which webhook a claim begins is chance, and hypothesis must be able to draw
# the same again.
PICK = st.integers(0, 999)


@dataclass
class Hook:
    """What the model knows of a webhook."""

    active: bool = True
    dead_in_a_row: int = 0


@dataclass
class Expected:
    """What the model knows of a delivery; ``claim`` is the token of the worker that has it."""

    hook: str
    due: datetime
    state: str = "waiting"
    left: int = MOST_ATTEMPTS
    claim: str = ""


@dataclass
class Model:
    """Webhooks and deliveries, and what workers hold: some of it no longer theirs."""

    hooks: dict[str, Hook] = field(default_factory=dict)
    deliveries: dict[str, Expected] = field(default_factory=dict)
    held: list[ClaimedDelivery] = field(default_factory=list)

    def bury(self, one: Expected) -> None:
        """Let a delivery be dead, and its webhook off after many."""
        one.state, one.claim = "dead", ""
        hook = self.hooks[one.hook]
        hook.dead_in_a_row += 1
        hook.active = hook.active and hook.dead_in_a_row < DEAD_IN_A_ROW

    def ready(self, hook: str, now: datetime) -> list[datetime]:
        """Return when what may be claimed of a webhook is due, the first one in front."""
        mine = [one for one in self.deliveries.values() if one.hook == hook and one.state == "waiting"]
        room = MOST_IN_FLIGHT - sum(1 for one in mine if one.claim and one.due > now)
        due = sorted(one.due for one in mine if one.due <= now)
        return due[:room] if self.hooks[hook].active else []


class Queue(RuleBasedStateMachine):
    """Events, workers that succeed, fail, come late or die, and time."""

    store: ClassVar[WebhookStore]
    clock: ClassVar[Clock]

    def __init__(self) -> None:
        super().__init__()
        with self.store.database.transaction() as tx:
            tx.execute("DELETE FROM webhooks")
        self.model = Model()
        for name in ("a", "b"):
            self.model.hooks[self.store.create("acme", URL, [name, "both"]).webhook.id] = Hook()

    @rule(event=st.sampled_from(["a", "b", "both"]))
    def enqueue(self, event: str) -> None:
        """Reach the active webhooks that want the event."""
        wanted = dict(zip(("a", "b"), self.model.hooks, strict=True))
        hooks = [hook for name, hook in wanted.items() if event in {name, "both"} and self.model.hooks[hook].active]
        made = self.store.enqueue("acme", event, {})
        assert len(made) == len(hooks)
        for delivery_id in made:
            found = self.store.get_delivery("acme", delivery_id)
            assert found is not None
            hooks.remove(found.webhook_id)
            self.model.deliveries[delivery_id] = Expected(found.webhook_id, self.clock.now)

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        """Give a worker what is due and nobody has: as many as there are, the oldest of each webhook."""
        now = self.clock.now
        for one in self.model.deliveries.values():
            if one.claim and one.due <= now and one.left == 0:
                self.model.bury(one)
        ready = {hook: self.model.ready(hook, now) for hook in self.model.hooks}
        claimed = self.store.claim_due(limit)
        assert len(claimed) == min(limit, sum(len(due) for due in ready.values()))
        for got in claimed:
            one = self.model.deliveries[got.id]
            assert (one.due, one.state) == (ready[one.hook].pop(0), "waiting")
            one.claim, one.due, one.left = got.claim, now + LEASE, one.left - 1
            assert one.left == got.attempts_left
        self.model.held += claimed

    @rule(pick=PICK, outcome=st.sampled_from(["sent", "failed", "gone", "killed"]))
    def finish(self, pick: int, outcome: str) -> None:
        """Let a worker tell how it went, maybe too late; or it is killed and tells nothing."""
        if not self.model.held:
            return
        got = self.model.held.pop(pick % len(self.model.held))
        one = self.model.deliveries[got.id]
        holds = one.claim == got.claim
        if outcome == "sent":
            assert self.store.succeeded(got, status=200, duration_ms=1) is holds
        elif outcome != "killed":
            status = 410 if outcome == "gone" else None
            assert self.store.failed(got, error="status", status=status, duration_ms=1) is holds
        if not holds or outcome == "killed":
            return
        one.claim = ""
        if outcome == "sent":
            one.state = "sent"
            self.model.hooks[one.hook].dead_in_a_row = 0
        elif outcome == "gone" or one.left == 0:
            self.model.bury(one)
            self.model.hooks[one.hook].active &= outcome != "gone"
        else:
            found = self.store.get_delivery("acme", got.id)
            assert found is not None
            assert found.due_at is not None
            delay = timedelta(seconds=DELAYS_S[MOST_ATTEMPTS - one.left - 1])
            assert delay <= found.due_at - self.clock.now <= delay * 1.25
            one.due = found.due_at

    @rule(seconds=st.sampled_from([1, 60, LEASE.total_seconds(), 3600, 2 * 86_400]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds=seconds)

    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        """Give what is dead all its attempts anew."""
        dead = [delivery_id for delivery_id, one in self.model.deliveries.items() if one.state == "dead"]
        if dead:
            delivery_id = dead[pick % len(dead)]
            self.store.redrive("acme", delivery_id)
            one = self.model.deliveries[delivery_id]
            one.state, one.due, one.left = "waiting", self.clock.now, MOST_ATTEMPTS

    @rule(pick=PICK, active=st.booleans())
    def switch(self, pick: int, active: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Switch a webhook off or on."""
        hook = list(self.model.hooks)[pick % len(self.model.hooks)]
        (self.store.activate if active else self.store.deactivate)("acme", hook)
        self.model.hooks[hook] = Hook(active, 0 if active else self.model.hooks[hook].dead_in_a_row)

    @invariant()
    def agrees(self) -> None:
        """State, attempts, due times and claims are those of the model, and so are the webhooks."""
        with self.store.database.read("look") as view:
            rows = view.all("SELECT id, state, attempts_left, claim FROM webhook_deliveries")
            hooks = view.all("SELECT id, is_active, dead_in_a_row FROM webhooks")
        assert {row[0]: (*row[1:3], row[3] or "") for row in rows} == {
            delivery_id: (one.state, one.left, one.claim) for delivery_id, one in self.model.deliveries.items()
        }
        assert {row[0]: Hook(bool(row[1]), int(str(row[2]))) for row in hooks} == self.model.hooks

    def teardown(self) -> None:
        """In the end, with workers that succeed, everything is sent or was dead before."""
        for hook in self.model.hooks:
            self.store.activate("acme", hook)
        self.clock.advance(days=30)
        while claimed := self.store.claim_due(100):
            for one in claimed:
                assert self.store.succeeded(one, status=200, duration_ms=1)
        with self.store.database.read("look") as view:
            rows = view.all("SELECT id, state FROM webhook_deliveries")
        assert {row[0] for row in rows} == self.model.deliveries.keys()
        assert {row[1] for row in rows} <= {"sent", "dead"}


def test_the_queue_behaves_like_its_model(store: WebhookStore, clock: Clock) -> None:
    """In whatever order events, claims, outcomes, deaths of workers, redrives and time come."""

    class OnBackend(Queue):
        pass

    OnBackend.store, OnBackend.clock = store, clock
    run_state_machine_as_test(OnBackend, settings=settings(max_examples=25, stateful_step_count=30))
    assert store.claim_due() == []
