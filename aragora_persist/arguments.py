"""What the text of an argument may be: each function returns its value, or refuses it for a stated reason.

Whatever a function needs it imports when it is called, so that the help starts as fast as Python does.
"""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # as in the command line
if TYPE_CHECKING:
    from datetime import datetime


def some_text(text: str) -> str:
    """Return an argument that may be anything but empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def database_name(text: str) -> str:
    """Return an argument that is the name of a database."""
    from aragora_persist.databases import find_database  # noqa: PLC0415 - the help needs no registry
    from aragora_persist.errors import InvalidValueError  # noqa: PLC0415 - as above

    try:
        return find_database(text).name
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(f"{error.target} {error.problem} ({error.hint})") from None


def backed_up_name(text: str) -> str:
    """Return an argument that is the name of a database, or of the Supabase half."""
    from aragora_persist.backup.names import SUPABASE  # noqa: PLC0415 - the help needs no names

    return text if text == SUPABASE else database_name(text)


def moment(text: str) -> datetime:
    """Return an argument that is a time."""
    from aragora_persist import times  # noqa: PLC0415 - only `restore --at` needs it
    from aragora_persist.errors import InvalidValueError  # noqa: PLC0415 - as above

    try:
        return times.from_text(text)
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(f"{error.target} {error.problem}") from None


def seconds(text: str) -> float:
    """Return an argument that is a length of time."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def port(text: str) -> int:
    """Return an argument that is a port."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):  # noqa: PLR2004 - TCP has so many ports
        raise argparse.ArgumentTypeError(f"{text!r} is not a port between 0 and 65535")
    return int(text)
