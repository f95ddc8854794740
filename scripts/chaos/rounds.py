"""How long a rig goes on: for so many rounds, or until something is wrong.

Without its protection a rig is to find something, and how soon is a matter of chance and of the machine: whoever only
wants to see that it does, has it go on until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Sized


def add_until_wrong(parser: ArgumentParser) -> None:
    """Give a rig the option."""
    parser.add_argument("--until-wrong", action="store_true", help="end at the first thing that is wrong")


def rounds(most: int, *wrong: Sized, until_wrong: bool) -> Iterator[int]:
    """Count so many rounds, from 0 on; with ``until_wrong`` none after the one that put something into ``wrong``."""
    for number in range(most):
        yield number
        if until_wrong and any(map(len, wrong)):
            return
