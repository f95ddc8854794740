#!/usr/bin/env python3
"""Kills restores at every boundary in turn and at random moments, opens what is left, and restores again.

    scripts/chaos/restore_kill.py [--kills 200] [--seed 1] [--unprotected] [--until-wrong]

Three kinds of restore: into an open database that others hold, in the place of a file that SQLite cannot write such
pages into, and of a whole set, in which one database is missing. The process that restores gets SIGKILL before and
after each statement, flush, name and removal, in each step of SQLite's backup, and at random moments; few kills are at
the first and the last of these before any other. After each kill, whoever had a database open writes a row to it; then
every database is opened as services open them: it must be sound, with all of the old rows or all of the restored ones,
the same for all of a set; and that row must be in it or in a file that was kept. Then the restore is begun again: it
must succeed, and leave nothing but what it keeps. Exits 1 when anything was wrong. ``--unprotected`` copies the backups
over the databases instead, as a hand does: that run must fail, or the rig proves nothing. ``--until-wrong`` ends it
with the first kill after which something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from killing import Boundaries, forked
from rounds import add_until_wrong, rounds

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.backup.restore.restoring_sets import restore_all
from aragora_persist.backup.take import take_all
from aragora_persist.errors import PersistError
from aragora_persist.settings import Settings
from aragora_persist.storage.schema import get_wal_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUNDARIES = frozenset({"rename", "replace", "link", "unlink", "fsync", "execute", "backup", "close", "truncate"})
STEP = "check"  # what SQLite's backup calls after each of its steps
ROWS, NEWER = 600, 40
OTHER_PAGES = 8192
HELD = "elo"
SCENES = {"into": ("elo",), "in place": ("users",), "set": ("elo", "memory", "tokens", "users")}
LEFT = ("*.restoring", "*.restored", "*.partial", ".restoring-*")
SHOWN = 5


def make(folder: Path) -> Settings:
    """Make four databases, back them up, and write on; one gets other pages, one is lost, one has a stale log."""
    settings = Settings.from_env({"NOMIC_DIR": str(folder), "DB_TIMEOUT": "20"})
    for name in SCENES["set"]:
        with closing(sqlite3.connect(place(settings, name), isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, filling BLOB)")
            add(connection, ROWS)
    failed = [outcome.error for outcome in take_all(settings) if outcome.error]
    if failed:
        raise failed[0]
    for name in SCENES["set"]:
        with closing(sqlite3.connect(place(settings, name), isolation_level=None)) as connection:
            add(connection, NEWER)
            if name == "users":
                for statement in ("PRAGMA journal_mode=DELETE", f"PRAGMA page_size={OTHER_PAGES}", "VACUUM"):
                    connection.execute(statement)
                connection.execute("PRAGMA journal_mode=WAL")
            if name == "memory":
                add(connection, 1)
                log = Path(f"{place(settings, name)}-wal").read_bytes()
    place(settings, "memory").unlink()
    Path(f"{place(settings, 'memory')}-wal").write_bytes(log)
    return settings


def place(settings: Settings, name: str) -> Path:
    """Return where a database lies."""
    return settings.nomic_dir / f"aragora_{name}.db"


def add(connection: sqlite3.Connection, count: int) -> None:
    """Add rows in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO rows (filling) VALUES (randomblob(?))", [(300,)] * count)
    connection.execute("COMMIT")


def act(settings: Settings, scene: str, *, protected: bool) -> None:
    """Restore."""
    if not protected:
        for entry in Catalog(settings.backup_dir).read().backups:
            if entry.database in SCENES[scene]:
                copy_by_hand(settings.backup_dir / entry.file, place(settings, entry.database))
    elif scene == "set":
        restore_all(settings)
    else:
        restore(SCENES[scene][0], settings)


def copy_by_hand(backup: Path, live: Path) -> None:
    """Copy as ``cp`` does, whose pieces are larger, but so are databases."""
    with backup.open("rb") as source, live.open("wb", buffering=0) as target:
        while piece := source.read(65536):
            target.write(piece)
            os.fsync(target.fileno())


@contextmanager
def held(path: Path) -> Iterator[Callable[[], tuple[str, bool]]]:
    """Keep an idle connection to a database in another process; what is given has it write a row.

    It returns which, and whether the database was restored by then.
    """
    ready, tell = os.pipe(), os.pipe()

    def hold() -> None:
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        connection.execute("SELECT count(*) FROM rows").fetchone()
        os.write(ready[1], b"r")
        if os.read(tell[0], 1) == b"w":
            (row,) = connection.execute("INSERT INTO rows (filling) VALUES (randomblob(16)) RETURNING hex(filling)")
            (rows,) = connection.execute("SELECT count(*) FROM rows WHERE length(filling) = 300").fetchone()
            os.write(ready[1], f"{row[0]} {rows}".encode())

    pid = forked(hold)
    os.close(ready[1])
    os.close(tell[0])
    os.read(ready[0], 1)

    def write() -> tuple[str, bool]:
        os.write(tell[1], b"w")
        row, _, rows = os.read(ready[0], 64).decode().partition(" ")
        return row, rows == str(ROWS)

    try:
        yield write
    finally:
        os.close(ready[0])
        os.close(tell[1])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def state(path: Path) -> str:
    """Open a database as a service does, and say what is in it."""
    if not path.exists() and not path.with_name(f"{path.name}.restoring").exists():
        return "old"  # it was missing before
    with closing(get_wal_connection(path, 20)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return "damaged"
        (rows,) = connection.execute("SELECT count(*) FROM rows WHERE length(filling) = 300").fetchone()
    return {ROWS: "new", ROWS + NEWER: "old"}.get(rows, f"{rows} rows")


def holds(path: Path, row: str) -> bool:
    """Say whether a row is in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT 1 FROM rows WHERE hex(filling) = ?", (row,)).fetchone() is not None


def trial(
    settings: Settings, scene: str, rng: random.Random, last: int, seconds: float, *, protected: bool
) -> list[str]:
    """Kill one restore, and return what was wrong after it; the state that was found stands at the end."""
    names, problems = SCENES[scene], []

    def work() -> None:
        Boundaries(last).watch(BOUNDARIES, function=STEP)
        act(settings, scene, protected=protected)

    with held(place(settings, HELD)) as write:
        pid = forked(work)
        if not last:
            sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        row, restored = write()
    try:
        states = {name: state(place(settings, name)) for name in names}
        if len(set(states.values())) != 1 or not {"old", "new"} >= set(states.values()):
            problems.append(f"{scene}: {states}")
        kept = [place(settings, HELD)] if restored else settings.nomic_dir.glob(f"aragora_{HELD}*.db")
        if not any(holds(path, row) for path in kept):
            problems.append(f"{scene}: a row that was written after the kill is not where it should be")
        act(settings, scene, protected=True)
        problems += [f"{scene}: again: {name}" for name in names if state(place(settings, name)) != "new"]
    except (sqlite3.Error, PersistError) as error:
        return [*problems, f"{scene}: {error}", "failed"]
    left = {path for ending in LEFT for path in settings.nomic_dir.glob(ending)}
    problems += [f"{scene}: left {path.name}" for path in left]
    return [*problems, next(iter(states.values()))]


def measured(template: Path, scene: str, *, protected: bool) -> tuple[list[str], float]:
    """Return the boundaries that a restore passes which nobody kills, and how long it takes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        shutil.copytree(template, folder)
        told, settings = Path(scratch, "told"), Settings.from_env({"NOMIC_DIR": str(folder)})

        def work() -> None:
            boundaries = Boundaries()
            boundaries.watch(BOUNDARIES, function=STEP)
            act(settings, scene, protected=protected)
            sys.setprofile(None)
            told.write_text("\n".join(boundaries.passed))

        with held(place(settings, HELD)):
            start = perf_counter()
            os.waitpid(forked(work), 0)
            return told.read_text().splitlines(), perf_counter() - start


def planned(boundaries: dict[str, int], kills: int, rng: random.Random) -> list[tuple[str, int]]:
    """Return the scene and the boundary of each kill, 0 for the random moments of every fourth one.

    The ends of each scene come first, and then any of the others.
    """
    ends = [(scene, last) for scene, count in boundaries.items() for last in (1, count)]
    others = [(scene, last) for scene, count in boundaries.items() for last in range(2, count)]
    spread = [*ends, *rng.sample(others, len(others))][: kills - kills // 4]
    return spread + [(rng.choice(list(boundaries)), 0) for _ in range(kills - len(spread))]


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true", help="copy over the databases by hand")
    add_until_wrong(parser)
    arguments = parser.parse_args()
    rng, protected = random.Random(arguments.seed), not arguments.unprotected  # noqa: S311 - repeatable on purpose
    wrong: list[str] = []
    landed: Counter[str] = Counter()
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="aragora-restore-kill-") as scratch:
        template = Path(scratch, "template")
        template.mkdir()
        make(template)
        plans = {scene: measured(template, scene, protected=protected) for scene in SCENES}
        kills = planned({scene: len(passed) for scene, (passed, _) in plans.items()}, arguments.kills, rng)
        for number in rounds(len(kills), wrong, until_wrong=arguments.until_wrong):
            scene, last = kills[number]
            folder = Path(scratch, f"trial-{number}")
            shutil.copytree(template, folder)
            settings = Settings.from_env({"NOMIC_DIR": str(folder), "DB_TIMEOUT": "20"})
            *problems, found = trial(settings, scene, rng, last, plans[scene][1], protected=protected)
            where = plans[scene][0][last - 1] if last else "at a random moment"
            landed[f"{scene}, {where}: {found}"] += 1
            wrong += [f"{problem} (kill {where}, {last})" for problem in problems]
            shutil.rmtree(folder)
    report = {
        "kills": landed.total(),
        "boundaries": {scene: len(passed) for scene, (passed, _) in plans.items()},
        "found_old": sum(count for name, count in landed.items() if name.endswith("old")),
        "found_new": sum(count for name, count in landed.items() if name.endswith("new")),
        "wrong": len(wrong),
        "first_wrong": wrong[:SHOWN],
        "landed": dict(sorted(landed.items())),
        "seconds": round(perf_counter() - start, 1),
    }
    print(json.dumps(report, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
