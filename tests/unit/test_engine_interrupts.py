"""Ctrl-C at the beginning of each function that a call of the engine goes through: nothing is kept or lost by it."""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.unit.tokens import COUNT, INSERT, add, count
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from aragora_persist.storage.sqlite.engine import Engine


# A connection that an interrupt has cut off while it was opened is closed by its destructor, of which Python from 3.13
# on warns: in the test where it happens, or at a collection, which therefore is in that test too.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Leave nothing to be collected during another test."""
    yield
    gc.collect()


def read(engine: Engine) -> None:
    """Read in a view."""
    with engine.read("test") as view:
        view.one(COUNT)


def read_one(engine: Engine) -> None:
    """Read one row."""
    engine.read_one("test", COUNT)


def write_block(engine: Engine) -> None:
    """Write in a block."""
    with engine.transaction("test") as tx:
        tx.execute(INSERT, ("block",))
        tx.execute("DELETE FROM token_blacklist WHERE jti = ?", ("block",))


def write(engine: Engine) -> None:
    """Write by work."""
    engine.write("test", lambda tx: tx.execute(INSERT, ("work",)))
    engine.write("test", lambda tx: tx.execute("DELETE FROM token_blacklist WHERE jti = ?", ("work",)))


def interrupted(call: Callable[[], None], at: int) -> bool:
    """Call, with an interrupt at the beginning of so many-th function; False when there are not so many."""
    left = at

    def trace(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        # What a destructor raises, Python swallows: there an interrupt does nothing, whoever wrote it.
        if event == "call" and "storage/sqlite" in frame.f_code.co_filename and frame.f_code.co_name != "__del__":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("call", [read, read_one, write_block, write])
def test_nothing_is_kept_by_an_interrupt(either: Engine, call: Callable[[Engine], None]) -> None:
    """Wherever it comes, the turn is free afterwards, no reader is held, and others write at once."""
    add(either, "there")
    at = 0
    while interrupted(lambda: call(either), at):
        assert not either.writer.turns._line
        assert not getattr(either._shared.readers, "_lent", ())
        other = threading.Thread(target=either.write, args=("other", lambda tx: tx.execute(INSERT, (f"other-{at}",))))  # noqa: B023 - called at once
        other.start()
        other.join()
        either.write("clear", lambda tx: tx.execute("DELETE FROM token_blacklist WHERE jti IN ('block', 'work')"))
        at += 1
    assert at > 2
    assert count(either) == 1 + at


def test_an_exit_by_a_signal_is_that_of_the_leading_thread(either: Engine) -> None:
    """``SystemExit`` in the main thread, while it works for another: and ends the main thread's call alone."""
    runs: list[int] = []
    errors: list[BaseException] = []

    def stopped(_: object) -> None:
        runs.append(threading.get_ident())
        if len(runs) == 1:
            raise SystemExit  # as a handler of SIGTERM does, wherever the main thread is

    def wait_behind() -> None:
        try:
            either.write("other", stopped)
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            errors.append(error)

    other = threading.Thread(target=wait_behind)

    def lead(_: object) -> None:
        other.start()
        wait_until(lambda: len(either.writer.turns._line) == 2, "the other thread in the line", every_s=0.001)

    with pytest.raises(SystemExit):
        either.write("main", lead)
    other.join()
    assert errors == []
    assert runs == [threading.get_ident(), other.ident]
