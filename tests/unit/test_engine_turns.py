"""Turns at the writer: in order, bounded, and never lost."""

from __future__ import annotations

import threading
import time

from aragora_persist.storage.turns import Turns

LONG_S = 30.0


def wait_in_line(turns: Turns, served: list[int], number: int) -> threading.Thread:
    """Start a thread that takes its turn, and return when it stands in the line."""

    def work() -> None:
        assert turns.take(LONG_S)
        served.append(number)
        turns.give()

    before = len(turns._waiting)
    thread = threading.Thread(target=work)
    thread.start()
    while len(turns._waiting) == before:
        time.sleep(0.001)
    return thread


def test_first_come_first_served() -> None:
    """Who asked first is served first, and who gives the turn cannot take it before those who wait."""
    turns, served = Turns(), list[int]()
    assert turns.take(0)
    threads = [wait_in_line(turns, served, number) for number in range(5)]
    turns.give()
    assert turns.take(LONG_S)
    assert served == [0, 1, 2, 3, 4]
    turns.give()
    for thread in threads:
        thread.join()


def test_who_gives_up_is_skipped() -> None:
    """A wait that ran out leaves the line; the turn goes to the next one and is not lost."""
    turns, served = Turns(), list[int]()
    assert turns.take(0)
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
    """Only the holding thread has the turn."""
    turns = Turns()
    assert not turns.mine()
    assert turns.take(0)
    assert turns.mine()
    others: list[bool] = []
    other = threading.Thread(target=lambda: others.append(turns.mine()))
    other.start()
    other.join()
    assert others == [False]
    turns.give()
    assert not turns.mine()


def test_takes_any_timeout() -> None:
    """A timeout longer than the platform's longest is not an error."""
    turns, served = Turns(), list[int]()
    assert turns.take(1e300)
    thread = threading.Thread(target=lambda: served.append(turns.take(1e300)))
    thread.start()
    turns.give()
    thread.join()
    assert served == [True]


def test_hammered_turns_exclude_each_other() -> None:
    """Under many threads with short patience, two never hold the turn at once, and it is free in the end."""
    turns, inside, seen = Turns(), list[int](), set[int]()

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
