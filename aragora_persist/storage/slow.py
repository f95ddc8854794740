"""The slow-query log: one documented line on the logger ``aragora_persist.slow``.

Counted is the time inside the database (statements and commit): not the caller's own code between them, and not the
wait for a lock, so that the line names the query that is slow and not those that waited for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.storage.logs import logger

if TYPE_CHECKING:
    from aragora_persist.storage.port import Context

_LONGEST = 100


def report_slow(operation: str, context: Context | None, spent_s: float, threshold_ms: float) -> None:
    """Warn when ``operation`` took longer than the threshold; just reaching it is not slow."""
    if spent_s * 1000 > threshold_ms:
        shown = f"{operation} [{_shown(context)}]" if context else operation
        logger("slow").warning("Slow query (%.3fs): %s (threshold: %.3fs)", spent_s, shown, threshold_ms / 1000)


def _shown(context: Context) -> str:
    return ", ".join(f"{key}={_harmless(str(value))}" for key, value in context.items())


def _harmless(text: str) -> str:
    """Return a text that stays on its line and leaves room for others, whatever a caller has put into it."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in cut)
