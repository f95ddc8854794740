"""The loggers of this package, made when there is something to say: ``logging`` is a tenth of a store's import time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


def logger(name: str) -> logging.Logger:
    """Return the logger ``aragora_persist.<name>``, silent in a program that did not ask for its log."""
    import logging  # noqa: PLC0415 - see the module's docstring

    package = logging.getLogger("aragora_persist")
    if not package.handlers:
        package.addHandler(logging.NullHandler())
    return package.getChild(name)
