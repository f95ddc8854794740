"""Making the adopted database: a new file with our migrations and our ledger, into which the rows are copied.

The rows go in as early in our history as they have a place there, each table where it first appears: so the migrations
behind make of them what they made of our own (the members of organizations, the tree over the audit log). Leaves out:
where the source comes from, and where the new file goes (``exchange``).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import DamagedError
from aragora_persist.migrations.adoption.columns import Kind
from aragora_persist.migrations.adoption.comparison import Comparing, covered_version
from aragora_persist.migrations.adoption.extras import carry_over, finish_memories, keep_beside, keep_counting
from aragora_persist.migrations.adoption.references import take_out_orphans
from aragora_persist.migrations.adoption.report import AdoptedTable, Findings
from aragora_persist.migrations.adoption.rows import RowCopier
from aragora_persist.migrations.adoption.secrets import Secrets
from aragora_persist.migrations.adoption.tables import read_tables
from aragora_persist.migrations.adoption.traces import adopt_traces
from aragora_persist.migrations.adoption.values import UnfitError, convert
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.progress import step
from aragora_persist.storage.bearer_tokens import token_hash
from aragora_persist.storage.encryption import Keyring
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.tables import count_rows
from aragora_persist.times import to_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from aragora_persist.migrations.adoption.comparison import Comparison, Reading
    from aragora_persist.migrations.adoption.tables import Table
    from aragora_persist.migrations.plan import Migration
    from aragora_persist.migrations.progress import Progress
    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Value

_FIRST_VERSION = {"users": 3, "memory": 2}
"""The first schema that has a place for all that other programs know; of the other databases it is 1."""


_REMEMBER = "CREATE TEMP TABLE adopted_before AS SELECT id, role, org_id FROM users"
_CHANGED = "SELECT count(*) FROM users JOIN adopted_before AS old USING (id) WHERE users.{0} IS NOT old.{0}"


class Built(NamedTuple):
    """What is in the new file."""

    origin: str
    tables: tuple[AdoptedTable, ...]
    findings: Findings


def build(copy: Path, place: Path, target: Path, database: str, settings: Settings, progress: Progress) -> Built:
    """Make the file ``target`` of the database at ``place``, of which ``copy`` is a private copy.

    Raises:
        DamagedError: the source is not sound.
        MigrationError: a migration of ours failed on its rows.
        StorageError: the file cannot be written.

    """
    raised = _Raised()
    try:
        with closing(_open_source(copy, raised)) as reader, closing(_open_target(target)) as writer:
            return _Building(reader, writer, database, settings, place).run(progress)
    except DRIVER_ERRORS as error:
        if raised.error is not None:
            raise raised.error from None
        raise translate(error, "adopt", place) from error


class _Building:
    """One new file in the making."""

    def __init__(
        self, reader: sqlite3.Connection, writer: sqlite3.Connection, database: str, settings: Settings, place: Path
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._database = database
        self._place = place
        self._findings = Findings()
        self._copier = RowCopier(
            reader, writer, self._findings, Secrets(Keyring.from_settings(settings), self._findings)
        )
        now = utc_now()
        self._times = {"now": to_text(now), "in_a_year": to_text(now + timedelta(days=365))}

    def run(self, progress: Progress) -> Built:
        with step(progress, "checking the original"):
            _refuse_unsound(self._reader, self._place)
        migrations = load(folder_of(self._database))
        versions = tables_of_versions(migrations)
        theirs = read_tables(self._reader)
        covered = covered_version(theirs, versions)
        base = max(covered, _FIRST_VERSION.get(self._database, 1))
        ours = {name: table for tables in reversed(versions[base - 1 :]) for name, table in tables.items()}
        comparison = Comparing(self._database, theirs, ours, covered).finish(self._reader, self._findings)
        if not comparison.readable:
            return Built(comparison.origin, (), self._findings)
        adopted = []
        for number in range(base, len(migrations) + 1):
            apply_pending(self._writer, migrations[:number], self._place, lambda: None, progress)
            known = versions[number - 2] if number > base else {}
            new = [one for one in comparison.readings if one.origin.into in versions[number - 1].keys() - known.keys()]
            if number == base:
                adopted += self._begin(comparison, new, theirs, progress)
                self._remember()
            else:
                adopted += self._copy(new, progress)
        with _transaction(self._writer), step(progress, "what is no row of ours"):
            adopted += self._finish(comparison, theirs)
        with step(progress, "checking the new database"):
            _refuse_unsound(self._writer, "the adopted database")
        return Built(comparison.origin, tuple(adopted), self._findings)

    def _begin(
        self, comparison: Comparison, readings: Sequence[Reading], theirs: Mapping[str, Table], progress: Progress
    ) -> list[AdoptedTable]:
        """Fill the first schema: what later migrations make more of is complete in it."""
        for table in {reading.origin.into for reading in readings}:
            self._writer.execute(f"DELETE FROM {table}")  # noqa: S608 - ours; the row that a migration begins it with
        adopted = self._copy(readings, progress)
        with _transaction(self._writer):
            if comparison.traces:
                traces = adopt_traces(self._reader, self._writer, self._findings)
                adopted.append(AdoptedTable("replays", "traces", traces))
            if self._database == "memory" and "tier_counts" not in theirs:
                finish_memories(self._writer)
        return adopted

    def _remember(self) -> None:
        """Keep aside what a migration behind makes to follow from something else."""
        if self._database == "users":
            self._writer.execute(_REMEMBER)

    def _note_changed(self) -> None:
        """Note whose role or organization is another one, now that memberships say which."""
        if self._database == "users":
            for column in ("role", "org_id"):
                (rows,) = self._writer.execute(_CHANGED.format(column)).fetchone()
                self._findings.note(f"users.{column}", "is another one now: it follows from the memberships", rows)

    def _copy(self, readings: Sequence[Reading], progress: Progress) -> list[AdoptedTable]:
        copied: dict[tuple[str, str], int] = {}
        with _transaction(self._writer):
            for reading in readings:
                names = reading.ours.name, reading.theirs.name
                with step(progress, f"rows of {reading.theirs.name}"):
                    rows = self._copier.copy(reading, self._times)
                self._note_unplaced(reading, rows)
                copied[names] = copied.get(names, 0) + rows
            take_out_orphans(self._writer, self._findings, self._copier.left_out)
        return [AdoptedTable(*names, rows) for names, rows in copied.items()]

    def _note_unplaced(self, reading: Reading, rows: int) -> None:
        """Note the rows that have no place in ours, as their origin says."""
        name = reading.theirs.name
        if reading.origin.unplaced:
            where = f"stay in adopted_{name} alone" if "*" in reading.origin.beside else "are left out"
            self._findings.note(
                name, f"{where}: {reading.origin.unplaced}", count_rows(self._reader, reading.theirs.name) - rows
            )

    def _finish(self, comparison: Comparison, theirs: Mapping[str, Table]) -> list[AdoptedTable]:
        """Bring over what is not row by row."""
        both = self._reader, self._writer
        adopted = []
        for reading in comparison.readings:
            keep_counting(both, reading.theirs, reading.ours)
        self._note_changed()
        for kept, columns in comparison.beside.items():
            adopted += keep_beside(both, theirs[kept], columns, theirs, self._findings)
        for table in comparison.carried:
            adopted.append(carry_over(both, table, theirs, self._findings))
        take_out_orphans(self._writer, self._findings, self._copier.left_out)
        return adopted


def tables_of_versions(migrations: Sequence[Migration]) -> list[dict[str, Table]]:
    """Return the tables that each version of our schema has."""
    found = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for number in range(1, len(migrations) + 1):
            apply_pending(connection, migrations[:number], ":memory:", lambda: None)
            found.append(read_tables(connection))
    return found


def _refuse_unsound(connection: sqlite3.Connection, target: object) -> None:
    """Raise unless SQLite finds nothing wrong.

    Raises:
        DamagedError: it does.

    """
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if problems != ["ok"]:
        raise DamagedError("adopt", target, "; ".join(problems), hint="restore a backup of it, and adopt that")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


class _Raised:
    """What a function that SQLite calls has raised, such as an interrupt: SQLite raises an error of its own for it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def kept(self, function: Callable[[Value], Value]) -> Callable[[Value], Value]:
        def keeping(value: Value) -> Value:
            try:
                return function(value)
            except BaseException as error:
                self.error = error
                raise

        return keeping


def _open_source(copy: Path, raised: _Raised) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.execute("PRAGMA query_only=ON")
    # Text that is not UTF-8 (SQLite does not check) must be found row by row, and not end everything.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    connection.create_function("sha256", 1, raised.kept(_sha256), deterministic=True)
    connection.create_function("moment", 1, raised.kept(partial(_form, Kind.TIME)), deterministic=True)
    connection.create_function("normal_email", 1, raised.kept(partial(_form, Kind.EMAIL)), deterministic=True)
    return connection


def _open_target(target: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(target, isolation_level=None)
    # A file that a failure leaves behind is thrown away, and a whole one is flushed before it gets its name.
    for pragma in ("journal_mode=DELETE", "synchronous=OFF", "foreign_keys=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _sha256(token: Value) -> Value:
    return None if token is None else token_hash(str(token))


def _form(kind: Kind, value: Value) -> Value:
    """Return a value in our form, or None where it has none."""
    try:
        return convert(kind, value)
    except UnfitError:
        return None
