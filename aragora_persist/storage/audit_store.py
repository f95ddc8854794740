"""The audit log: written once, found again, verified, exported, removed when old, and emptied of a person on demand.

Every entry is a leaf of a hash tree (``storage/audit``), appended in the transaction that writes its row: whoever
changes, removes or inserts a row is found out, and a tree head that was kept elsewhere shows even who rewrites all of
it. ``docs/stores/audit.md`` says what that helps against. Leaves out: who may read the log.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Settings
from aragora_persist.storage import checks, pages
from aragora_persist.storage.audit import erasure, export, retention, tree
from aragora_persist.storage.audit.append import LastSeen, append, read_state
from aragora_persist.storage.audit.entries import AuditEntry, NewEntry, draft, entry_of, new_entry
from aragora_persist.storage.audit.heads import TreeHead
from aragora_persist.storage.audit.leaf import COLUMNS
from aragora_persist.storage.audit.proofs import InclusionProof, check_inclusion, prove
from aragora_persist.storage.audit.query import AuditFilters, Conditions
from aragora_persist.storage.audit.reading import verify_log
from aragora_persist.storage.audit.signing import VARIABLE, PublicKeys, SigningKey, create_signing_key
from aragora_persist.storage.audit.verify import AuditProblem, AuditReport
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text, utc_now

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from typing import TextIO

    from aragora_persist.storage.audit.entries import Draft
    from aragora_persist.storage.pages import Page
    from aragora_persist.storage.port import Backend, Transaction

__all__ = [
    "AUDIT_RETENTION_DAYS",
    "AuditEntry",
    "AuditProblem",
    "AuditReport",
    "AuditStore",
    "InclusionProof",
    "NewEntry",
    "TreeHead",
    "check_inclusion",
    "create_signing_key",
]

MOST_AT_ONCE = 10_000
"""How many entries one call of ``log_many`` takes."""

_BY_ID = f"SELECT {COLUMNS} FROM audit_log WHERE id = ?"  # noqa: S608 - constants of this package
_LONGEST_RETENTION_DAYS = 365_000


if TYPE_CHECKING:
    AUDIT_RETENTION_DAYS: int
else:

    def __getattr__(name: str) -> int:
        if name == "AUDIT_RETENTION_DAYS":  # what the environment says when it is asked for, not at import
            return Settings.from_env().audit_retention_days
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class AuditStore(Store):
    """The audit log of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``."""

    database_name = "users"

    def __init__(
        self,
        db_path: str | os.PathLike[str] | Backend | None = None,
        *,
        migrate: bool = False,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(db_path, migrate=migrate, settings=settings, clock=clock)
        self._last_seen = LastSeen()

    def log(  # noqa: PLR0913 - one for each documented column
        self,
        action: str,
        *,
        user_id: str | None = None,
        org_id: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
        details: dict[str, Any] | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
        timestamp: datetime | None = None,
        event_key: str | None = None,
        tx: Transaction | None = None,
    ) -> AuditEntry:
        """Log one entry and return it.

        With an ``event_key``, a call that is repeated logs nothing again and returns the entry that is there. It is
        never erased, so let it name nobody.

        Raises:
            InvalidValueError: a field breaks a rule.
            ConflictError: the event key was used for another event.

        """
        new = new_entry(
            action,
            user_id,
            org_id,
            resource_type,
            resource_id,
            {} if details is None else details,
            ip_address,
            user_agent,
            timestamp,
            event_key,
        )
        checked = draft("audit.log", new, self._clock())
        return self._write_together("audit.log", checked, self._append, tx)

    def log_many(self, entries: Sequence[NewEntry], *, tx: Transaction | None = None) -> list[AuditEntry]:
        """Log entries in their order, all or none, and return them; see ``log``. At most ``MOST_AT_ONCE``."""
        operation, now, seen = "audit.log_many", self._clock(), self._last_seen
        several = list(checks.several(operation, "entries", entries))
        checks.whole(operation, "entries", len(several), least=0, most=MOST_AT_ONCE)
        drafts = [draft(operation, checks.instance(operation, "entries", new, NewEntry), now) for new in several]
        return self._write(operation, lambda writing: append(writing, operation, drafts, seen), tx)

    def get(self, entry_id: int) -> AuditEntry | None:
        """Return the entry with this id, or None."""
        ident = checks.whole("audit.get", "entry_id", entry_id)
        row = self._database.read_one("audit.get", _BY_ID, (ident,), {"entry_id": ident})
        return None if row is None else entry_of(row)

    def list_entries(
        self,
        *,
        newest_first: bool = True,
        limit: int = 100,
        after: str | None = None,
        **filters: Unpack[AuditFilters],
    ) -> Page[AuditEntry]:
        """Return a page of the entries for which the filters hold, in the order in which they were logged."""
        operation = "audit.list_entries"
        conditions = Conditions(operation, filters)
        size = pages.page_limit(operation, limit)
        last = None if after is None else int(pages.from_cursor(operation, after, int)[0])
        with self._database.read(operation) as view:
            sql, values = conditions.statement(view, newest_first=newest_first, after=last)
            rows = view.all(f"{sql} LIMIT ?", [*values, size + 1])
        return pages.to_page([entry_of(row) for row in rows], size, lambda entry: (entry.id,))

    def iter_entries(self, *, newest_first: bool = True, **filters: Unpack[AuditFilters]) -> Iterator[AuditEntry]:
        """Yield the entries for which the filters hold, in bounded memory."""

        def fetch(after: str | None) -> Page[AuditEntry]:
            return self.list_entries(newest_first=newest_first, limit=pages.LARGEST_PAGE, after=after, **filters)

        return pages.walk(fetch)

    def count(self, **filters: Unpack[AuditFilters]) -> int:
        """Return how many entries there are for which the filters hold."""
        conditions = Conditions("audit.count", filters)
        with self._database.read("audit.count") as view:
            return conditions.count(view)

    def export(self, file: TextIO, form: str = "jsonl", **filters: Unpack[AuditFilters]) -> int:
        """Write the entries for which the filters hold, oldest first, and return how many.

        ``form`` is ``jsonl`` or ``csv``. It is the log as it was at one moment, whatever is logged meanwhile, in
        bounded memory. In CSV, an apostrophe precedes what a spreadsheet would take for a formula.
        """
        operation = "audit.export"
        checks.choice(operation, "form", form, export.FORMS)
        conditions = Conditions(operation, filters)
        with self._database.read(operation) as view:
            sql, values = conditions.statement(view, newest_first=False)
            return export.write(file, form, (entry_of(row) for row in view.stream(sql, values)))

    def cleanup_old_entries(self, retention_days: int | None = None, *, tx: Transaction | None = None) -> int:
        """Remove what is older than ``retention_days`` (None: the setting), and return how many entries went.

        From the beginning of the log only: an old entry behind a younger one waits for it. What remains can be
        verified as before. One entry of the log says what was removed; a cleanup that was cut off may be repeated.

        Raises:
            DamagedError: an entry that would go, or the one that stays, is missing or was changed; nothing goes.

        """
        operation = retention.OPERATION
        days = self._settings.audit_retention_days if retention_days is None else retention_days
        days = checks.whole(operation, "retention_days", days, least=0, most=_LONGEST_RETENTION_DAYS)
        now = self._clock()
        cutoff = to_text(now - timedelta(days=days))
        if tx is None:
            with self._database.read(operation) as view:
                end = retention.end_of_old(view, cutoff)
        else:
            end = self._write(operation, partial(retention.end_of_old, cutoff=cutoff), tx)
        key = self._signing_key()
        self._write(operation, lambda writing: retention.authorize(writing, end, cutoff, days, to_text(now), key), tx)
        removed = self._in_batches(operation, partial(retention.remove_some, end=end), tx)
        return removed + self._in_batches(operation, partial(retention.remove_strays, cutoff=cutoff), tx)

    def erase_person(self, user_id: str, *, by: str | None = None, tx: Transaction | None = None) -> int:
        """Erase what is personal in every entry that names this user, and return how many entries there were.

        Where the user acted: ``user_id``, ``ip_address``, ``user_agent`` and ``details``; where others acted upon them
        (``resource_type`` is ``user``): ``resource_id`` and ``details``. The entries stay, can be verified, and have
        ``erased_at``; an entry of the log says which they are. ``by`` is who ordered it, if that is somebody else.
        Repeating it erases what was logged since.
        """
        operation = erasure.OPERATION
        person = checks.ident(operation, "user_id", user_id)
        ordered_by = None if by is None or by == person else checks.ident(operation, "by", by)
        now, key = self._now(), self._signing_key()
        return self._in_batches(
            operation, lambda writing: erasure.erase_some(writing, person, ordered_by, now, key), tx
        )

    def head(self, *, signed: bool = True) -> TreeHead:
        """Return what the log is now, to be kept off this machine; ``verify`` takes it.

        Raises:
            InvalidValueError: no signing key is configured, or it is not usable; an unsigned head needs none.

        """
        key = self._signing_key() if signed else None
        if signed and key is None:
            raise InvalidValueError(
                "audit.head", VARIABLE, "is not set", hint="name the file of an Ed25519 key, or ask for signed=False"
            )
        with self._database.read("audit.head") as view:
            state = read_state(view)
        head = TreeHead(state.size, tree.fold(tree.split(state.edge)).hex(), self._clock())
        return head if key is None else head.signed(key)

    def verify(
        self,
        head: TreeHead | None = None,
        *,
        earlier: Sequence[TreeHead] = (),
        public_keys: Sequence[str] = (),
    ) -> AuditReport:
        """Read the whole log and say what is not as it was written, and where.

        ``head`` is one that was kept elsewhere: without one, whoever may write the database can rewrite all of it.
        ``earlier`` heads narrow down where a rewritten log departs. With ``public_keys`` (PEM; the present one and
        those before it), heads, removals and erasures count only when one of these keys signed them.
        """
        operation = "audit.verify"
        keys = PublicKeys(checks.several(operation, "public_keys", public_keys)) if public_keys else None
        heads = [*checks.several(operation, "earlier", earlier), *([] if head is None else [head])]
        for one in heads:
            checks.instance(operation, "head, earlier", one, TreeHead)
        with self._database.read(operation) as view:
            return verify_log(view, heads, keys)

    def prove(self, entry_id: int, size: int | None = None) -> InclusionProof:
        """Return the proof that an entry is in the log of the first ``size`` entries, a head's; None is the present.

        Raises:
            NotFoundError: there is no such entry.
            InvalidValueError: the log has never had this size, or had not yet this entry.
            DamagedError: the entry or the tree was changed, or the entry is older than this package.

        """
        operation = "audit.prove"
        ident = checks.whole(operation, "entry_id", entry_id)
        with self._database.read(operation, {"entry_id": ident}) as view:
            return prove(view, ident, size)

    def _append(self, tx: Transaction, drafts: Sequence[Draft]) -> list[AuditEntry]:
        return append(tx, "audit.log", drafts, self._last_seen)

    def _signing_key(self) -> SigningKey | None:
        path = self._settings.audit_signing_key_file
        return None if path is None else SigningKey(path)
