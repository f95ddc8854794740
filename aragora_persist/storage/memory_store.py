"""Memories in four tiers: kept, used, strengthened by outcomes, forgotten into an archive, and never lost by accident.

Nothing is written because time passes: what is left of an importance is computed when it is read. Leaves out: the rules
of the tiers (``memory.tiers``), and when to sweep, which a service decides.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aragora_persist.settings import Durability
from aragora_persist.storage import checks
from aragora_persist.storage.memory import changes as memory_changes
from aragora_persist.storage.memory import moves as memory_moves
from aragora_persist.storage.memory import sweep as memory_sweep
from aragora_persist.storage.memory.ranking import ranked
from aragora_persist.storage.memory.records import (
    ARCHIVE_COLUMNS,
    MEMORY_COLUMNS,
    ArchivedMemory,
    Memory,
    RedLineEvent,
    Swept,
    TierTransition,
    to_archived,
    to_memory,
    to_red_line_event,
    to_transition,
)
from aragora_persist.storage.memory.tiers import TIER_NAMES, TIERS, Tier, strength, tier_named
from aragora_persist.storage.pages import LARGEST_PAGE, Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from aragora_persist.storage.port import Row, Transaction

_RED_LINES = f"""
    SELECT {MEMORY_COLUMNS} FROM memories WHERE red_line = 1 AND id > ? ORDER BY id LIMIT ?
"""  # noqa: S608 - constants of this package
_ARCHIVED_ONE = f"SELECT {ARCHIVE_COLUMNS} FROM memory_archive WHERE id = ?"  # noqa: S608 - as above
_ARCHIVED = f"""
    SELECT {ARCHIVE_COLUMNS} FROM memory_archive WHERE (archived_at, id) < (?, ?)
    ORDER BY archived_at DESC, id DESC LIMIT ?
"""  # noqa: S608 - as above
_TRANSITIONS = """
    SELECT id, memory_id, from_tier, to_tier, reason, moved_at FROM tier_transitions
    WHERE memory_id = ? AND id > ? ORDER BY id LIMIT ?
"""
_EVENTS = """
    SELECT id, memory_id, action, reason, recorded_at FROM red_line_events
    WHERE memory_id = ? AND id > ? ORDER BY id LIMIT ?
"""
_BATCH = 100  # of so many moves the writer is held for some ten milliseconds
_AFTER_ALL_TIMES = "Z"

Item = TypeVar("Item")


class MemoryStore(Store):
    """The memories of one database. ``db_path`` None is ``aragora_memory.db`` under ``NOMIC_DIR``.

    Methods that write take a transaction of the same database as ``tx``; without one, each is its own.
    """

    database_name = "memory"

    def add(
        self,
        content: str,
        *,
        importance: float = 0.5,
        tier: str = "fast",
        metadata: dict[str, Any] | None = None,
        memory_id: str | None = None,
        tx: Transaction | None = None,
    ) -> Memory:
        """Keep a memory and return it; where its tier is full, the weakest other one goes into the archive.

        Who may have to repeat a call gives the memory its ``memory_id``: adding it again changes nothing.

        Raises:
            ConflictError: there is another memory with this id, or one in the archive.
            InvalidValueError: a value breaks a rule.

        """
        operation = "memory.add"
        now = self._clock()
        home = tier_named(checks.choice(operation, "tier", tier, TIER_NAMES))
        weight = checks.number(operation, "importance", importance, least=0, most=1) + 0.0
        moment = to_text(now)
        row = (
            checks.new_id() if memory_id is None else checks.ident(operation, "memory_id", memory_id),
            home.name,
            checks.text(operation, "content", content, empty=False),
            weight,
            checks.json_object(operation, "metadata", {} if metadata is None else metadata),
            *(moment, moment, strength(home, weight, now)),
        )
        return self._write(operation, partial(memory_changes.add, row, home, now), tx)

    def get(self, memory_id: str) -> Memory | None:
        """Return the memory of this id, or None when there is none outside of the archive. It is not an access."""
        checks.ident("memory.get", "memory_id", memory_id)
        with self._database.read("memory.get", {"memory_id": memory_id}) as view:
            return memory_moves.find(view, memory_id, self._clock())

    def access(
        self, memory_id: str, *, durability: Durability = Durability.COMMITTED, tx: Transaction | None = None
    ) -> Memory:
        """Count an access, which lets the memory decay from now on, and return the memory.

        By default the count survives a crash of the process, not a loss of power: losing some accesses harms nobody.

        Raises:
            NotFoundError: there is no such memory.

        """
        checks.ident("memory.access", "memory_id", memory_id)
        checks.instance("memory.access", "durability", durability, Durability)
        return self._write(
            "memory.access", partial(memory_changes.access, memory_id, self._clock()), tx, durability=durability
        )

    def record_outcome(
        self, memory_id: str, *, success: bool, event_key: str | None = None, tx: Transaction | None = None
    ) -> Memory:
        """Note whether the memory proved right, which changes surprise and stability and may move it; return it.

        Each call counts. Who may have to repeat one gives it an ``event_key``: within 30 days, the outcome of this key
        counts once.

        Raises:
            NotFoundError: there is no such memory.
            ConflictError: another outcome, or one of another memory, was noted with this key.
            InvalidValueError: ``success`` is no bool, or the key breaks a rule.

        """
        operation = "memory.record_outcome"
        checks.ident(operation, "memory_id", memory_id)
        outcome = memory_changes.Outcome(
            memory_id,
            checks.flag(operation, "success", success),
            None if event_key is None else checks.ident(operation, "event_key", event_key),
        )
        return self._write(operation, partial(memory_changes.record_outcome, outcome, self._clock()), tx)

    def list_memories(
        self, tier: str | None = None, *, containing: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[Memory]:
        """Return memories of one tier or of all, by what is left of their importance, the most first.

        ``containing`` leaves those whose content holds this text, upper and lower case told apart. A memory that is
        touched between two pages may be on both, or on none.
        """
        operation = "memory.list_memories"
        tiers = TIERS if tier is None else (tier_named(checks.choice(operation, "tier", tier, TIER_NAMES)),)
        wanted = "" if containing is None else checks.text(operation, "containing", containing)
        page_limit(operation, limit)
        now = self._clock()
        with self._database.read(operation, {"tier": tier}) as view:
            return ranked(view, tiers, wanted, now, limit, after)

    def iter_memories(self, tier: str | None = None, *, containing: str | None = None) -> Iterator[Memory]:
        """Yield what ``list_memories`` lists, in bounded memory."""
        return walk(lambda after: self.list_memories(tier, containing=containing, limit=LARGEST_PAGE, after=after))

    def mark_red_line(self, memory_id: str, reason: str, *, tx: Transaction | None = None) -> Memory:
        """Make a memory a red line: it leaves no more by itself, and by hand only for a stated reason; return it.

        Marking it again changes nothing.

        Raises:
            NotFoundError: there is no such memory.

        """
        operation = "memory.mark_red_line"
        checks.ident(operation, "memory_id", memory_id)
        _check_reason(operation, reason)
        return self._write(operation, partial(memory_changes.mark_red_line, memory_id, reason, self._clock()), tx)

    def lift_red_line(self, memory_id: str, reason: str, *, tx: Transaction | None = None) -> Memory:
        """Make a red line a memory like any other, and return it; lifting it again changes nothing.

        Raises:
            NotFoundError: there is no such memory.

        """
        operation = "memory.lift_red_line"
        checks.ident(operation, "memory_id", memory_id)
        _check_reason(operation, reason)
        return self._write(operation, partial(memory_changes.lift_red_line, memory_id, reason, self._clock()), tx)

    def list_red_lines(self, *, limit: int = 100, after: str | None = None) -> Page[Memory]:
        """Return the red lines outside of the archive, by id."""
        page_limit("memory.list_red_lines", limit)
        start = ("",) if after is None else from_cursor("memory.list_red_lines", after, str)
        now = self._clock()
        with self._database.read("memory.list_red_lines") as view:
            memories = [to_memory(row, now) for row in view.all(_RED_LINES, (*start, limit + 1))]
        return to_page(memories, limit, lambda memory: (memory.id,))

    def iter_red_lines(self) -> Iterator[Memory]:
        """Yield what ``list_red_lines`` lists, in bounded memory."""
        return walk(lambda after: self.list_red_lines(limit=LARGEST_PAGE, after=after))

    def list_red_line_events(self, memory_id: str, *, limit: int = 100, after: str | None = None) -> Page[RedLineEvent]:
        """Return what was done to a red line and why, the first first; it outlives the memory."""
        return self._list_of("memory.list_red_line_events", _EVENTS, memory_id, limit, after, to_red_line_event)

    def iter_red_line_events(self, memory_id: str) -> Iterator[RedLineEvent]:
        """Yield what ``list_red_line_events`` lists, in bounded memory."""
        return walk(lambda after: self.list_red_line_events(memory_id, limit=LARGEST_PAGE, after=after))

    def list_transitions(self, memory_id: str, *, limit: int = 100, after: str | None = None) -> Page[TierTransition]:
        """Return the moves of a memory between tiers, the first first; they outlive the memory."""
        return self._list_of("memory.list_transitions", _TRANSITIONS, memory_id, limit, after, to_transition)

    def iter_transitions(self, memory_id: str) -> Iterator[TierTransition]:
        """Yield what ``list_transitions`` lists, in bounded memory."""
        return walk(lambda after: self.list_transitions(memory_id, limit=LARGEST_PAGE, after=after))

    def archive(self, memory_id: str, *, reason: str | None = None, tx: Transaction | None = None) -> None:
        """Move a memory into the archive.

        Raises:
            NotFoundError: there is no such memory outside of the archive.
            ConflictError: it is a red line, and no reason was given.

        """
        operation = "memory.archive"
        checks.ident(operation, "memory_id", memory_id)
        if reason is not None:
            _check_reason(operation, reason)
        self._write(operation, partial(memory_changes.archive_one, memory_id, reason, self._clock()), tx)

    def restore(self, memory_id: str, *, tx: Transaction | None = None) -> Memory:
        """Bring a memory back from the archive into its tier, with all its counts, touched now, and return it.

        Raises:
            NotFoundError: it is not in the archive.

        """
        checks.ident("memory.restore", "memory_id", memory_id)
        return self._write("memory.restore", partial(memory_moves.restore, memory_id, self._clock()), tx)

    def delete(self, memory_id: str, *, reason: str | None = None, tx: Transaction | None = None) -> None:
        """Delete a memory for good, in the archive too.

        Raises:
            NotFoundError: there is no such memory.
            ConflictError: it is a red line, and no reason was given.

        """
        operation = "memory.delete"
        checks.ident(operation, "memory_id", memory_id)
        if reason is not None:
            _check_reason(operation, reason)
        self._write(operation, partial(memory_changes.delete, memory_id, reason, self._clock()), tx)

    def get_archived(self, memory_id: str) -> ArchivedMemory | None:
        """Return a memory in the archive, or None."""
        checks.ident("memory.get_archived", "memory_id", memory_id)
        row = self._database.read_one("memory.get_archived", _ARCHIVED_ONE, (memory_id,), {"memory_id": memory_id})
        return None if row is None else to_archived(row)

    def list_archived(self, *, limit: int = 100, after: str | None = None) -> Page[ArchivedMemory]:
        """Return the archive, the last archived first."""
        page_limit("memory.list_archived", limit)
        start = (_AFTER_ALL_TIMES, "") if after is None else from_cursor("memory.list_archived", after, str, str)
        with self._database.read("memory.list_archived") as view:
            archived = [to_archived(row) for row in view.all(_ARCHIVED, (*start, limit + 1))]
        return to_page(archived, limit, lambda memory: (to_text(memory.archived_at), memory.id))

    def iter_archived(self) -> Iterator[ArchivedMemory]:
        """Yield what ``list_archived`` lists, in bounded memory."""
        return walk(lambda after: self.list_archived(limit=LARGEST_PAGE, after=after))

    def sweep(self) -> Swept:
        """Archive what was forgotten, move what is due, archive what is beyond the caps; return how much of each.

        Old keys of outcomes go, too. In batches, each its own transaction; it may be stopped and started again at any
        time. Each memory moves by one tier at most.
        """
        now = self._clock()

        def run(step: Callable[[Tier, datetime, int, Transaction], int], tiers: tuple[Tier, ...]) -> int:
            done = 0
            for tier in tiers:
                some = _BATCH
                while some == _BATCH:
                    some = self._write("memory.sweep", partial(step, tier, now, _BATCH))
                    done += some
            return done

        self._in_batches("memory.sweep", partial(memory_changes.forget_outcomes, now, _BATCH))
        # Demotions from the slowest on and promotions from the fastest on, so that what has moved is not met again.
        return Swept(
            expired=run(memory_sweep.expire, TIERS),
            demoted=run(memory_sweep.demote, tuple(tier for tier in reversed(TIERS) if tier.demote_above is not None)),
            promoted=run(memory_sweep.promote, tuple(tier for tier in TIERS if tier.promote_above is not None)),
            crowded_out=run(memory_sweep.trim, TIERS),
        )

    def _list_of(
        self,
        operation: str,
        sql: str,
        memory_id: str,
        limit: int,
        after: str | None,
        record: Callable[[Row], Item],
    ) -> Page[Item]:
        """Return a page of what is noted of one memory, in rows that begin with their number."""
        checks.ident(operation, "memory_id", memory_id)
        page_limit(operation, limit)
        start = (0,) if after is None else from_cursor(operation, after, int)
        with self._database.read(operation, {"memory_id": memory_id}) as view:
            page = to_page(view.all(sql, (memory_id, *start, limit + 1)), limit, lambda row: (cast("int", row[0]),))
        return Page([record(row[1:]) for row in page.items], page.next)


def _check_reason(operation: str, reason: str) -> None:
    checks.text(operation, "reason", reason, longest=checks.LONGEST_NAME, empty=False)
