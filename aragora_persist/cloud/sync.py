"""Sends what waits in the outbox to Supabase, and removes what has arrived.

A crash loses nothing, since a record is removed after the server has answered, and doubles nothing, since it carries
its own key and is sent again as the same row. What keeps one table from being delivered does not hold up the others,
and what keeps one record from it does not hold up those of its table (``suspicion``). Leaves out: who may send
(``lease``) and when (the service, or ``sync --once``).
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aragora_persist.cloud.backoff import Backoff
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.delivery import (
    next_batch,
    note_problem,
    one_of,
    remove_delivered,
    set_aside,
    waiting_tables,
)
from aragora_persist.cloud.problems import tell_alike
from aragora_persist.cloud.rows import to_row
from aragora_persist.cloud.suspicion import ENOUGH, Suspicion
from aragora_persist.errors import (
    AccessDeniedError,
    InvalidValueError,
    PersistError,
    RejectedError,
    SchemaOutdatedError,
    UnreachableError,
    UnsupportedError,
)
from aragora_persist.redaction import redact
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aragora_persist.cloud.delivery import Batch, Damaged
    from aragora_persist.cloud.outbox import Outbox, OutboxEntry
    from aragora_persist.settings import Secret, Settings

OPERATION = "sync"
_EVERY_TABLE = ""
_UNCLEAR = (UnreachableError, AccessDeniedError, SchemaOutdatedError)
"""May concern one record: gateways refuse what they take for an attack, and a column may be one record's alone."""
LEAST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Between two attempts, in seconds: at first, and in a long outage."""
_log = logging.getLogger(__name__)


def require_configured(settings: Settings) -> Secret:
    """Return the key of the configured project.

    Raises:
        InvalidValueError: address or key are not set.

    """
    if not settings.supabase_url or settings.supabase_key is None:
        missing = "SUPABASE_KEY" if settings.supabase_url else "SUPABASE_URL"
        raise InvalidValueError(OPERATION, missing, "is not set", hint="set SUPABASE_URL and SUPABASE_KEY")
    return settings.supabase_key


def connect(settings: Settings) -> CloudConnection:
    """Return a connection to the configured project, with the key as it is now.

    Raises:
        InvalidValueError: address or key are not set, or the address is none.

    """
    key = require_configured(settings)
    return CloudConnection(settings.supabase_url, key)


@dataclass(slots=True)
class _Hold:
    """Why and until when a table is left alone."""

    backoff: Backoff
    retry_at: float
    error: PersistError


class Sender:
    """Sends from one outbox, in one thread; to be used in a ``with``, which closes its connection.

    ``connect`` is called for the first connection, and for another one after the key was refused: it may have been
    changed. ``stopping`` is asked between two requests.
    """

    def __init__(
        self,
        outbox: Outbox,
        connect: Callable[[], CloudConnection],
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sent = 0
        self.refused = 0
        """How many records this sender has delivered, and how many became dead letters."""
        self._outbox = outbox
        self._connect = connect
        self._stopping = stopping
        self._clock = clock
        self._chance = chance
        self._connection: CloudConnection | None = None
        self._holds: dict[str, _Hold] = {}
        self._suspicions: dict[str, Suspicion] = {}
        self._last_table = ""
        self._noted: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    @property
    def problem(self) -> str:
        """What keeps records from being delivered, or ''."""
        told = tell_alike(hold.error for hold in self._holds.values())
        return "; ".join(f"{problem} ({way_out})" if way_out else problem for problem, way_out in told)

    def round(self) -> bool:
        """Send one batch for each table that may be tried, and say whether any record moved.

        What fails is tried again in a later round, after a while that grows with each failure.

        Raises:
            PersistError: the outbox itself cannot be worked with.

        """
        before = self.sent + self.refused
        tables = waiting_tables(self._outbox)
        self._suspicions = {table: self._suspicions.get(table) or Suspicion() for table in tables}
        concerned = {_EVERY_TABLE, *tables, *map(_suspects_of, tables)} if tables else set()
        self._holds = {name: hold for name, hold in self._holds.items() if name in concerned}
        # First those after the last one tried: a table that times out again and again keeps none from its turn.
        for table in sorted(tables, key=lambda name: (name <= self._last_table, name)):
            if self._stopping() or not self._may_try(_EVERY_TABLE):
                break
            if self._may_try(table):
                self._last_table = table
                self._try(table)
        self._note(self.problem)
        return self.sent + self.refused > before

    def _may_try(self, table: str) -> bool:
        hold = self._holds.get(table)
        return hold is None or self._clock() >= hold.retry_at

    def _try(self, table: str) -> None:
        refused = self.refused
        try:
            if self._deliver_batch(table, self._suspicions[table]):
                self._holds.pop(table, None)
                self._holds.pop(_EVERY_TABLE, None)
        except PersistError as error:
            self._hold(table, error)
            if isinstance(error, UnreachableError | InvalidValueError | UnsupportedError):
                self._hold(_EVERY_TABLE, error)
            if isinstance(error, AccessDeniedError):
                self._disconnect()
        if self.refused > refused:
            _log.error("%s: %s", table, count_text(self.refused - refused, "new dead letter"))

    def _deliver_batch(self, table: str, suspicion: Suspicion) -> bool:
        """Send one batch, and suspects after it; say whether the server has answered to any of it."""
        entries = self._sound(next_batch(self._outbox, table, without=suspicion.suspects))
        connection = self._connection = self._connection or self._connect()
        answered, error = False, None
        while entries and not self._stopping():
            portion = entries[: suspicion.portion]
            try:
                self._deliver(connection, portion)
            except _UNCLEAR as failure:
                error = failure
                if not suspicion.failed(portion):
                    raise
                if len(portion) > 1:  # of which some may have been delivered, or refused
                    entries = self._sound(next_batch(self._outbox, table, without=suspicion.suspects))
                    continue
            else:
                answered = True
                suspicion.passed()
            entries = entries[len(portion) :]
        if error and not answered:
            raise error
        return self._deliver_suspects(connection, table, suspicion, answered=answered)

    def _deliver_suspects(
        self, connection: CloudConnection, table: str, suspicion: Suspicion, *, answered: bool
    ) -> bool:
        held = _suspects_of(table)
        for id_ in list(suspicion.suspects):
            if self._stopping() or not self._may_try(held):
                break
            entries = self._sound(one_of(self._outbox, table, id_))
            if not entries:
                suspicion.cleared(id_)
                continue
            try:
                self._deliver(connection, entries)
            except _UNCLEAR as error:
                counts = answered and not isinstance(error, SchemaOutdatedError)
                if suspicion.failed_again(id_, counts=counts):
                    self._set_aside(entries[0], f"fails again and again, while others get through: {error.problem}")
                elif answered:
                    self._hold(held, _of_one(error, entries[0]))
                    break
                else:
                    raise
            else:
                answered = True
            suspicion.cleared(id_)
        if not suspicion.suspects:
            self._holds.pop(held, None)
        return answered

    def _sound(self, batch: Batch) -> list[OutboxEntry]:
        """Return what can be sent, and set the rest aside."""
        for damaged in batch.damaged:
            self._set_aside(damaged, damaged.problem)
        return batch.entries

    def _deliver(self, connection: CloudConnection, entries: Sequence[OutboxEntry]) -> None:
        """Send records of one table in one request, or in ever smaller ones until what is refused stands alone."""
        if not entries or self._stopping():
            return
        try:
            connection.write(entries[0].table, [to_row(entry) for entry in entries], operation=OPERATION)
        except RejectedError as error:
            if len(entries) == 1:
                self._set_aside(entries[0], error.problem)
                return
            middle = len(entries) // 2
            self._deliver(connection, entries[:middle])
            self._deliver(connection, entries[middle:])
        else:
            remove_delivered(self._outbox, entries)
            self.sent += len(entries)

    def _set_aside(self, entry: OutboxEntry | Damaged, reason: str) -> None:
        self.refused += set_aside(self._outbox, entry, redact(reason))

    def _hold(self, table: str, error: PersistError) -> None:
        held = self._holds.get(table)
        backoff = held.backoff if held else Backoff(LEAST_WAIT_S, LONGEST_WAIT_S, self._chance)
        self._holds[table] = _Hold(backoff, self._clock() + backoff.next_s(), error)

    def _note(self, problem: str) -> None:
        """Tell whoever looks at the outbox, and the log, what is wrong: once, not at every attempt."""
        if problem == self._noted:
            return
        if problem:
            _log.error("records wait: %s", problem)
        elif self._noted:
            _log.info("records are delivered again")
        note_problem(self._outbox, problem)
        self._noted = problem

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _of_one(error: PersistError, entry: OutboxEntry) -> PersistError:
    """Return the error as that of one record: what is wrong is neither the address nor the key."""
    problem = f"fails, while others get through: {error.problem}"
    hint = error.hint if isinstance(error, SchemaOutdatedError) else f"it is given up after {ENOUGH} such failures"
    return type(error)(error.operation, f"{entry.table} {entry.key}", problem, hint=hint)


def _suspects_of(table: str) -> str:
    """Return the name under which the suspects of a table are held."""
    return f"{table} (suspects)"
