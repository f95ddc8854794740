"""Values of other programs in our form: each is the same value, or is refused with its row; never another one."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError
from aragora_persist.migrations.adoption import NotAdoptableError, adopt
from aragora_persist.migrations.adoption.columns import Kind, kind_of
from aragora_persist.migrations.adoption.origins import ORIGINS
from aragora_persist.migrations.adoption.tables import read_tables
from aragora_persist.migrations.adoption.values import UnfitError, convert, to_time
from aragora_persist.migrations.schema_files import schema_file
from aragora_persist.settings import Settings
from aragora_persist.storage.users.records import normal_email
from aragora_persist.times import from_text
from tests.unit.foreign_databases import DOCUMENTED, execute, make, rows_of

MOMENTS = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))  # noqa: DTZ001 - the zone is drawn
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EMAILS = st.one_of(
    st.from_regex(r" ?[aAbB]{1,2}@[xX]\.(com|COM) ?", fullmatch=True),
    st.sampled_from(["Zo\u0308e@x.com", "zöe@x.com", "nobody", "a b@x.com", ""]),
)
TIMES = st.one_of(
    MOMENTS.map(lambda moment: moment.isoformat(" ")),
    st.sampled_from(["2024-01-02 03:04:05", "2024-01-02", "yesterday", "", 0, 1767323045.5, math.inf, b"\xff", None]),
)


@given(moment=MOMENTS, zone=OFFSETS)
def test_a_time_stays_the_same_moment(moment: datetime, zone: timezone) -> None:
    """With a zone, without one (which is UTC), and in SQLite's own form."""
    aware = moment.replace(tzinfo=zone)
    assert from_text(to_time(aware.isoformat())) == aware
    assert from_text(to_time(moment.isoformat())) == moment.replace(tzinfo=UTC)
    assert from_text(to_time(moment.isoformat(" ", "seconds"))) == moment.replace(microsecond=0, tzinfo=UTC)


@given(seconds=st.integers(10**8, 4 * 10**9), fraction=st.sampled_from([0.0, 0.25, 0.5]))
def test_a_number_is_seconds_since_the_epoch(seconds: int, fraction: float) -> None:
    """As a number or as the text of one."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds + fraction)
    assert from_text(to_time(seconds + fraction)) == moment
    assert from_text(to_time(str(seconds + fraction))) == moment


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2024-01-02", "2024-01-02T00:00:00.000000Z"),
        ("2024-01-02 03:04", "2024-01-02T03:04:00.000000Z"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05.000000Z"),
        ("2024-01-02 03:04:05 UTC", "2024-01-02T03:04:05.000000Z"),
        ("2024-01-02T03:04:05.1234567+02:00", "2024-01-02T01:04:05.123456Z"),
        (1767323045678, "2026-01-02T03:04:05.678000Z"),
        ("1767323045.5", "2026-01-02T03:04:05.500000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_forms_of_times(value: str | int, text: str) -> None:
    """Those that programs write."""
    assert to_time(value) == text


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Kind.FLAG, "TRUE", 1),
        (Kind.FLAG, 0.0, 0),
        (Kind.FLAG, "off", 0),
        (Kind.INTEGER, " 7 ", 7),
        (Kind.INTEGER, 7.0, 7),
        (Kind.REAL, "0.5", 0.5),
        (Kind.REAL, 1, 1.0),
        (Kind.TEXT, 5, "5"),
        (Kind.TEXT, b"text", "text"),
        (Kind.OBJECT, "", "{}"),
        (Kind.OBJECT, "null", "{}"),
        (Kind.OBJECT, '{"a" : 1}', '{"a" : 1}'),
        (Kind.SCORES, '{"claude": 1, "gpt": 0.5}', '{"claude": 1, "gpt": 0.5}'),
        (Kind.SLUG, "Acmé Inc.", "acme-inc"),
        (Kind.RAW, b"\xff", b"\xff"),
        (Kind.TIME, None, None),
    ],
)
def test_forms_of_other_values(kind: Kind, value: object, stored: object) -> None:
    """What means the same is stored as our stores write it."""
    assert convert(kind, value) == stored  # type: ignore[arg-type] # what a row holds


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.FLAG, "maybe"),
        (Kind.FLAG, 2),
        (Kind.INTEGER, 7.5),
        (Kind.INTEGER, "many"),
        (Kind.INTEGER, b"7"),
        (Kind.INTEGER, 10.0**20),
        (Kind.REAL, math.nan),
        (Kind.REAL, b"7"),
        (Kind.TEXT, b"\xff"),
        (Kind.TEXT, "a\0b"),
        (Kind.OBJECT, "[1]"),
        (Kind.OBJECT, '{"a": NaN}'),
        (Kind.OBJECT, "{'a': 1}"),
        (Kind.OBJECT, "[" * 100_000),
        (Kind.SCORES, '{"claude": "best"}'),
        (Kind.SLUG, "???"),
        (Kind.EMAIL, 5_000),
        (Kind.TIME, math.inf),
        (Kind.TIME, 1e30),
        (Kind.TIME, "0001-01-01T00:00:00+14:00"),
        (Kind.TIME, b"2024-01-01"),
        (Kind.TIME, 2460311.5),
    ],
)
def test_a_value_without_a_form_is_refused_and_not_shown(kind: Kind, value: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(UnfitError) as caught:
        convert(kind, value)  # type: ignore[arg-type] # what a row holds
    assert str(value) not in str(caught.value)


@settings(max_examples=25)
@given(rows=st.lists(st.tuples(EMAILS, TIMES), min_size=1, max_size=6))
def test_a_table_is_adopted_as_it_is_meant_or_refused_with_the_rows(rows: list[tuple[str, str | float | None]]) -> None:
    """Exactly those rows are named that have no form, or the email of an earlier one."""
    wrong: set[str] = set()
    meant: dict[str, tuple[str, str | None]] = {}
    emails: set[str] = set()
    for number, (email, time) in enumerate(rows):
        row, taken = form_of(email, time), form_of(email, None)
        if row is None or row[0] in emails:
            wrong.add(f"id 'u{number}'")
        else:
            meant[f"u{number}"] = row
        emails |= {taken[0]} if taken else set()

    assert outcome_of(rows) == (wrong, {} if wrong else meant)


def form_of(email: str, time: str | float | None) -> tuple[str, str | None] | None:
    """Return an email and a time in our form, or None where one of them has none."""
    try:
        return normal_email(email), None if time is None else to_time(time)
    except (InvalidValueError, UnfitError):
        return None


def outcome_of(rows: list[tuple[str, str | float | None]]) -> tuple[set[str], dict[object, tuple[object, ...]]]:
    """Return the rows for which a table of these is refused, and those that are there when it is adopted."""
    insert = "INSERT INTO users (id, email, password_hash, password_salt, last_login_at) VALUES (?, ?, '', '', ?)"
    with TemporaryDirectory() as folder:
        loose = DOCUMENTED.replace("email TEXT UNIQUE NOT NULL", "email TEXT").replace(
            "last_login_at TEXT", "last_login_at"
        )
        path = make(Path(folder, "aragora_users.db"), loose)
        for number, (email, time) in enumerate(rows):
            execute(path, insert, (f"u{number}", email, time))
        try:
            adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": folder}))
        except NotAdoptableError as error:
            return {difference.row for difference in error.differences}, {}
        found = rows_of(path, "SELECT id, email, last_login_at FROM users")
        return set(), {row[0]: row[1:] for row in found}


def test_every_column_of_ours_has_a_kind_and_every_origin_a_table() -> None:
    """A new column is told by its name and type; a mapping into a column that is none would be silent."""
    for database in DATABASES:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(schema_file(database.name).read_text())
            tables = read_tables(connection)
        kinds = [kind_of(column.name, column.type) for table in tables.values() for column in table.columns.values()]
        assert kinds
        for origin in ORIGINS.get(database.name, ()):
            assert set(origin.columns) <= set(tables[origin.into].columns), origin.table
            assert not origin.kept or origin.kept_in in tables[origin.into].columns
