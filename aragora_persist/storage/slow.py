"""The slow-query log: one documented line on the logger ``aragora_persist.slow``.

Counted is the time inside the database (statements and commit): not the caller's own code between them, and not the
wait for a lock, so that the line names the query that is slow and not those that waited for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.storage.logs import logger

if TYPE_CHECKING:
    from aragora_persist.storage.port import Context


def report_slow(operation: str, context: Context | None, spent_s: float, threshold_ms: float) -> None:
    """Warn when ``operation`` took longer than the threshold; just reaching it is not slow."""
    if spent_s * 1000 > threshold_ms:
        shown = "".join(f" [{key}={value}]" for key, value in (context or {}).items())
        logger("slow").warning(
            "Slow query (%.3fs): %s%s (threshold: %.3fs)", spent_s, operation, shown, threshold_ms / 1000
        )
