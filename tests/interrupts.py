"""What a handler of a signal does to a program, at each step at which Python lets it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class AlarmError(TimeoutError):
    """What a handler of an alarm raises; as an ``OSError`` it must not be taken for one of the system's."""


def interrupted(call: Callable[[], object], at: int, kind: type[BaseException]) -> bool:
    """Call, with ``kind`` raised at the so many-th step in the stores; False when there are not so many.

    Python looks for signals when a function begins and when one that is written in C has returned.
    """
    left = at

    def step(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if "persist/storage" in frame.f_code.co_filename and event in {"call", "c_return"}:
            left -= 1
            if left == -1:
                raise kind

    sys.setprofile(step)
    try:
        call()
    except kind:
        return True
    finally:
        sys.setprofile(None)
    assert left >= 0, "the interrupt did not come out"
    return False
