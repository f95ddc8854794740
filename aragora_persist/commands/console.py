"""What a person sees of every command: tables, progress, errors; and where a command's settings come from."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TYPE_CHECKING

from aragora_persist.errors import PersistError
from aragora_persist.redaction import redact
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def read_settings(arguments: Namespace) -> Settings:
    """Return the environment's settings, with ``--nomic-dir`` in the place of ``NOMIC_DIR``."""
    environ = os.environ.copy()
    if arguments.nomic_dir is not None:
        environ["NOMIC_DIR"] = arguments.nomic_dir
    return Settings.from_env(environ)


def print_json(record: object) -> None:
    """Print one JSON document."""
    print(json.dumps(record, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings, in columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_error(error: BaseException, *, verbose: bool = False) -> None:
    """Print an error with its causes and its way out to stderr, without credentials; ``verbose`` adds the traceback."""
    if verbose:
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
    print(redact("\n  because ".join([f"aragora-persist: {lines[0]}", *lines[1:]])), file=sys.stderr)
    if hint:
        print(redact(f"  way out: {hint}"), file=sys.stderr)


def _line(error: BaseException) -> str:
    if isinstance(error, PersistError):
        return f"{error.operation}: {error.target}: {error.problem}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
