"""What was imported: kept beside the outbox, so that it changes in the same transaction as what was enqueued.

A commit keeps its cycle number for ever: numbers are given in the order of arrival, and one that was given is never
given again, whatever happens to the history. Leaves out: reading histories and traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Reader, Transaction


def new_commits(reader: Reader, loop_id: str, shas: Sequence[str]) -> list[str]:
    """Return those of ``shas`` that have no cycle number yet, in their order."""
    marks = ", ".join("?" * len(shas))
    sql = f"SELECT sha FROM imported_commits WHERE loop_id = ? AND sha IN ({marks})"  # noqa: S608 - question marks
    known = {sha for (sha,) in reader.all(sql, (loop_id, *shas))}
    return [sha for sha in shas if sha not in known]


def number_commits(tx: Transaction, loop_id: str, shas: Sequence[str]) -> dict[str, int]:
    """Give each of ``shas`` that has none the next cycle number of the loop, and return the numbers given."""
    row = tx.one("SELECT MAX(cycle_number) FROM imported_commits WHERE loop_id = ?", (loop_id,))
    last = int(row[0] or 0) if row else 0
    numbers = {sha: last + place for place, sha in enumerate(new_commits(tx, loop_id, shas), start=1)}
    tx.execute_many(
        "INSERT INTO imported_commits (loop_id, cycle_number, sha) VALUES (?, ?, ?)",
        [(loop_id, number, sha) for sha, number in numbers.items()],
    )
    return numbers


def note_replay(tx: Transaction, trace_id: str, digest: str) -> bool:
    """Note that a replay's records are enqueued, and return whether that is news.

    Raises:
        ConflictError: they were enqueued from another content with the same trace id.

    """
    row = tx.one("SELECT digest FROM imported_replays WHERE trace_id = ?", (trace_id,))
    if row is None:
        tx.execute(
            "INSERT INTO imported_replays (trace_id, digest, imported_at) VALUES (?, ?, ?)",
            (trace_id, digest, times.to_text(times.utc_now())),
        )
        return True
    if row[0] != digest:
        raise ConflictError("import replay", trace_id, "was imported with another content")
    return False
