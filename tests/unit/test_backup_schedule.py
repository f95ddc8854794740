"""When work is due, under clocks that jump and machines that sleep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.backup.records import Drill
from aragora_persist.backup.sidecar.schedule import Clocks, Drills, Rounds, Timer

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600.0


class Machine:
    """Two clocks: both go on while it is awake, only one while it sleeps, and only one can be set."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic_s = 1000.0

    def work(self, seconds: float) -> Clocks:
        """Let time pass awake."""
        self.monotonic_s += seconds
        return self.sleep(seconds)

    def sleep(self, seconds: float) -> Clocks:
        """Let time pass asleep; or set the wall clock, to whatever side."""
        self.wall += timedelta(seconds=seconds)
        return Clocks(self.wall, self.monotonic_s)


class Loop:
    """A sidecar's rounds: what is due is backed up at once, or fails."""

    def __init__(self, machine: Machine, *names: str) -> None:
        self.machine = machine
        self.newest: dict[str, datetime | None] = dict.fromkeys(names)
        self.broken: set[str] = set()
        self.restart()

    def restart(self) -> None:
        """Begin anew, knowing only what the catalog knows."""
        self.rounds = Rounds(HOUR, retry_s=30, spread=lambda: 1.0)

    def look(self, clocks: Clocks | None = None) -> set[str]:
        """Do what is due; return what it was."""
        due = self.rounds.due(self.newest, clocks or self.machine.work(0))
        self.newest |= {name: self.machine.wall for name in due if name not in self.broken}
        if due:
            self.rounds.note(due, self.broken.intersection(due), self.machine.monotonic_s)
        return set(due)


def test_the_first_round_takes_all_and_the_next_comes_an_interval_later() -> None:
    """At once, not a second before the interval is over, and then all together again."""
    machine = Machine()
    loop = Loop(machine, "users", "elo")
    assert loop.look() == {"users", "elo"}
    assert loop.look() == set()
    assert loop.look(machine.work(HOUR - 1)) == set()
    assert loop.look(machine.work(1)) == {"users", "elo"}


def test_a_late_database_is_taken_at_once_and_joins_the_others() -> None:
    """By itself when it appears; in the others' round from then on, so that rounds stay sets."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    machine.work(HOUR / 2)
    loop.newest["elo"] = None
    assert loop.look() == {"elo"}
    assert loop.look(machine.work(HOUR / 2)) == {"users", "elo"}


def test_a_failing_one_is_tried_again_soon_and_alone() -> None:
    """The others keep their hours; when it is whole again, it is backed up within the retry."""
    machine = Machine()
    loop = Loop(machine, "users", "elo")
    loop.broken = {"elo"}
    assert loop.look() == {"users", "elo"}
    assert loop.look(machine.work(29)) == set()
    assert [loop.look(machine.work(at)) for at in (1, 29, 1)] == [{"elo"}, set(), {"elo"}]
    loop.broken = set()
    assert loop.look(machine.work(30)) == {"elo"}
    assert loop.look(machine.work(30)) == set()


def test_one_that_fails_after_good_ones_does_not_drag_the_others_along() -> None:
    """Its newest backup is old, but that is no reason to back up the others every half minute."""
    machine = Machine()
    loop = Loop(machine, "users", "elo")
    loop.look()
    loop.broken = {"elo"}
    assert loop.look(machine.work(HOUR)) == {"users", "elo"}
    assert [loop.look(machine.work(30)) for _ in range(3)] == [{"elo"}] * 3


def test_sleep_is_made_up_for_once() -> None:
    """However many intervals a machine slept through."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    machine.work(60)
    assert loop.look(machine.sleep(100 * HOUR)) == {"users"}
    assert loop.look(machine.work(HOUR - 1)) == set()


def test_a_restart_goes_on_where_the_catalog_says() -> None:
    """A young backup is not taken again; one whose interval ended meanwhile is, once."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    machine.work(HOUR / 2)
    loop.restart()
    assert loop.look() == set()
    machine.work(HOUR)
    loop.restart()
    assert loop.look() == {"users"}


def test_a_backup_from_the_future_is_no_reason_to_wait() -> None:
    """After a restart nobody knows its age: one is taken at once, and that one counts."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    machine.sleep(-10 * 8760 * HOUR)
    loop.restart()
    assert loop.look() == {"users"}
    assert loop.look(machine.work(HOUR - 1)) == set()


def test_a_clock_that_is_put_right_is_told_from_one_that_was_years_ahead() -> None:
    """Health does not know the age of what is dated far in the future: one is taken at once. A minute is no reason."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    loop.look(machine.work(1))
    machine.sleep(-60)
    assert loop.look() == set()
    machine.sleep(-10 * 8760 * HOUR)
    assert loop.look() == {"users"}
    assert loop.look(machine.work(HOUR - 1)) == set()


@given(st.lists(st.tuples(st.floats(1, 2 * HOUR), st.floats(-1e9, 1e9)), max_size=20))
def test_whatever_the_clock_says_the_interval_is_kept(steps: list[tuple[float, float]]) -> None:
    """The wall clock set between all looks: never an interval awake without a backup, never two for one jump."""
    machine = Machine()
    loop = Loop(machine, "users")
    loop.look()
    awake_s = 0.0
    for seconds, jump in steps:
        awake_s += seconds
        machine.sleep(jump)
        due = loop.look(machine.work(seconds))
        assert due or awake_s < HOUR
        assert loop.look() == set()
        if due:
            awake_s = 0.0


def drilled(at: datetime, *, ok: bool) -> Drill:
    """Return a drill of which only its moment and its outcome matter here."""
    return Drill(backup="users_1", database="users", at=at, ok=ok, seconds=1, source="local")


def test_drills_come_at_their_interval_and_soon_after_a_failed_one() -> None:
    """At once where there was none, then each at its own time; one that failed is tried again soon."""
    machine = Machine()
    drills = Drills(HOUR, retry_s=300)
    assert drills.due({"users": None, "elo": None}, machine.work(0)) == ("users", "elo")
    last: dict[str, Drill | None] = {"users": drilled(machine.wall, ok=True), "elo": drilled(machine.wall, ok=False)}
    assert drills.due(last, machine.work(299)) == ()
    assert drills.due(last, machine.work(1)) == ("elo",)
    last["elo"] = drilled(machine.wall, ok=True)
    assert drills.due(last, machine.work(HOUR - 301)) == ()
    assert drills.due(last, machine.sleep(50 * HOUR)) == ("users", "elo")


def test_a_drill_that_came_to_no_record_is_not_repeated_at_once() -> None:
    """As when its process was killed: else it would be begun anew at every look."""
    machine = Machine()
    drills = Drills(HOUR, retry_s=300)
    assert drills.due({"users": None}, machine.work(0)) == ("users",)
    drills.note(["users"], machine.monotonic_s)
    assert drills.due({"users": None}, machine.work(299)) == ()
    assert drills.due({"users": None}, machine.work(1)) == ("users",)


def test_a_timer_counts_a_new_moment_anew() -> None:
    """Work that somebody else did in between, earlier by the clock or later, starts the pause again."""
    machine = Machine()
    timer = Timer()
    assert timer.is_due(None, HOUR, machine.work(0))
    assert not timer.is_due(machine.wall, HOUR, machine.work(1))
    machine.work(HOUR / 2)
    assert not timer.is_due(machine.wall, HOUR, machine.work(HOUR / 2))
