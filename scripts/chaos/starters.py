"""Many processes that do the same at the same instant."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier

_PATIENCE_S = 60


def race(processes: int, steps: Sequence[Callable[[int], object]]) -> list[str]:
    """Let so many processes take each step at once, told which of them they are; return what the failed ones said."""
    fork = multiprocessing.get_context("fork")  # quick, and safe here: nothing is open and no thread runs
    together, failures = fork.Barrier(processes), fork.SimpleQueue()
    started = [fork.Process(target=_run, args=(number, steps, together, failures)) for number in range(processes)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    said = [f"exit code {one.exitcode}" for one in started if one.exitcode]
    while not failures.empty():
        said.append(failures.get())
    return said


def _run(number: int, steps: Sequence[Callable[[int], object]], together: Barrier, failures: SimpleQueue[str]) -> None:
    for step in steps:
        together.wait(_PATIENCE_S)
        try:
            step(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            failures.put(f"{type(error).__name__}: {error}")
