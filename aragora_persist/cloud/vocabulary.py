"""The documented phases and stages. They are open sets: another word is stored all the same, and warned of once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.storage.logs import logger

if TYPE_CHECKING:
    from aragora_persist.cloud.models import CloudModel

KNOWN = {
    "phase": frozenset({"debate", "design", "implement", "verify", "commit"}),
    "stage": frozenset({"proposing", "critiquing", "voting", "executing"}),
}
_MOST_WARNINGS = 100
"""Whoever makes up a word for each record is told often enough, and the words are not kept for ever."""
_warned: set[tuple[str, str]] = set()


def warn_of_unknown(record: CloudModel) -> None:
    """Log a warning for a word that is none of the documented ones: it may be mistyped, and nothing else would tell."""
    for field, known in KNOWN.items():
        word = getattr(record, field, None)
        if not isinstance(word, str) or word in known or (field, word) in _warned or len(_warned) >= _MOST_WARNINGS:
            continue
        _warned.add((field, word))
        logger("cloud").warning("%s: %s %r is none of %s", record.TABLE, field, word, ", ".join(sorted(known)))
