"""Whose fault a failure is that tells nothing of the records: the service's, or that of one of them. Pure.

No answer, a broken connection, a page of some gateway: most often the service is to blame, sometimes a record that the
database breaks down over. So after such a failure records are sent one by one, then in growing portions. One that fails
alone is suspect: it comes after all others, and when it has failed often enough while others got through, it is given
up. Leaves out: sending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.cloud.batches import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.cloud.outbox import OutboxEntry

ENOUGH = 5
"""So often a record fails before it is given up."""


class Suspicion:
    """What is known of one table; a new one suspects nobody."""

    def __init__(self) -> None:
        self.portion = BATCH_ROWS
        """How many records to send at once."""
        self.suspects: dict[int, int] = {}
        """How often these records, by id, have failed while others got through; the next one to try is the first."""
        self._in_a_row = 0

    def passed(self) -> None:
        """Note that a portion was answered."""
        self._in_a_row = 0
        self.portion = min(2 * self.portion, BATCH_ROWS)

    def failed(self, portion: Sequence[OutboxEntry]) -> bool:
        """Note that a portion failed, and say whether to go on with others at once.

        Not after two single ones in a row: then it is the service, and after a while the first to try is another one.
        """
        self.portion = 1
        if len(portion) == 1:
            self.suspects[portion[0].id] = 0
            self._in_a_row += 1
        return self._in_a_row <= 1

    def failed_again(self, id_: int, *, counts: bool) -> bool:
        """Note that a suspect failed again, let it be the last to be tried, and say whether to give it up."""
        self.suspects[id_] = self.suspects.pop(id_) + counts
        return self.suspects[id_] >= ENOUGH

    def cleared(self, id_: int) -> None:
        """Note that a suspect is delivered, given up or gone."""
        del self.suspects[id_]
