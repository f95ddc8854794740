"""The slow-query log: one documented line on the logger ``aragora_persist.slow``.

Counted is the time inside the database (statements and commit): not the caller's own code between them, and not the
wait for a lock, so that the line names the query that is slow and not those that waited for it.
"""

from __future__ import annotations

from aragora_persist.storage.logs import logger


def report_slow(operation: str, spent_s: float, threshold_ms: float) -> None:
    """Warn when ``operation`` took longer than the threshold; just reaching it is not slow."""
    if spent_s * 1000 > threshold_ms:
        logger("slow").warning("Slow query (%.3fs): %s (threshold: %.3fs)", spent_s, operation, threshold_ms / 1000)
