"""How far a migration has come, told to whoever waits for it.

A run names each migration as it begins it; what takes long inside of one says more with ``report``, and needs to know
nothing of the run for that. Leaves out: showing it (``commands.console``).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[str], None]


def no_progress(_text: str) -> None:
    """Tell nobody."""


_told: ContextVar[Progress] = ContextVar("_told", default=no_progress)


@contextmanager
def step(progress: Progress, name: str) -> Iterator[None]:
    """Tell ``progress`` that ``name`` begins; until the end of the block, it also hears what is reported inside."""
    progress(name)
    token = _told.set(lambda text: progress(f"{name}: {text}"))
    try:
        yield
    finally:
        _told.reset(token)


def report(text: str) -> None:
    """Say how far the present step is, such as "120,000 of 900,000 rows"; outside of a step nobody hears it."""
    _told.get()(text)
