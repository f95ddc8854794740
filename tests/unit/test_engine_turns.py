"""The line before the writer: in order, bounded, and no turn or job ever lost."""

from __future__ import annotations

import threading

from aragora_persist.storage.sqlite.turns import Place, State, Turns
from tests.waiting import wait_until

LONG_S = 30.0


def in_line(turns: Turns[int]) -> int:
    """Count the places, the one with the turn included."""
    return len(turns._line)


def wait_in_line(turns: Turns[int], served: list[int], number: int) -> threading.Thread:
    """Start a thread that takes its turn, and return when it stands in the line."""

    def work() -> None:
        assert turns.take(LONG_S)
        served.append(number)
        turns.give()

    before = in_line(turns)
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: in_line(turns) > before, "a thread in the line", every_s=0.001)
    return thread


def offer(turns: Turns[int], job: int, timeout_s: float = LONG_S) -> tuple[Place[int], threading.Thread]:
    """Start a thread that waits with a job, and return when it stands in the line."""
    place = Place(job)
    before = in_line(turns)

    def work() -> None:
        turns.take(timeout_s, place)
        turns.give()

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: in_line(turns) > before, "a thread in the line", every_s=0.001)
    return place, thread


def anything(_: int) -> bool:
    """Take any job."""
    return True


def test_first_come_first_served() -> None:
    """Who asked first is served first, and who gives the turn cannot take it before those who wait."""
    turns, served = Turns[int](), list[int]()
    assert turns.take(LONG_S)
    threads = [wait_in_line(turns, served, number) for number in range(5)]
    turns.give()
    assert turns.take(LONG_S)
    assert served == [0, 1, 2, 3, 4]
    turns.give()
    for thread in threads:
        thread.join()


def test_who_gives_up_is_skipped() -> None:
    """A wait that ran out leaves the line; the turn goes to the next one and is not lost."""
    turns, served = Turns[int](), list[int]()
    assert turns.take(LONG_S)
    outcome: list[bool] = []
    impatient = threading.Thread(target=lambda: outcome.append(turns.take(0.01)))
    impatient.start()
    impatient.join()
    assert outcome == [False]
    patient = wait_in_line(turns, served, 1)
    turns.give()
    patient.join()
    assert served == [1]
    assert turns.take(0)


def test_knows_its_holder() -> None:
    """Only the holding thread has the turn, and only it can give it."""
    turns = Turns[int]()
    assert not turns.mine()
    assert turns.take(LONG_S)
    assert turns.mine()
    others: list[bool] = []

    def ask_and_give() -> None:
        others.append(turns.mine())
        turns.give()

    other = threading.Thread(target=ask_and_give)
    other.start()
    other.join()
    assert others == [False]
    assert turns.mine()
    turns.give()
    assert not turns.mine()


def test_takes_any_timeout() -> None:
    """A timeout longer than the platform's longest is not an error."""
    turns, served = Turns[int](), list[bool]()
    assert turns.take(1e300)
    thread = threading.Thread(target=lambda: served.append(turns.take(1e300)))
    thread.start()
    wait_until(lambda: in_line(turns) == 2, "a thread in the line", every_s=0.001)
    turns.give()
    thread.join()
    assert served == [True]


def test_jobs_are_done_in_order_up_to_who_wants_the_turn_itself() -> None:
    """The jobs behind the turn come in order; a place without a job ends them, and its turn comes next."""
    turns, served = Turns[int](), list[int]()
    assert turns.take(LONG_S)
    first, one = offer(turns, 1)
    second, two = offer(turns, 2)
    block = wait_in_line(turns, served, 3)
    _, three = offer(turns, 4)
    assert turns.jobs() == [1, 2, 4]
    assert turns.next_job(0, anything) is first
    assert turns.next_job(1, lambda job: job != 2) is None
    assert turns.next_job(1, anything) is second
    assert turns.next_job(2, anything) is None
    turns.give()
    one.join()
    two.join()
    assert (first.state, second.state) == (State.DONE, State.DONE)
    block.join()
    three.join()
    assert served == [3]


def test_a_job_that_is_being_done_is_waited_for() -> None:
    """The timeout of a place ends its waiting, not its job: the outcome is always known."""
    turns = Turns[int]()
    assert turns.take(LONG_S)
    place, thread = offer(turns, 1, timeout_s=0.05)
    assert turns.next_job(0, anything) is place
    thread.join(0.2)
    states = [place.state]
    assert thread.is_alive()
    turns.give()
    thread.join()
    assert [*states, place.state] == [State.RUNNING, State.DONE]


def test_a_job_that_was_put_back_has_the_next_turn() -> None:
    """What was taken up and not done stands where it stood; one that was done alone has left."""
    turns = Turns[int]()
    assert turns.take(LONG_S)
    first, one = offer(turns, 1)
    second, two = offer(turns, 2)
    assert turns.next_job(0, anything) is first
    assert turns.next_job(1, anything) is second
    turns.done_alone(1)
    two.join()
    turns.put_back()
    assert (first.state, second.state) == (State.WAITING, State.DONE)
    turns.give()
    one.join()
    assert first.state is State.HAD


def test_a_job_that_is_put_back_too_late_leaves_the_line() -> None:
    """Its caller has waited as long as it said, and does not begin to wait again; those behind it move up."""
    turns = Turns[int]()
    assert turns.take(LONG_S)
    late, one = offer(turns, 1, timeout_s=0.05)
    behind, two = offer(turns, 2)
    assert turns.next_job(0, anything) is late
    wait_until(lambda: late.late, "the end of its patience")
    turns.put_back()
    turns.put_back()
    one.join()
    assert (late.state, behind.state) == (State.LEFT, State.WAITING)
    turns.give()
    two.join()
    assert behind.state is State.HAD


def test_hammered_turns_exclude_each_other() -> None:
    """Under many threads with short patience, two never hold the turn at once, and it is free in the end."""
    turns, inside, seen = Turns[int](), list[int](), set[int]()

    def work(number: int) -> None:
        for _ in range(200):
            if turns.take(0.001):
                inside.append(number)
                seen.add(len(inside))
                inside.remove(number)
                turns.give()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1}
    assert turns.take(0)
