"""Who migrates, and how the others wait: with real processes and real locks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import BusyError, MigrationError
from aragora_persist.migrations import turn as turns
from aragora_persist.migrations.progress import no_progress
from aragora_persist.migrations.runner import migrate
from aragora_persist.migrations.turn import turn
from tests.unit.workshop import Workshop
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from aragora_persist.migrations.turn import turn
with turn(Path(sys.argv[1]), 0, lambda text: None) as told:
    told("002_step 2/9")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return a workshop with a database at version 1, and a migration pending."""
    workshop = Workshop(tmp_path)
    workshop.start()
    workshop.write(2, 'conn.execute("CREATE TABLE more (a)")')
    return workshop


def hold(path: Path) -> subprocess.Popen[str]:
    """Start a process that has the turn until its standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def names(workshop: Workshop) -> set[str]:
    """Return what lies beside the database, but for its backups."""
    return {file.name for file in workshop.path.parent.iterdir()} - {"backups"}


@pytest.mark.parametrize("ending", ["released", "killed"])
def test_the_others_wait_for_the_holder(workshop: Workshop, ending: str) -> None:
    """However short their DB_TIMEOUT is, and are told whom for; when it ends, the next one goes on."""
    holder = hold(workshop.path)
    told: list[str] = []
    waiter = threading.Thread(
        target=migrate,
        args=(workshop.path, "users"),
        kwargs={"folder": workshop.folder, "settings": workshop.settings, "progress": told.append},
    )
    waiter.start()
    wait_until(lambda: bool(told), "the waiter")
    assert told == [f"waiting for process {holder.pid} on {os.uname().nodename}, at 002_step 2/9, which migrates it"]
    if ending == "killed":
        holder.kill()
    holder.communicate(timeout=PATIENCE_S)
    waiter.join(PATIENCE_S)
    assert told[1:] == ["002_step 2/2"]
    assert workshop.migrate().migrations == ()
    assert names(workshop) == {"aragora_users.db"}


def test_a_holder_that_never_ends_is_named(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the longest wait; nothing was changed, and the turn is still its own."""
    monkeypatch.setattr(turns, "LONGEST_WAIT_S", 0.1)
    before = workshop.content()
    holder = hold(workshop.path)
    problem = f"process {holder.pid} on .*, at 002_step 2/9, has been migrating it for 0 s"
    with pytest.raises(BusyError, match=problem) as busy, turn(workshop.path, 0, no_progress):
        pass
    assert "end it" in busy.value.hint
    assert workshop.content() == before
    holder.communicate(timeout=PATIENCE_S)
    assert len(workshop.migrate().migrations) == 1


def test_without_a_lock_file_everyone_goes_ahead(workshop: Workshop) -> None:
    """Something else in its place, or a folder without the right to make one: SQLite's own lock decides."""
    place = workshop.path.with_name("aragora_users.db-migrating")
    place.mkdir()
    assert len(workshop.migrate().migrations) == 1
    assert place.is_dir()


def test_what_a_killed_holder_left_is_cleared_away(workshop: Workshop) -> None:
    """Also by a run that has nothing to do; but not from under a living holder."""
    workshop.migrate()
    holder = hold(workshop.path)
    assert workshop.migrate().migrations == ()
    assert names(workshop) == {"aragora_users.db", "aragora_users.db-migrating"}
    holder.kill()
    holder.communicate(timeout=PATIENCE_S)
    assert names(workshop) == {"aragora_users.db", "aragora_users.db-migrating"}
    assert workshop.migrate().migrations == ()
    assert names(workshop) == {"aragora_users.db"}


def test_never_are_two_inside(workshop: Workshop) -> None:
    """Also where one ends just when another opened its lock file, which is then the file of nobody."""
    inside: list[int] = []
    most: list[int] = []

    def run() -> None:
        for number in range(40):
            with turn(workshop.path, 0, no_progress):
                inside.append(number)
                os.sched_yield()
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(most) == 320
    assert set(most) == {1}


def test_tables_that_came_meanwhile_are_seen(workshop: Workshop) -> None:
    """Another program makes its own in an empty file, between our look at it and our lock on it."""
    workshop.path = workshop.root / "data" / "aragora_elo.db"
    refused: list[MigrationError] = []

    def run() -> None:
        with pytest.raises(MigrationError, match="has tables, and no ledger") as error:
            workshop.migrate()
        refused.append(error.value)

    with closing(sqlite3.connect(workshop.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE foreign_rows (a)")
        waiter = threading.Thread(target=run)
        waiter.start()
        wait_until(workshop.path.with_name("aragora_elo.db-migrating").exists, "the turn")
        connection.execute("COMMIT")
        waiter.join(PATIENCE_S)
    assert len(refused) == 1
    assert list(workshop.content()[1]) == ["foreign_rows"]


def test_threads_take_turns(workshop: Workshop) -> None:
    """The lock is not the process's but the run's: of four threads, one applies and takes the one snapshot."""
    changes = []
    together = threading.Barrier(4)

    def run() -> None:
        together.wait(PATIENCE_S)
        changes.append(workshop.migrate())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(len(change.migrations) for change in changes) == [0, 0, 0, 1]
    assert len(list(workshop.settings.backup_dir.glob("*.db"))) == 1
    assert names(workshop) == {"aragora_users.db"}
