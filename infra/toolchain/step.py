"""What a part of the toolchain is: how it is found, and from which origins it can be had.

``run_step`` is the whole policy: a part that is there is used, otherwise its origins are tried in their order, and a
part that no origin can give ends the bootstrap with every answer. What the parts are is in ``parts/``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.toolchain.process import CommandFailedError, Console, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from infra.toolchain.store import Store


@dataclass(frozen=True)
class Context:
    """The machine as a step sees it."""

    environment: Mapping[str, str]
    store: Store
    repository: Path
    console: Console
    settled: dict[str, Found] = field(default_factory=dict)
    """The parts that this bootstrap has already told of: several parts may need the same one."""

    def run(
        self,
        *command: str,
        label: str = "",
        cwd: Path | None = None,
        timeout_s: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command in this machine's environment and return its output; see ``process.run``."""
        environment = {**self.environment, **(variables or {})}
        return run(
            command,
            console=self.console,
            label=label or command[0],
            environment=environment,
            cwd=cwd,
            timeout_s=timeout_s,
        )


@dataclass(frozen=True)
class Found:
    """A part that is there, as it would be used."""

    version: str
    origin: str


class UnavailableError(Exception):
    """An origin cannot give its part: the text is its answer, ``output`` what a failing command printed."""

    def __init__(self, answer: str, output: str = "") -> None:
        super().__init__(answer)
        self.output = output


class BlockedError(UnavailableError):
    """As UnavailableError, and no other origin would help: ``way_out`` is what the user must do."""

    def __init__(self, answer: str, way_out: str) -> None:
        super().__init__(answer)
        self.way_out = way_out


class PartMissingError(Exception):
    """No origin could give a part; the text has each one's answer with its whole output, and the way out."""

    def __init__(self, part: str, answers: list[tuple[str, UnavailableError]], way_out: str) -> None:
        lines = [f"{part}: cannot be had."]
        for origin, answer in answers:
            lines.append(f"  {origin}: {answer}")
            lines += [f"    | {line}" for line in answer.output.splitlines()]
        lines.append(f"way out: {way_out}")
        super().__init__("\n".join(lines))
        self.part = part


@dataclass(frozen=True)
class Origin:
    """One way to get a part. ``obtain`` may be repeated; it raises UnavailableError or CommandFailedError."""

    name: str
    obtain: Callable[[Context], None]
    needs: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Step:
    """One part. ``find`` changes nothing and never raises for a part that is missing."""

    part: str
    find: Callable[[Context], Found | None]
    origins: tuple[Origin, ...]
    way_out: str


def run_step(step: Step, context: Context) -> Found:
    """Return the part, after getting it from the first origin that can give it; prints its line, once.

    Raises PartMissingError when none can.
    """
    if step.part in context.settled:
        return context.settled[step.part]
    started = time.monotonic()
    found = step.find(context)
    answers: list[tuple[str, UnavailableError]] = []
    for origin in step.origins if found is None else ():
        try:
            started = _obtain(origin, context)
        except BlockedError as error:
            raise PartMissingError(step.part, [*answers, (origin.name, error)], error.way_out) from error
        except UnavailableError as error:
            answers.append((origin.name, error))
            continue
        found = step.find(context)
        if found is not None:
            break
        answers.append((origin.name, UnavailableError("it was installed, and yet is not found")))
    if found is None:
        raise PartMissingError(step.part, answers, step.way_out)
    passed_over = f"  (not from: {', '.join(name for name, _ in answers)})" if answers else ""
    context.console.line(f"{table_row(step.part, found)}{time.monotonic() - started:7.1f} s{passed_over}")
    context.settled[step.part] = found
    return found


def _obtain(origin: Origin, context: Context) -> float:
    """Get what the origin needs, then the part; return when the part itself was begun. All failures become answers."""
    try:
        for need in origin.needs:
            run_step(need, context)
        started = time.monotonic()
        origin.obtain(context)
    except CommandFailedError as error:
        raise UnavailableError(str(error), error.output) from error
    except OSError as error:  # a full disk, a folder that may not be written
        raise UnavailableError(str(error)) from error
    except PartMissingError as error:
        raise UnavailableError(f"it needs another part: {error}") from error
    return started


def table_row(part: str, found: Found) -> str:
    """Return the part, its version and its origin in columns."""
    return f"{part:<22}{found.version:<20}{found.origin:<44}"
