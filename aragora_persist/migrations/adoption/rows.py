"""Copying rows from their table into one of ours, value by value, some rows at a time.

A row that has no place is a difference, and the others go on: so that the operator sees all of them at once. Leaves
out: what is read (``comparison``), and rows that refer to others (``references``).
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import TYPE_CHECKING

from aragora_persist.migrations.adoption.columns import Kind
from aragora_persist.migrations.adoption.values import UnfitError, convert, parsed
from aragora_persist.migrations.progress import report
from aragora_persist.storage.names import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aragora_persist.migrations.adoption.comparison import Reading
    from aragora_persist.migrations.adoption.report import Findings
    from aragora_persist.migrations.adoption.secrets import Secrets
    from aragora_persist.storage.port import Value

_ROWS_AT_ONCE = 50  # they are in memory together, and each may be of some MB
_CORRECT = "correct it"
_MERGE = "give one of them another email, or merge the two by hand: accounts are never merged"
_SHARED_EMAILS = """
SELECT one, id, email FROM (
    SELECT normal_email(email) AS one, id, email, COUNT(*) OVER (PARTITION BY normal_email(email)) AS accounts
    FROM {table}
) WHERE accounts > 1 AND one IS NOT NULL ORDER BY one, id
"""
_TAKEN = re.compile(r"UNIQUE constraint failed: (.+)")


class RowCopier:
    """Copies rows, and remembers the keys of those that it had to leave out."""

    def __init__(
        self, reader: sqlite3.Connection, writer: sqlite3.Connection, findings: Findings, secrets: Secrets
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._findings = findings
        self._secrets = secrets
        self.left_out: dict[str, set[str]] = {}
        """Table of ours, and the ids of the rows that are not in it."""

    def copy(self, reading: Reading, times: Mapping[str, str]) -> int:
        """Copy the rows, and return how many there are now; what ``times`` names, the SQL may name."""
        if reading.ours.name == "users" and {"id", "email"} <= set(reading.names):
            self._list_shared_emails(reading)
        insert = _Insert(reading, self._defaults(reading))
        copied = 0
        cursor = self._reader.execute(reading.select, dict(times))
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            converted = [one for row in rows if (one := self._converted(reading, insert, row)) is not None]
            copied += self._insert(reading, insert, converted)
            report(f"{copied:,}")
        return copied

    def _defaults(self, reading: Reading) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name, column in reading.ours.columns.items():
            if column.default is not None:
                found[name] = self._writer.execute(f"SELECT {column.default}").fetchone()[0]
        return found

    def _converted(self, reading: Reading, insert: _Insert, row: Sequence[Value]) -> _Row | None:
        """Return a row of ours, or None where a value has no form; each such value is a difference."""
        key = row[len(reading.names) + len(reading.kept) :]
        fits, values = True, list(row[: len(reading.names)])
        for place, (name, kind) in enumerate(zip(reading.names, reading.kinds, strict=True)):
            try:
                values[place] = self._value(reading, insert, name, kind, values[place])
            except UnfitError as error:
                fits = False
                self._differ(reading, key, name, str(error))
        if reading.kept and fits:
            fits = self._keep(reading, insert, values, row, key)
        if not fits:
            self._leave_out(reading, values)
            return None
        self._look_at_secrets(reading, values)
        return _Row(tuple(values), key)

    def _value(self, reading: Reading, insert: _Insert, name: str, kind: Kind, value: Value) -> Value:
        if kind is Kind.RAW:
            return value
        if value is None:
            if name in insert.required:
                raise UnfitError("is missing")
            value = insert.defaults.get(name)
            if value is not None:
                self._findings.convert(reading.ours.name, name)
            return value
        converted = convert(kind, value)
        if not converted and name == insert.ident and kind is Kind.TEXT:
            raise UnfitError("is empty")
        if reading.ours.name == "audit_log" and name == "id" and isinstance(converted, int) and converted < 1:
            raise UnfitError("is below 1, where the audit log begins")
        if converted != value:
            self._findings.convert(reading.ours.name, name)
        return converted

    def _keep(
        self, reading: Reading, insert: _Insert, values: list[Value], row: Sequence[Value], key: Sequence[Value]
    ) -> bool:
        """Put the columns that have no place of their own into the row's JSON object."""
        extra = dict(zip(reading.kept, row[len(reading.names) :], strict=False))
        found = {name: value for name, value in extra.items() if value not in (None, "")}
        if not found:
            return True
        place = insert.place(reading.origin.kept_in)
        document = json.loads(str(values[place] or "{}"))
        try:
            document |= {
                f"adopted_{name}" if name in document else name: _readable(value) for name, value in found.items()
            }
            values[place] = convert(Kind.OBJECT, json.dumps(document, ensure_ascii=False))
        except UnfitError as error:
            self._differ(reading, key, ", ".join(found), str(error))
            return False
        for name in found:
            self._findings.note(f"{reading.theirs.name}.{name}", f"is in {reading.origin.kept_in} now")
        return True

    def _look_at_secrets(self, reading: Reading, values: list[Value]) -> None:
        if reading.ours.name != "users":
            return
        named = dict(zip(reading.names, range(len(values)), strict=True))
        self._secrets.note_password(values[named["password_hash"]] if "password_hash" in named else "")
        if "mfa_secret" in named:
            values[named["mfa_secret"]] = self._secrets.factor(str(values[named["id"]]), values[named["mfa_secret"]])

    def _insert(self, reading: Reading, insert: _Insert, rows: Sequence[_Row]) -> int:
        self._writer.execute("SAVEPOINT some_rows")
        try:
            self._writer.executemany(insert.sql, [row.values for row in rows])
            return len(rows)
        except sqlite3.IntegrityError:
            self._writer.execute("ROLLBACK TO some_rows")
        finally:
            self._writer.execute("RELEASE some_rows")
        return sum(self._insert_one(reading, insert, row) for row in rows)

    def _insert_one(self, reading: Reading, insert: _Insert, row: _Row) -> bool:
        try:
            self._writer.execute(insert.sql, row.values)
        except sqlite3.IntegrityError as error:
            self._explain(reading, row, str(error))
            self._leave_out(reading, list(row.values))
            return False
        return True

    def _explain(self, reading: Reading, row: _Row, problem: str) -> None:
        taken = _TAKEN.fullmatch(problem)
        names = [name.rpartition(".")[2] for name in taken[1].split(", ")] if taken else []
        if names == ["email"] and reading.ours.name == "users":
            return  # listed before, with all that share one
        if taken:
            self._differ(reading, row.key, ", ".join(names), "is that of another row too")
        else:
            self._differ(reading, row.key, "", problem)

    def _list_shared_emails(self, reading: Reading) -> None:
        """Show each account whose email is an earlier one's too, as both are written; nothing else of anybody."""
        first: tuple[Value, ...] = ()
        for row in self._reader.execute(_SHARED_EMAILS.format(table=quoted(reading.theirs.name))):
            if row[0] not in first[:1]:
                first = row
                continue
            problem = f"{row[2]!r} is the email of id {first[1]!r} too, which is spelt {first[2]!r} there"
            self._findings.differ(reading.theirs.name, "email", f"id {row[1]!r}", problem, _MERGE)

    def _differ(self, reading: Reading, key: Sequence[Value], column: str, problem: str) -> None:
        self._findings.differ(reading.theirs.name, column, _named(reading.key, key), problem, _CORRECT)

    def _leave_out(self, reading: Reading, values: Sequence[Value]) -> None:
        named = dict(zip(reading.names, values, strict=True))
        ident = "".join(str(named.get(name)) for name in reading.ours.key)
        self.left_out.setdefault(reading.ours.name, set()).add(ident)


class _Row:
    """A row on its way: its values for ours, and its key in theirs."""

    __slots__ = ("key", "values")

    def __init__(self, values: tuple[Value, ...], key: Sequence[Value]) -> None:
        self.values = values
        self.key = key


class _Insert:
    """The statement that writes rows of one table of ours."""

    def __init__(self, reading: Reading, defaults: Mapping[str, Value]) -> None:
        ours = reading.ours
        self._names = reading.names
        names, marks = ", ".join(map(quoted, reading.names)), ", ".join("?" * len(reading.names))
        self.sql = f"INSERT INTO {quoted(ours.name)} ({names}) VALUES ({marks})"  # noqa: S608 - quoted names
        self.defaults = defaults
        self.required = frozenset(name for name, column in ours.columns.items() if ours.needs(column))
        self.ident = ours.key[0] if len(ours.key) == 1 else None

    def place(self, name: str) -> int:
        """Return where this column's value is."""
        return self._names.index(name)


def _named(names: Sequence[str], key: Sequence[Value]) -> str:
    """Return a row's key as an operator looks it up."""
    return ", ".join(f"{name} {value!r}" for name, value in zip(names, key, strict=True))


def _readable(value: Value) -> object:
    """Return what a column holds, as a part of a JSON object: JSON as what it means, else as it is."""
    if isinstance(value, bytes):
        raise UnfitError("is not text")
    try:
        return parsed(value) if isinstance(value, str) and value[:1] in {"{", "["} else value
    except UnfitError:
        return value
