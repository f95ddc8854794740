"""What a person sees of every command: tables, progress, errors; and where a command's settings come from."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from aragora_persist.errors import PersistError
from aragora_persist.migrations.progress import step
from aragora_persist.redaction import redact
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator, Sequence

_REDRAW_S = 0.1


def read_settings(arguments: Namespace) -> Settings:
    """Return the environment's settings, with ``--nomic-dir`` in the place of ``NOMIC_DIR``."""
    return Settings.from_env(nomic_dir=arguments.nomic_dir)


def print_json(record: object) -> None:
    """Print one JSON document."""
    import json  # noqa: PLC0415 - only who asks for it pays for it

    print(json.dumps(record, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings, in columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_problems(problems: Iterable[str]) -> None:
    """Print what is wrong to stderr, a line each, behind what was printed to stdout: in a pipe too."""
    print(end="", flush=True)
    for problem in problems:
        print(f"aragora-persist: {problem}", file=sys.stderr)


class Progress:
    """One line on stderr, drawn anew, where stderr is a terminal; nothing elsewhere. To be used in a ``with``."""

    def __init__(self, noun: str = "") -> None:
        self._noun = noun
        self._shows = sys.stderr.isatty()
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn_at:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        """Show how many are done, ten times a second at most."""
        if time.monotonic() - self._drawn_at > _REDRAW_S:
            self.tell(f"{done:,} of {total:,} {self._noun} ({100 * done // max(total, 1)} %)")

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        self.tell("")

    def tell(self, text: str) -> None:
        """Show this now."""
        if self._shows:
            self._drawn_at = time.monotonic()
            width = shutil.get_terminal_size().columns - 1  # a longer line would wrap, and stay
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)


@contextmanager
def showing(what: str) -> Iterator[Progress]:
    """Show what is done, and what is reported of it inside of the block."""
    with Progress() as progress, step(progress.tell, what):
        yield progress


def print_error(error: BaseException, *, subject: str = "", verbose: bool = False) -> None:
    """Print an error with its causes and its way out to stderr, without credentials; ``verbose`` adds the traceback.

    ``subject`` says which of several it concerns.
    """
    if verbose:
        import traceback  # noqa: PLC0415 - as above

        print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    hint = ""
    cause: BaseException | None = error
    lines = []
    while cause is not None:
        lines.append(_line(cause))
        if isinstance(cause, PersistError):
            hint = hint or cause.hint
        cause = cause.__cause__
    if not hint and not verbose and not isinstance(error, PersistError | OSError):
        hint = "this is a bug; -v shows where"
    first = ": ".join(filter(None, ("aragora-persist", subject, lines[0])))
    print(redact("\n  because ".join([first, *lines[1:]])), file=sys.stderr)
    if hint:
        print(redact(f"  way out: {hint}"), file=sys.stderr)


def _line(error: BaseException) -> str:
    if isinstance(error, PersistError):
        return f"{error.operation}: {error.target}: {error.problem}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
