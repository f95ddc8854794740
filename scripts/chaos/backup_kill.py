#!/usr/bin/env python3
"""Kill a process that takes backups, again and again, and look at what the catalog and a restore take for a backup.

Two databases are written to all the time, in pairs of rows. A child takes backups of both and removes old ones, as the
sidecar does, until it gets SIGKILL at a random moment. After each kill every backup on offer must hold what its entry
says, and a restored one must hold whole transactions. With ``--naive`` the child copies in place instead, as the
``sqlite3 .backup`` of a shell script does, and every file counts as a backup: that shows that this rig finds bad ones.

Exit code 0: nothing bad was on offer; 1: something was. Everything lies in a scratch folder that is removed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import FileState, take_inventory
from aragora_persist.backup.restore import restore
from aragora_persist.backup.take import apply_retention, take_backup
from aragora_persist.backup.verify import verify
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATABASES = ("elo", "users")
WARM_UP_ROUNDS = 3
PROGRESS_EVERY = 100
ROWS = 1_500
ROW_BYTES = 400


def main() -> int:
    """Run the rig and print what it found."""
    parser = argparse.ArgumentParser(description="Kill a process that takes backups; judge what is left.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--naive", action="store_true", help="copy in place, without any protection")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aragora-backup-kill-") as scratch:
        settings = Settings.from_env({"NOMIC_DIR": scratch})
        settings.backup_dir.mkdir()
        for name in DATABASES:
            make_database(Path(scratch, f"aragora_{name}.db"))
        with child(lambda: write_for_ever(settings)):
            landed, bad = torture(settings, arguments.kills, random.Random(arguments.seed), naive=arguments.naive)  # noqa: S311 - a repeatable choice of moments
    print(f"{arguments.kills} kills; found after them: {dict(sorted(landed.items()))}")
    for problem in bad[:10]:
        print(f"BAD: {problem}")
    print(f"{len(bad)} times something bad was on offer as a backup")
    return 1 if bad else 0


def torture(settings: Settings, kills: int, moments: random.Random, *, naive: bool) -> tuple[Counter[str], list[str]]:
    """Kill ``kills`` children; return what the folder looked like after each, and what was bad."""
    work = copy_in_place if naive else take_and_prune
    judge = judge_files if naive else judge_offers
    started = time.monotonic()
    for _ in range(WARM_UP_ROUNDS):
        work(settings)
    round_s = (time.monotonic() - started) / WARM_UP_ROUNDS
    landed: Counter[str] = Counter()
    bad: list[str] = []
    for number in range(kills):
        with child(lambda: for_ever(lambda: work(settings))):
            time.sleep(moments.uniform(0, 2 * round_s))
        landed[where_it_stopped(settings, naive=naive)] += 1
        bad += [f"kill {number}: {problem}" for problem in judge(settings)]
        if (number + 1) % PROGRESS_EVERY == 0:
            print(f"{number + 1} kills, {len(bad)} bad", file=sys.stderr)
    return landed, bad


def take_and_prune(settings: Settings) -> None:
    """Do what the sidecar does in a round; a clock that runs ahead makes every older backup one that must go."""
    for name in DATABASES:
        take_backup(name, settings)
        apply_retention(settings, now=times.utc_now() + timedelta(days=8), databases=[name])


def copy_in_place(settings: Settings) -> None:
    """Copy both databases straight to their final names, and remove all but the last five of each."""
    for name in DATABASES:
        target = settings.backup_dir / f"{name}_{time.time_ns()}.db"
        with (
            closing(sqlite3.connect(settings.nomic_dir / f"aragora_{name}.db")) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        for old in sorted(settings.backup_dir.glob(f"{name}_*.db"))[:-5]:
            old.unlink()


def where_it_stopped(settings: Settings, *, naive: bool) -> str:
    """Say in which step the child was killed, from what it left."""
    if naive:
        return "somewhere"
    state = Catalog(settings.backup_dir).read()
    paths = {path.name: path for path in settings.backup_dir.iterdir()}
    if any(name.endswith(".partial") for name in paths):
        return "while copying or verifying"
    if any(entry.file in paths for entry in state.deleted):
        return "between a deletion's record and the deletion"
    if nameless := [path for name, path in paths.items() if name.endswith(".db") and name not in state.known_files]:
        for path in nameless:
            path.unlink()  # nothing removes these, and each is to be counted once
        return "between the name and the record"
    return "in the middle of the record" if state.torn else "elsewhere"


def judge_offers(settings: Settings) -> Iterator[str]:
    """Yield what is bad about the backups that the catalog offers and about those that a restore brings back."""
    inventory = take_inventory(settings, check=True)
    yield from (
        f"{listed.entry.file} is {listed.state.value}" for listed in inventory.backups if not_whole(listed.state)
    )
    yield from (f"line {number} of the catalog is damaged" for number in inventory.damaged_lines)
    for entry in inventory.intact():
        if verify(settings.backup_dir / entry.file).content != entry.content:
            yield f"{entry.file} does not hold what its entry says"
    for name in DATABASES:
        target = settings.nomic_dir / f"restored_{name}.db"
        restore(name, settings, to=target)
        yield from judge_file(target)
        target.unlink()


def not_whole(state: FileState) -> bool:
    """Say whether a file is not what its entry says."""
    return state is not FileState.INTACT


def judge_files(settings: Settings) -> Iterator[str]:
    """Yield what is bad about the files, for want of a catalog; each bad one is removed, to be counted once."""
    for path in sorted(settings.backup_dir.glob("*.db")):
        problems = list(judge_file(path))
        if problems:
            path.unlink()
        yield from problems


def judge_file(path: Path) -> Iterator[str]:
    """Yield what is bad about one database file: damage, missing rows, half a transaction."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("PRAGMA quick_check").fetchone()
            (rows,) = connection.execute("SELECT count(*) FROM pairs").fetchone()
    except sqlite3.Error as error:
        yield f"{path.name}: {error}"
        return
    if found != "ok":
        yield f"{path.name}: {found}"
    if rows < ROWS or rows % 2:
        yield f"{path.name}: holds {rows} rows"


def make_database(path: Path) -> None:
    """Make a database with enough rows that copying it takes a moment."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE pairs (id INTEGER PRIMARY KEY, filling BLOB)")
        connection.executemany("INSERT INTO pairs (filling) VALUES (randomblob(?))", [(ROW_BYTES,)] * ROWS)
        connection.execute("COMMIT")


def write_for_ever(settings: Settings) -> None:
    """Add a pair of rows to each database about two hundred times a second, and take the same number away again."""
    connections = [
        sqlite3.connect(settings.nomic_dir / f"aragora_{name}.db", isolation_level=None) for name in DATABASES
    ]

    def write() -> None:
        for connection in connections:
            connection.execute("BEGIN IMMEDIATE")
            (extra,) = connection.execute("SELECT count(*) FROM pairs WHERE id > ?", (ROWS,)).fetchone()
            if extra > ROWS // 10:
                connection.execute("DELETE FROM pairs WHERE id > ?", (ROWS,))
            for _ in range(2):
                connection.execute("INSERT INTO pairs (filling) VALUES (randomblob(?))", (ROW_BYTES,))
            connection.execute("COMMIT")
        time.sleep(0.005)

    for_ever(write)


def for_ever(work: Callable[[], None]) -> None:
    """Repeat until killed."""
    while True:
        work()


@contextmanager
def child(work: Callable[[], None]) -> Iterator[None]:
    """Run ``work`` in a child process, and kill it at the end of the block."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(3)  # whatever ended the work: the parent finds this code instead of its own signal
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("a child ended before it was killed")


if __name__ == "__main__":
    sys.exit(main())
