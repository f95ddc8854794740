"""What a handler of a signal raises at any step of a call of the engine: nothing is kept, lost or mistaken by it."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from tests.interrupts import AlarmError, interrupted
from tests.unit.tokens import COUNT, INSERT, add, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, AlarmError, RuntimeError])
@pytest.mark.parametrize("call", [read, read_one, write_block, write])
def test_nothing_is_kept_by_an_interrupt(
    either: Engine, call: Callable[[Engine], None], kind: type[BaseException]
) -> None:
    """Wherever it comes, the caller gets it, the turn is free, no reader is held, and others write at once."""
    add(either, "there")
    at = 0
    while interrupted(lambda: call(either), at, kind):
        assert not either.writer.turns._line
        assert not getattr(either._shared.readers, "_lent", ())
        other = threading.Thread(target=either.write, args=("other", lambda tx: tx.execute(INSERT, (f"other-{at}",))))  # noqa: B023 - called at once
        other.start()
        other.join()
        either.write("clear", lambda tx: tx.execute("DELETE FROM token_blacklist WHERE jti IN ('block', 'work')"))
        at += 1
    assert at > 2
    assert count(either) == 1 + at
