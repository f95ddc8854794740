"""Salvaging a damaged file: what no damage touched comes back once and as it was, and nothing that was not there."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aragora_persist.backup.recover.recovering import recover
from aragora_persist.backup.verify import verify
from aragora_persist.cli import main
from aragora_persist.errors import BusyError, ConflictError, DamagedError, NotFoundError, StorageError
from aragora_persist.migrations import ledger, runner
from aragora_persist.migrations.folder import latest_version
from aragora_persist.storage.schema import get_wal_connection
from tests.full_disk import largest_file

if TYPE_CHECKING:
    from types import FrameType

    from aragora_persist.backup.recover.report import Report, TableReport

PAGE = 512
SCHEMA = """
CREATE TABLE people (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, age INTEGER, score REAL NOT NULL, note TEXT DEFAULT 'virtual WITHOUT ROWID'
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('seen', 'done')), body BLOB, story TEXT
);
CREATE TABLE pairs (
    person TEXT NOT NULL REFERENCES people(id), number INTEGER NOT NULL CHECK (number < 9), UNIQUE (person, number)
);
CREATE TABLE few (anything, anything_else);
CREATE INDEX people_by_name ON people(name, age);
CREATE INDEX events_by_kind ON events(kind);
CREATE VIEW names AS SELECT name FROM people;
CREATE TRIGGER no_more AFTER DELETE ON few BEGIN SELECT raise(ABORT, 'no'); END;
"""

Rows = dict[str, dict[int, tuple[object, ...]]]


class Sample:
    """A sound database, its rows by table and rowid, and on which pages each row and each table's tree is."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.rows = rows_of(path)
        self.pages: dict[tuple[str, int], frozenset[int]] = {}
        self.inner: dict[str, tuple[int, ...]] = {}
        # SQLite's own account of its pages, in the tree's order: a row of leaf "/00a/" goes on at "/00a/003+000001".
        query = "SELECT path, pageno, pagetype, ncell FROM dbstat WHERE name = ? ORDER BY path"
        with closing(apsw.Connection(str(path))) as judge:
            for name in self.rows:
                self._place(
                    name, [(str(row[0]), int(str(row[1])), row[2], row[3]) for row in judge.execute(query, (name,))]
                )

    def _place(self, name: str, stat: list[tuple[str, int, object, object]]) -> None:
        ids = iter(sorted(self.rows[name]))
        self.inner[name] = tuple(number for _, number, kind, _ in stat if kind == "internal")
        for place, leaf, kind, cells in stat:
            for cell in range(int(str(cells)) if kind == "leaf" else 0):
                rest = {number for each, number, _, _ in stat if each.startswith(f"{place}{cell:03x}+")}
                self.pages[name, next(ids)] = frozenset({leaf, *rest})
        assert next(ids, None) is None


def fill(connection: sqlite3.Connection) -> None:
    """Write rows of all types, some longer than a page, and delete some, so that pages become free."""
    chance = random.Random(7)  # noqa: S311 - the same rows in every run
    for number in range(500):
        person = f"p{number * 7919 % 1000:03}"
        age = chance.choice([None, 0, 1, -1, 200, 70_000, 2**23, -(2**31), 2**40, 2**62])
        score = chance.choice([0.0, 1.0, -2.5, 1e300, number / 7])
        note = chance.choice([None, "", "ä\0ö", "x" * 30])
        story = "story " * chance.choice([0, 1, 10, 200, 600]) if number % 20 == 0 else None
        event = (chance.choice(["seen", "done"]), chance.randbytes(chance.choice([0, 4, 40])), story)
        connection.execute("INSERT INTO people VALUES (?, ?, ?, ?, ?)", (person, f"Näme {number}", age, score, note))
        connection.execute("INSERT INTO pairs VALUES (?, ?)", (person, number % 9))
        connection.execute("INSERT INTO events (kind, body, story) VALUES (?, ?, ?)", event)
    connection.execute("INSERT INTO few VALUES (1, 'one'), (2.5, x'00ff'), (NULL, zeroblob(3000))")
    connection.commit()  # a page that becomes free before it was ever written has nothing on it
    connection.execute("DELETE FROM people WHERE rowid BETWEEN 200 AND 280")
    connection.execute("DELETE FROM events WHERE id BETWEEN 100 AND 180 OR id > 490")
    connection.execute("ALTER TABLE people ADD COLUMN added TEXT NOT NULL DEFAULT 'later'")
    connection.execute("UPDATE people SET added = 'now' WHERE rowid % 5 = 0")


def rows_of(path: Path) -> Rows:
    """Return every row of every table, by rowid."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: {row[0]: row[1:] for row in connection.execute(f"SELECT rowid, * FROM {name}")} for name in names}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return a database whose tables have several levels of pages."""
    path = tmp_path_factory.mktemp("sample") / "sample.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA secure_delete = OFF")  # so that deleted rows stay on free pages
        connection.executescript(SCHEMA)
        fill(connection)
        connection.commit()
    return Sample(path)


def overwritten(data: bytes, number: int, new: bytes, *, at: int = 0) -> bytes:
    """Return a file's bytes with ``new`` on page ``number``."""
    start = (number - 1) * PAGE + at
    return data[:start] + new + data[start + len(new) :]


def salvage(folder: Path, data: bytes) -> tuple[Report, Rows]:
    """Salvage the bytes of a file into a new one, and return the report and what is in it."""
    source, target = folder / "damaged.db", folder / "salvaged.db"
    source.write_bytes(data)
    report = recover(source, target, None)
    assert source.read_bytes() == data
    assert {path.name for path in folder.iterdir()} == {source.name, target.name}
    verify(target)
    return report, rows_of(target)


def table(report: Report, name: str) -> TableReport:
    """Return what the report says of a table."""
    return next(each for each in report.tables if each.name == name)


def indexes_of(path: Path, name: str) -> list[int]:
    """Return the pages where the indexes of a table begin."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
        return [row[0] for row in connection.execute(query, (name,))]


def check_salvaged(sample: Sample, damaged: bytes, report: Report | None, found: Rows) -> None:
    """Compare what came back with what the damage left of the sample."""
    pages = {number for pages in sample.pages.values() for number in pages}
    spans = {number: slice((number - 1) * PAGE, number * PAGE) for number in pages}
    bad = {number for number, span in spans.items() if sample.data[span] != damaged[span]}
    aside = Counter((row[4], row[6 : 6 + int(str(row[5]))]) for row in found.get("lost_and_found", {}).values())
    reports = {each.name: each for each in report.tables if not each.problem} if report else {}
    doubtful = report is not None and any("deleted may be back" in note for note in report.notes)
    for name, rows in sample.rows.items():
        if name.startswith("sqlite_"):
            continue
        here = found.get(name, {})
        gone = set()
        assert doubtful or here.keys() <= rows.keys()
        for rowid, row in rows.items():
            touched = bool(sample.pages[name, rowid] & bad)
            times_aside = sum(times for (each, fields), times in aside.items() if each == rowid and is_of(fields, row))
            if rowid in here:
                assert here[rowid] == row or touched or doubtful
            elif times_aside == 0 or (times_aside > 1 and not doubtful):
                assert touched, f"{name} {rowid} is lost"
                gone.add(rowid)
        if name in reports:
            check_report(reports[name], gone, aside)


def check_report(report: TableReport, gone: set[int], aside: Counter[tuple[object, tuple[object, ...]]]) -> None:
    """Compare what a report says is missing with what is."""
    known = {rowid for rowid, _ in aside}
    for rowid in gone - known:
        assert any(
            (loss.first is None or loss.first <= rowid) and (loss.last is None or rowid <= loss.last)
            for loss in report.losses
        ), f"{report.name} {rowid} is lost and not reported"
    if report.missing is not None and not aside:
        assert report.missing == len(gone)


def is_of(fields: tuple[object, ...], row: tuple[object, ...]) -> bool:
    """Compare a record with a row: the rowid is not in it, and columns that were added later need not be."""
    return all(one == other or one is None for one, other in zip(fields, row, strict=False))


def test_a_sound_database_comes_out_equal(sample: Sample, tmp_path: Path) -> None:
    """Nothing is lost, every table has the same digest, and indexes, views and triggers are there."""
    report, found = salvage(tmp_path, sample.data)

    assert report.whole
    assert found == sample.rows
    source, target = (verify(tmp_path / name).content for name in ("damaged.db", "salvaged.db"))
    assert target == source
    with (
        closing(sqlite3.connect(tmp_path / "damaged.db")) as before,
        closing(sqlite3.connect(tmp_path / "salvaged.db")) as after,
    ):
        schemas = [set(each.execute("SELECT type, name, sql FROM sqlite_master")) for each in (before, after)]
    assert schemas[0] == schemas[1]


DAMAGE = st.one_of(
    st.tuples(st.sampled_from(["noise", "zeros"]), st.one_of(st.just(1), st.integers(1, 400)), st.integers(1, 12)),
    st.tuples(st.just("scratch"), st.integers(0, 2**18), st.integers(1, 900)),
    st.tuples(st.just("end"), st.integers(1, 2**18), st.just(0)),
)


def damaged_by(data: bytes, kind: str, place: int, size: int) -> bytes:
    """Return a file's bytes with pages or a range overwritten, or without its end."""
    if kind == "end":
        return data[: max(PAGE, place % len(data))]
    chance = random.Random(place * 31 + size)  # noqa: S311 - the same bytes in every run
    start, length = (place % len(data), size) if kind == "scratch" else ((place - 1) * PAGE % len(data), size * PAGE)
    new = bytes(length) if kind == "zeros" else chance.randbytes(length)
    return data[:start] + new[: len(data) - start] + data[start + length :]


@with_settings(max_examples=20)
@given(steps=st.lists(DAMAGE, min_size=1, max_size=3))
def test_what_no_damage_touched_comes_back(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Each row on untouched pages is there exactly once with its values, and what is missing is reported."""
    data = sample.data
    for step in steps:
        data = damaged_by(data, *step)
    report: Report | None
    try:
        report, found = salvage(tmp_path_factory.mktemp("damaged"), data)
    except DamagedError:
        report, found = None, {}
    check_salvaged(sample, data, report, found)


@pytest.mark.parametrize("size", [100, PAGE])
def test_without_the_first_page_everything_else_comes_back(sample: Sample, tmp_path: Path, size: int) -> None:
    """Neither the header nor the root of the schema is needed; what was deleted stays so."""
    report, found = salvage(tmp_path, overwritten(sample.data, 1, bytes(size)))

    assert found == sample.rows
    assert any("header" in note for note in report.notes)


@pytest.mark.parametrize("name", ["people", "events", "pairs"])
@pytest.mark.parametrize("new", [bytes(PAGE), b"\x0d" * PAGE], ids=["zeros", "noise"])
def test_without_a_page_that_leads_to_others_its_rows_come_back(
    sample: Sample, tmp_path: Path, name: str, new: bytes
) -> None:
    """Pages that nothing leads to any more are found, and an index says that none is missing."""
    data = sample.data
    for number in sample.inner[name]:
        data = overwritten(data, number, new)
    report, found = salvage(tmp_path, data)

    assert found == sample.rows
    assert table(report, name).found == len(sample.rows[name])
    assert table(report, name).missing == 0
    assert report.whole


def test_what_was_deleted_comes_back_only_where_nothing_tells_it_apart(sample: Sample, tmp_path: Path) -> None:
    """Without the list of free pages an index tells; without that too, a table that lost nothing gets none of it."""
    data = overwritten(sample.data, 1, bytes(4), at=32)
    trunk = int.from_bytes(sample.data[32:36], "big")
    for number in (trunk, *sample.inner["events"]):
        data = overwritten(data, number, bytes(PAGE))
    report, found = salvage(tmp_path, data)

    assert found == sample.rows
    assert report.deleted > 0
    assert report.whole

    for number in indexes_of(tmp_path / "damaged.db", "events"):
        data = overwritten(data, number, bytes(PAGE))
    (tmp_path / "salvaged.db").unlink()
    report, found = salvage(tmp_path, data)
    back = found["events"].keys() - sample.rows["events"].keys()
    assert {**found, "events": {each: row for each, row in found["events"].items() if each not in back}} == sample.rows
    assert back
    assert back <= {*range(100, 181), *range(491, 501)}
    assert any("deleted may be back" in note for note in report.notes)


def test_a_lost_page_is_reported_with_the_rows_that_were_on_it(sample: Sample, tmp_path: Path) -> None:
    """The report names the rowids between the rows that are left, and how many rows are gone."""
    (leaf,) = sample.pages["people", 100]
    gone = sorted(rowid for rowid in sample.rows["people"] if leaf in sample.pages["people", rowid])
    report, found = salvage(tmp_path, overwritten(sample.data, leaf, bytes(PAGE)))

    people = table(report, "people")
    assert [(loss.first, loss.last, loss.pages, loss.certain) for loss in people.losses] == [
        (gone[0], gone[-1], 1, True)
    ]
    assert people.missing == len(gone) == len(sample.rows["people"]) - people.rows
    assert table(report, "pairs").dangling == len(gone) + sum(
        1
        for person, _ in sample.rows["pairs"].values()
        if person not in {row[0] for row in sample.rows["people"].values()}
    )
    assert found["pairs"] == sample.rows["pairs"]


def test_what_was_deleted_elsewhere_is_not_taken_for_what_is_lost(sample: Sample, tmp_path: Path) -> None:
    """Nothing tells deleted rows apart but that their ids are not between those that lie around the gap."""
    data = overwritten(sample.data, 1, bytes(4), at=32)
    trunk = int.from_bytes(sample.data[32:36], "big")
    (tmp_path / "damaged.db").write_bytes(sample.data)
    for number in (trunk, *indexes_of(tmp_path / "damaged.db", "events")):
        data = overwritten(data, number, bytes(PAGE))
    root = sample.inner["events"][0]
    first = int.from_bytes(data[(root - 1) * PAGE + 12 : (root - 1) * PAGE + 14], "big")
    report, found = salvage(tmp_path, overwritten(data, root, (2**29).to_bytes(4, "big"), at=first))

    assert found == sample.rows
    assert report.deleted > 0
    assert [loss.first for loss in table(report, "events").losses] == [None]


def test_a_pointer_that_is_damaged_loses_no_row(sample: Sample, tmp_path: Path) -> None:
    """The page that it led to is whole, and found: the pointer goes beyond the file, or to a page of an index."""
    inner = sample.inner["events"][-1]
    first = int.from_bytes(sample.data[(inner - 1) * PAGE + 12 : (inner - 1) * PAGE + 14], "big")
    (tmp_path / "sound.db").write_bytes(sample.data)
    (index,) = indexes_of(tmp_path / "sound.db", "events")
    for wrong in (2**29, index):
        folder = tmp_path / str(wrong)
        folder.mkdir()
        _, found = salvage(folder, overwritten(sample.data, inner, wrong.to_bytes(4, "big"), at=first))
        assert found == sample.rows


def test_a_page_that_was_written_to_a_wrong_place_is_no_whole_table(sample: Sample, tmp_path: Path) -> None:
    """Over the root of its table, where an index tells what lacks; or one without rows over one with rows."""
    pages = {number: sample.data[(number - 1) * PAGE : number * PAGE] for number in range(2, len(sample.data) // PAGE)}
    leaf = min(sample.pages["people", 100])
    (tmp_path / "root").mkdir()
    report, found = salvage(tmp_path / "root", overwritten(sample.data, sample.inner["people"][0], pages[leaf]))
    assert found == sample.rows
    assert table(report, "people").missing == 0

    (tmp_path / "leaf").mkdir()
    empty = bytes((13, 0, 0, 0, 0, PAGE >> 8, PAGE & 0xFF, 0)).ljust(PAGE, b"\0")
    gone = {rowid for (name, rowid), on in sample.pages.items() if name == "people" and leaf in on}
    report, found = salvage(tmp_path / "leaf", overwritten(sample.data, leaf, empty))
    assert found["people"].keys() == sample.rows["people"].keys() - gone
    assert [(loss.first, loss.last) for loss in table(report, "people").losses] == [(min(gone), max(gone))]


def test_of_a_file_that_was_cut_off_nothing_is_filled_up(sample: Sample, tmp_path: Path) -> None:
    """A row of which a part is behind the end is lost, in a page of its table as in one where it goes on."""
    last = max(number for pages in sample.pages.values() for number in pages)
    leaf = max(min(pages) for pages in sample.pages.values())
    for number in (last, leaf):
        for there in range(30, PAGE, 120):
            folder = tmp_path / f"{number}_{there}"
            folder.mkdir()
            _, found = salvage(folder, sample.data[: (number - 1) * PAGE + there])
            for name in ("people", "events", "pairs"):
                assert found.get(name, {}).items() <= sample.rows[name].items()


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("header", [b"", bytes(100)], ids=["whole", "lost"])
def test_text_in_another_encoding_comes_back(tmp_path: Path, encoding: str, header: bytes) -> None:
    """The file says which one it is, or its texts do."""
    rows = [(number, f"Näme {number} 𝄞 {'and more ' * 90}") for number in range(1, 200)]
    with closing(sqlite3.connect(tmp_path / "sound.db")) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO names VALUES (?, ?)", rows)
        connection.commit()
    data = (tmp_path / "sound.db").read_bytes()
    (tmp_path / "sound.db").unlink()
    report, found = salvage(tmp_path, header + data[len(header) :])
    assert found["names"] == {number: (number, name) for number, name in rows}
    assert report.whole == (not header)


def test_a_number_that_was_wiped_is_no_zero(tmp_path: Path) -> None:
    """A page of zeros where a row goes on: neither the number in it nor the text before that is made up."""
    with closing(sqlite3.connect(tmp_path / "sound.db")) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, number INTEGER)")
        connection.execute("INSERT INTO notes VALUES (7, ?, 300)", ("x" * 6000,))
        connection.commit()
    data = (tmp_path / "sound.db").read_bytes()
    (tmp_path / "sound.db").unlink()
    _, found = salvage(tmp_path, data[:-4096] + bytes(4096))
    assert found["notes"] == {}


def test_a_value_that_ends_in_a_wiped_page_is_not_called_whole(tmp_path: Path) -> None:
    """Its zeros may be its own: it stays, and the report says so."""
    with closing(sqlite3.connect(tmp_path / "sound.db")) as connection:
        connection.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, blob BLOB)")
        connection.execute("INSERT INTO blobs (blob) VALUES (?)", (b"x" * 6000,))
        connection.commit()
    data = (tmp_path / "sound.db").read_bytes()
    (tmp_path / "sound.db").unlink()
    report, found = salvage(tmp_path, data[:-4096] + bytes(4096))
    assert found["blobs"].keys() == {1}
    assert any("wiped" in note for note in report.notes)
    assert not report.whole


def test_a_row_whose_rest_is_lost_is_reported(sample: Sample, tmp_path: Path) -> None:
    """The other rows of its page are salvaged; of a text that was wiped nothing is taken for text."""
    rowid, pages = next(
        (rowid, pages) for (name, rowid), pages in sample.pages.items() if name == "events" and len(pages) > 3
    )
    leaf = next(number for number in pages if sample.data[(number - 1) * PAGE] == 0x0D)
    for lost in sorted(pages - {leaf}):
        folder = tmp_path / str(lost)
        folder.mkdir()
        report, found = salvage(folder, overwritten(sample.data, lost, bytes(PAGE)))
        assert found["events"] == {each: row for each, row in sample.rows["events"].items() if each != rowid}
        assert [(loss.first, loss.last) for loss in table(report, "events").losses] == [(rowid, rowid)]


def test_ids_of_lost_rows_are_not_given_away_again(sample: Sample, tmp_path: Path) -> None:
    """A table that never gives an id twice goes on after the last one that it ever gave."""
    last = max(sample.rows["events"])
    data = sample.data
    for number in sample.pages["events", last]:
        data = overwritten(data, number, bytes(PAGE))
    salvage(tmp_path, data)

    with closing(sqlite3.connect(tmp_path / "salvaged.db")) as connection:
        assert connection.execute("INSERT INTO events (kind) VALUES ('done') RETURNING id").fetchone() == (501,)


def test_rows_that_their_table_refuses_are_kept_aside(tmp_path: Path) -> None:
    """A value that breaks a rule, or text that is none, is in lost_and_found with the reason, and with its values."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(SCHEMA)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("INSERT INTO events (kind, body) VALUES ('seen', 'x'), ('wrong', x'01'), ('done', NULL)")
        connection.execute("INSERT INTO people VALUES ('a', CAST(x'c3' AS TEXT), 1, 2.5, NULL), ('b', 'B', 1, 2, 'x')")
        connection.execute("CREATE TABLE lost_and_found (of_before)")
        connection.commit()
    report = recover(source, target, None)

    found = rows_of(target)
    assert (report.set_aside, report.lost_and_found) == (2, "lost_and_found_2")
    assert [row[1:3] for row in found["lost_and_found_2"].values()] == [
        ("people", "its text is not in the encoding of the database"),
        ("events", "CHECK constraint failed: kind IN ('seen', 'done')"),
    ]
    assert [row[3 + 1 : 6] for row in found["lost_and_found_2"].values()] == [(1, 5), (2, 4)]
    assert found["lost_and_found_2"][1][6:11] == ("a", b"\xc3", 1, 2.5, None)
    assert (set(found["people"]), set(found["events"])) == ({2}, {1, 3})
    assert not report.whole


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    """Tables that are stored in other ways: not a word of them is lost in silence."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE by_name (name TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        connection.execute("INSERT INTO by_name VALUES ('a')")
        connection.commit()
    report = recover(source, target, None)

    assert "WITHOUT ROWID" in table(report, "by_name").problem
    assert "virtual" in table(report, "words").problem
    assert not report.whole


def test_what_is_only_in_the_log_comes_along(sample: Sample, tmp_path: Path) -> None:
    """The committed state of file and log is salvaged; of a log that is damaged, what comes before the damage."""
    live, copy = tmp_path / "live.db", tmp_path / "copy.db"
    live.write_bytes(sample.data)
    with closing(get_wal_connection(live)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE people SET name = 'first'")
        connection.commit()
        whole = (tmp_path / "live.db-wal").read_bytes()
        connection.execute("UPDATE people SET name = 'second'")
        connection.commit()
        copy.write_bytes(live.read_bytes())
        log = (tmp_path / "live.db-wal").read_bytes()
    (tmp_path / "copy.db-wal").write_bytes(log)
    assert recover(copy, tmp_path / "all.db", None).whole
    torn = bytearray(log)
    torn[len(whole) + 100] ^= 1
    (tmp_path / "copy.db-wal").write_bytes(torn)
    report = recover(copy, tmp_path / "part.db", None)

    assert {row[1] for row in rows_of(tmp_path / "all.db")["people"].values()} == {"second"}
    assert {row[1] for row in rows_of(tmp_path / "part.db")["people"].values()} == {"first"}
    assert any("log is damaged" in note for note in report.notes)
    assert (tmp_path / "copy.db-wal").read_bytes() == torn


def test_a_log_is_damaged_only_where_something_committed_follows(tmp_path: Path) -> None:
    """What a transaction wrote that was rolled back is no damage; a frame that was wiped is."""
    path = tmp_path / "sound.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("page_size = 512", "journal_mode = WAL", "wal_autocheckpoint = 0", "cache_size = 2"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("CREATE TABLE notes (text)")
        for text in ("committed", "later"):
            connection.execute("INSERT INTO notes VALUES (?)", (text,))
        log = Path(f"{path}-wal").read_bytes()
        connection.execute("BEGIN")
        for number in range(300):
            connection.execute("INSERT INTO notes VALUES (?)", (f"rolled back {number}",))
            connection.execute("UPDATE notes SET text = text || '.' WHERE rowid < 9")
        rolled_back, data = Path(f"{path}-wal").read_bytes(), path.read_bytes()
    frame = 24 + 512
    wiped = log[: -2 * frame] + bytes(frame) + log[-frame:]
    for name, content, expected in (("rolled", rolled_back, (2, True)), ("wiped", wiped, (0, False))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "damaged.db").write_bytes(data)
        (folder / "damaged.db-wal").write_bytes(content)
        report = recover(folder / "damaged.db", folder / "salvaged.db", None)
        assert (table(report, "notes").rows, report.whole) == expected


def test_a_transaction_that_was_never_finished_is_undone(sample: Sample, tmp_path: Path) -> None:
    """A rollback journal beside the file is applied to the copy, not to the file."""
    source = tmp_path / "source.db"
    source.write_bytes(sample.data)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("UPDATE people SET name = 'half'")
        half, journal = source.read_bytes(), (tmp_path / "source.db-journal").read_bytes()
        connection.rollback()
    source.write_bytes(half)
    (tmp_path / "source.db-journal").write_bytes(journal)
    report = recover(source, tmp_path / "target.db", None)

    assert half != sample.data
    assert report.whole
    assert rows_of(tmp_path / "target.db") == sample.rows
    assert (source.read_bytes(), (tmp_path / "source.db-journal").read_bytes()) == (half, journal)


def test_nothing_is_overwritten_or_left_behind(sample: Sample, tmp_path: Path) -> None:
    """A target that exists, a source that does not or holds nothing: an error, and the folder is as it was."""
    source, empty, taken = (tmp_path / name for name in ("source.db", "empty.db", "taken.db"))
    source.write_bytes(sample.data)
    empty.write_bytes(b"")
    taken.write_bytes(b"mine")
    (tmp_path / "other.db-wal").write_bytes(b"mine too")

    with pytest.raises(ConflictError):
        recover(source, taken, None)
    with pytest.raises(ConflictError):
        recover(source, tmp_path / "other.db", None)
    with pytest.raises(NotFoundError):
        recover(tmp_path / "missing.db", tmp_path / "new.db", None)
    with pytest.raises(DamagedError):
        recover(empty, tmp_path / "new.db", "users")
    assert taken.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "other.db-wal", "source.db", "taken.db"]


def test_a_file_that_others_write_to_is_not_taken(sample: Sample, tmp_path: Path) -> None:
    """Half of two states is worth less than an error that says so; nothing is left behind."""
    source = tmp_path / "source.db"
    source.write_bytes(sample.data)
    moments = itertools.count()

    def touch(frame: FrameType, what: str, _argument: object) -> None:
        if what == "call" and frame.f_code.co_name == "_stamps":
            os.utime(source, (0, next(moments)))

    sys.setprofile(touch)
    try:
        with pytest.raises(BusyError, match="changed while it was copied"):
            recover(source, tmp_path / "new.db", None)
    finally:
        sys.setprofile(None)
    assert [path.name for path in tmp_path.iterdir()] == ["source.db"]


def test_a_full_disk_is_said_and_leaves_nothing(sample: Sample, tmp_path: Path) -> None:
    """The limit on a file's size stands for it."""
    source = tmp_path / "source.db"
    source.write_bytes(sample.data)
    with largest_file(len(sample.data) // 2), pytest.raises(StorageError, match=r"cannot be copied: .*File too large"):
        recover(source, tmp_path / "new.db", None)
    assert [path.name for path in tmp_path.iterdir()] == ["source.db"]


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """Return a migrated database of the registry with a few records."""
    path = tmp_path / "home" / "aragora_outbox.db"
    runner.migrate(path, "outbox")
    with closing(sqlite3.connect(path)) as connection:
        insert = "INSERT INTO sync_state VALUES (?, ?, ?, ?)"
        width = len(connection.execute("SELECT * FROM pragma_table_info('sync_state')").fetchall())
        assert width == insert.count("?")
        for number in range(40):
            connection.execute(
                "INSERT INTO imported_replays VALUES (?, ?, ?)",
                (f"replay {number}", f"trace {number}", f"{number:064}"),
            )
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


@pytest.mark.parametrize("lost", [(1,), (1, 2)], ids=["schema", "schema and ledger"])
def test_the_schema_of_the_release_takes_the_place_of_a_lost_one(
    outbox: Path, tmp_path: Path, lost: tuple[int, ...]
) -> None:
    """Rows go to their tables by their form; the ledger is read, or completed from what the schema is."""
    before = rows_of(outbox)
    data = bytearray(outbox.read_bytes())
    for number in lost:
        data[(number - 1) * 4096 : number * 4096] = bytes(4096)
    outbox.write_bytes(data)
    report = recover(outbox, tmp_path / "new.db", "outbox")

    found = rows_of(tmp_path / "new.db")
    assert found["imported_replays"] == before["imported_replays"]
    assert "this release's migrations" in report.schema
    assert report.schema_version == latest_version("outbox")
    assert runner.status(tmp_path / "new.db", "outbox").state == "current"
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        assert [row.version for row in ledger.read(connection)] == [*range(1, latest_version("outbox") + 1)]


def test_a_database_of_another_name_is_told(outbox: Path, tmp_path: Path) -> None:
    """Its rows come back, its ledger stays as it is."""
    report = recover(outbox, tmp_path / "new.db", "elo")

    assert report.notes == ("its ledger of migrations is another database's",)
    assert rows_of(tmp_path / "new.db") == rows_of(outbox)


def test_the_verb_says_what_is_missing_and_what_to_do_next(
    outbox: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whole: exit code 0. Otherwise 1, with the file made all the same; the last line is the command that restores."""
    home = str(outbox.parent)
    assert main(["--nomic-dir", home, "recover", "outbox"]) == 0
    (made,) = outbox.parent.glob("aragora_outbox.recovered_*.db")
    assert capsys.readouterr().out.splitlines()[-1] == f"Put it in place: aragora-persist restore outbox {made}"

    data = bytearray(outbox.read_bytes())
    data[4096 : 2 * 4096] = bytes(4096)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(data)
    target = tmp_path / "my file.db"
    assert main(["--nomic-dir", home, "recover", "outbox", "--from", str(damaged), "--to", str(target), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["whole"], answer["target"]) == (False, str(target))
    assert answer["restore"] == f"aragora-persist restore outbox '{target}'"
    assert {each["name"]: each["rows"] for each in answer["tables"]}["imported_replays"] == 40
