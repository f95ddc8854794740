"""The dry run: what it tells, and that the original is only read."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import BusyError, DamagedError, MigrationError, SchemaTooNewError, StorageError
from aragora_persist.migrations.folder import latest_version
from aragora_persist.migrations.rehearsal import rehearse, scratch_copy
from tests.unit.workshop import Workshop
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.migrations.rehearsal import Rehearsal

NOBODY = 65534


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 1."""
    workshop = Workshop(tmp_path)
    workshop.start()
    return workshop


def rehearsed(workshop: Workshop) -> Rehearsal:
    """Rehearse what is pending."""
    return rehearse(workshop.path, "users", folder=workshop.folder)


def traces(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file of a folder: its bytes, and when they were last written."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have scratch space in memory, where nothing can be cloned, and find it empty at the end."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


class TestTells:
    """What a rehearsal says."""

    def test_each_statement_as_it_is_written(self, workshop: Workshop) -> None:
        """With the rows that it wrote, also by its triggers, and without the values that were bound."""
        workshop.write(
            2,
            'conn.execute("ALTER TABLE parents ADD COLUMN age INTEGER")\n'
            'conn.execute("CREATE TABLE log (id)")\n'
            'conn.execute("CREATE TRIGGER aged AFTER UPDATE ON parents BEGIN INSERT INTO log VALUES (new.id); END")\n'
            'conn.cursor().execute("UPDATE parents SET age = ?", (47,))\n'
            'conn.executemany("INSERT INTO parents (name) VALUES (?)", [("secret",), ("hidden",), ("third",)])\n'
            'for child in (10, 20):\n    conn.execute("DELETE FROM children WHERE id = ?", (child,))\n'
            'conn.execute("SELECT count(*) FROM parents").fetchone()\n'
            'conn.execute("INSERT INTO parents (name) VALUES (1) RETURNING id").fetchall()',
        )
        (step,) = rehearsed(workshop).migrations
        assert step.migration.name == "002_step"
        assert [(one.sql.split(" (")[0], one.rows, one.times) for one in step.statements] == [
            ("ALTER TABLE parents ADD COLUMN age INTEGER", None, 1),
            ("CREATE TABLE log", None, 1),
            ("CREATE TRIGGER aged AFTER UPDATE ON parents BEGIN INSERT INTO log VALUES", None, 1),
            ("UPDATE parents SET age = ?", 4, 1),
            ("INSERT INTO parents", 3, 1),
            ("DELETE FROM children WHERE id = ?", 2, 2),
            ("SELECT count(*) FROM parents", None, 1),
            ("INSERT INTO parents", None, 1),
        ]
        assert all(0 < one.duration_ms < step.duration_ms for one in step.statements)
        assert "secret" not in repr(step.statements)

    def test_what_becomes_of_the_schema(self, workshop: Workshop) -> None:
        """A unified diff of all that is pending; the tables of SQLite and of Litestream are no part of it."""
        workshop.write(2, 'conn.execute("ALTER TABLE parents ADD COLUMN age INTEGER")')
        workshop.write(3, 'conn.execute("CREATE INDEX by_age ON parents(age)")\nconn.execute("ANALYZE")')
        with closing(sqlite3.connect(workshop.path)) as connection:
            connection.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
            connection.execute("CREATE INDEX litestreams ON _litestream_seq(seq)")
        diff = rehearsed(workshop).diff
        assert diff[:2] == ("--- version 1", "+++ version 3")
        assert [line for line in diff[2:] if line.startswith(("+", "-"))] == [
            "-CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT);",
            "+CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);",
            "+",
            "+CREATE INDEX by_age ON parents(age);",
        ]
        assert "stream" not in "".join(diff)

    def test_nothing_where_nothing_is_pending(self, workshop: Workshop) -> None:
        """No migration, no difference."""
        assert rehearsed(workshop) == ((), ())

    def test_the_whole_way_of_a_missing_file(self, tmp_path: Path) -> None:
        """Rehearsed on nothing, and nothing is made."""
        rehearsal = rehearse(tmp_path / "data" / "users.db", "users")
        assert [one.migration.version for one in rehearsal.migrations] == list(range(1, latest_version("users") + 1))
        assert not [line for line in rehearsal.diff[3:] if not line.startswith("+")]
        assert list(tmp_path.iterdir()) == []

    def test_of_a_connection_that_is_like_the_real_one(self, workshop: Workshop) -> None:
        """A migration that asks for rows by the names of their columns gets them, from connection and cursor alike."""
        workshop.write(
            2,
            "conn.row_factory = sqlite3.Row\n"
            'for row in conn.execute("SELECT id, name FROM parents").fetchall():\n'
            '    conn.execute("UPDATE parents SET name = ? WHERE id = ?", (row["name"].upper(), row["id"]))\n'
            'assert conn.cursor().execute("SELECT name FROM parents").fetchone()["name"] == "ONE"',
        )
        (step,) = rehearsed(workshop).migrations
        assert [(one.rows, one.times) for one in step.statements] == [(None, 1), (2, 2), (None, 1)]
        assert [step.version for step in workshop.migrate().migrations] == [2]

    def test_its_progress(self, workshop: Workshop) -> None:
        """Each migration is named, of all that there are."""
        workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.write(
            3, 'from aragora_persist.migrations.progress import report\nreport("5 of 9 rows")\nconn.execute("SELECT 1")'
        )
        told: list[str] = []
        rehearse(workshop.path, "users", folder=workshop.folder, progress=told.append)
        assert told == ["rehearsing 002_step 2/3", "rehearsing 003_step 3/3", "rehearsing 003_step 3/3: 5 of 9 rows"]


class TestFailures:
    """What a rehearsal finds before it hurts."""

    def test_names_the_statement_that_fails(self, workshop: Workshop) -> None:
        """On the real rows; the database stands where it stood, and nothing says otherwise."""
        workshop.write(2, 'conn.execute("CREATE TABLE fine (a)")')
        workshop.write(3, 'conn.execute("CREATE UNIQUE INDEX one_child ON children(parent_id)")')
        with pytest.raises(MigrationError) as failed:
            rehearsed(workshop)
        assert failed.value.problem.endswith(
            "UNIQUE constraint failed: children.parent_id, "
            "at the statement CREATE UNIQUE INDEX one_child ON children(parent_id)"
        )
        assert failed.value.target == "003_step"
        assert "stands" not in failed.value.hint

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ('conn.execute("INSERT INTO parents (id) VALUES (?)", ("secret",))', "INSERT INTO parents (id) VALUES (?)"),
            ('conn.executescript("CREATE TABLE a (b); SELECT 1")', "CREATE TABLE a (b); SELECT 1"),
            ('try:\n    conn.execute("SELECT nothing")\nexcept Exception: 1 / 0', "ZeroDivisionError"),
        ],
    )
    def test_of_every_kind(self, workshop: Workshop, body: str, problem: str) -> None:
        """A bound value is not shown, a script is named, and a statement that was not at fault is not blamed."""
        workshop.write(2, body)
        with pytest.raises(MigrationError) as failed:
            rehearsed(workshop)
        assert failed.value.problem.endswith(problem) or problem in failed.value.problem.split(",")[0]
        assert "secret" not in str(failed.value)

    def test_refuses_what_a_run_would_refuse(self, workshop: Workshop) -> None:
        """A newer database, another program's, and a file that is no database."""
        newer = workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
        workshop.migrate()
        newer.unlink()
        with pytest.raises(SchemaTooNewError):
            rehearsed(workshop)
        with closing(sqlite3.connect(workshop.path)) as connection:
            connection.execute("DROP TABLE schema_version")
        with pytest.raises(MigrationError, match="--adopt"):
            rehearsed(workshop)
        workshop.path.write_bytes(b"no database" * 1000)
        with pytest.raises(DamagedError):
            rehearsed(workshop)

    def test_of_room_are_told_before_it_begins(self, workshop: Workshop, scratch: Path) -> None:
        """A database larger than all of scratch space is not even begun to be copied, and TMPDIR is the way out."""
        with workshop.path.open("r+b") as file:
            file.truncate(2**42)  # without taking any room
        with pytest.raises(StorageError, match="the copy may take 4") as refused:
            rehearsed(workshop)
        assert Path(refused.value.target).parent == scratch
        assert "TMPDIR" in refused.value.hint

    @pytest.mark.parametrize(
        "body",
        [
            (
                'small = sqlite3.connect(":memory:")\nsmall.execute("PRAGMA max_page_count = 2")\n'
                'try:\n    small.execute("CREATE TABLE large AS SELECT randomblob(99999)")\nfinally:\n    small.close()'
            ),
            (
                "from pathlib import Path\nfrom aragora_persist.errors import StorageError\n"
                'folder = Path(conn.execute("PRAGMA database_list").fetchone()[2]).parent\n'
                'raise StorageError("rebuild table", "parents", f"may take 9 GiB in {folder}, which is full")'
            ),
        ],
        ids=["full", "asked for before"],
    )
    def test_of_room_in_the_middle_name_scratch_space(self, workshop: Workshop, scratch: Path, body: str) -> None:
        """What is said of a full disk is said of the one that is full, which is not the database's."""
        workshop.write(2, body)
        with pytest.raises(StorageError, match="is full") as refused:
            rehearsed(workshop)
        assert Path(refused.value.target).parent == scratch
        assert "TMPDIR" in refused.value.hint


class TestOriginal:
    """It is only read."""

    @pytest.mark.parametrize("held", ["closed", "open", "killed", "unshared"])
    def test_no_byte_of_it_changes(self, workshop: Workshop, held: str) -> None:
        """Not of the file, its log or its shared memory, whoever has it open; nor does a file appear beside it."""
        workshop.write(2, 'conn.execute("UPDATE parents SET name = name || 1")\nconn.execute("CREATE TABLE more (a)")')
        with holding(workshop.path) as holder:
            if held != "open":
                holder.send_signal(signal.SIGTERM if held == "closed" else signal.SIGKILL)
                holder.wait(PATIENCE_S)
            if held == "unshared":
                Path(f"{workshop.path}-shm").unlink()
            before = traces(workshop.path.parent)
            rows = rehearsed(workshop).migrations[0].statements[0].rows
            assert traces(workshop.path.parent) == before
        assert rows == 3
        assert len(before) == {"closed": 1, "open": 3, "killed": 3, "unshared": 2}[held]

    def test_it_may_be_out_of_reach_while_others_write(self) -> None:
        """By one who may write neither it nor beside it, between others' commits: so it cannot write a byte."""
        with tempfile.TemporaryDirectory() as folder:
            workshop = Workshop(Path(folder).resolve())
            workshop.start()
            workshop.write(2, 'conn.execute("UPDATE parents SET name = name || 1")')
            with writing(workshop.path) as commits:
                for file in workshop.path.parent.iterdir():
                    file.chmod(0o444)
                for place in (workshop.path.parent, workshop.root):
                    place.chmod(0o555)
                before = commits()
                assert [rehearsed_by_nobody(workshop) for _ in range(3)] == [0, 0, 0]
                wait_until(lambda: commits() > before, "another commit")
            for place in (workshop.root, workshop.path.parent):
                place.chmod(0o755)


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process commit a row and keep the file open; at SIGTERM it closes it."""
    program = (
        "import signal, sqlite3, sys\nconn = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "conn.execute(\"INSERT INTO parents (name) VALUES ('in the log')\")\n"
        "signal.signal(signal.SIGTERM, lambda *_: (conn.close(), sys.exit()))\nprint('ready', flush=True)\n"
        "signal.pause()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield holder
        finally:
            holder.kill()


@contextmanager
def writing(path: Path, statement: str = "UPDATE parents SET id = id") -> Iterator[Callable[[], int]]:
    """Have another process write and checkpoint for ever, a row each time; give a function that counts the rows."""
    program = (
        "import sqlite3, sys\nconn = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n"
        "conn.execute('PRAGMA synchronous = OFF')\nwhile True:\n    conn.execute('BEGIN IMMEDIATE')\n"
        "    conn.execute('INSERT INTO parents (name) VALUES (2)')\n    conn.execute(sys.argv[2])\n"
        "    conn.execute('COMMIT')\n    conn.execute('PRAGMA wal_checkpoint(TRUNCATE)')"
    )
    command = [sys.executable, "-c", program, str(path), statement]
    with closing(sqlite3.connect(path)) as reader, subprocess.Popen(command) as writer:

        def commits() -> int:
            count: int = reader.execute("SELECT count(*) FROM parents").fetchone()[0]
            return count

        try:
            wait_until(lambda: commits() > 2, "the first commit")
            yield commits
        finally:
            writer.kill()


def rehearsed_by_nobody(workshop: Workshop) -> int:
    """Rehearse as a user who may only read, and return how that ended."""
    child = os.fork()
    if child == 0:  # pragma: no cover -- runs in the child
        try:
            if os.getuid() == 0:
                os.setuid(NOBODY)  # nothing is forbidden to root
            (statement,) = rehearsed(workshop).migrations[0].statements
            os._exit(0 if statement.rows and not os.access(workshop.path, os.W_OK) else 1)
        except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
            traceback.print_exc()
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TestScratchCopy:
    """A private copy of the committed state."""

    def test_is_private_and_vanishes(self, workshop: Workshop, scratch: Path) -> None:
        """It can be written to without anybody seeing it, and is gone at the end, also after an error."""
        before = workshop.content()
        with pytest.raises(ZeroDivisionError), scratch_copy(workshop.path) as copy:
            assert copy.is_relative_to(scratch)
            assert copy.parent.stat().st_mode & 0o777 == 0o700
            assert workshop.content(copy) == before
            with closing(sqlite3.connect(copy)) as connection, connection:
                connection.execute("DROP TABLE children")
            raise ZeroDivisionError
        assert workshop.content() == before

    def test_of_a_missing_file_is_empty(self, tmp_path: Path) -> None:
        """A file without a byte, as a new database is."""
        with scratch_copy(tmp_path / "none.db") as copy:
            assert copy.read_bytes() == b""
        assert list(tmp_path.iterdir()) == []

    def test_is_one_moment_of_a_database_that_others_write(self, workshop: Workshop) -> None:
        """Of a transaction on both ends of the file it has all or nothing; nothing that was committed is missing."""
        fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, 0, "
        workshop.write(2, f'conn.execute("CREATE TABLE ends AS {fill} randomblob(4000) AS pad FROM n")')
        workshop.write(3, 'conn.execute("CREATE UNIQUE INDEX by_i ON ends(i)")')
        workshop.migrate()
        with writing(workshop.path, 'UPDATE ends SET "0" = "0" + 1 WHERE i IN (1, 2000)') as commits:
            for _ in range(20):
                least = commits()
                with scratch_copy(workshop.path) as copy, closing(sqlite3.connect(copy)) as connection:
                    (first,), (last,) = connection.execute('SELECT "0" FROM ends WHERE i IN (1, 2000)').fetchall()
                    assert first == last
                    assert connection.execute("SELECT count(*) FROM parents").fetchone()[0] >= least

    def test_keeps_the_locks_of_this_process(self, workshop: Workshop) -> None:
        """To close a file that SQLite has open would drop its locks, and others could take the log away from it."""
        with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM children")
            with scratch_copy(workshop.path) as copy:
                assert "(10, 1), (20, 2), (21, 2)" in str(workshop.content(copy))
            program = (
                "import sqlite3, sys\nconn = sqlite3.connect(sys.argv[1], timeout=0)\n"
                "conn.execute('PRAGMA locking_mode = EXCLUSIVE')\nconn.execute('BEGIN IMMEDIATE')"
            )
            command = [sys.executable, "-c", program, str(workshop.path)]
            tried = subprocess.run(command, check=False, capture_output=True, text=True)
            assert "database is locked" in tried.stderr
            connection.execute("COMMIT")
        assert "'children': []" in str(workshop.content())

    def test_of_another_programs_half_written_file_is_its_last_commit(self, tmp_path: Path) -> None:
        """A rollback journal that a killed writer left is applied to the copy, and to nothing else."""
        path = tmp_path / "by_hand.db"
        program = (
            "import os, sqlite3, sys\nconn = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "conn.execute('PRAGMA cache_size = 1')\nconn.execute('CREATE TABLE t (a)')\n"
            "conn.execute('INSERT INTO t SELECT randomblob(3000) FROM sqlite_master, (VALUES (1), (2), (3), (4))')\n"
            "conn.execute('BEGIN')\nconn.execute('UPDATE t SET a = randomblob(9000)')\nos.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", program, path], check=False)
        before = traces(tmp_path)
        assert sorted(before) == ["by_hand.db", "by_hand.db-journal"]
        with scratch_copy(path) as copy, closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT count(*), sum(length(a)) FROM t").fetchone() == (4, 12000)
        assert traces(tmp_path) == before

    def test_waits_for_no_restore(self, workshop: Workshop) -> None:
        """While a restore exchanges the files, there is nothing to copy."""
        workshop.path.with_name(f"{workshop.path.name}.restoring").touch()
        with pytest.raises(BusyError, match="being restored"), scratch_copy(workshop.path):
            pytest.fail("it was copied")
