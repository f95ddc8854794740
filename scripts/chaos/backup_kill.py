#!/usr/bin/env python3
"""Kills what takes, removes and lists backups, again and again, and judges what is then on offer as a backup.

    scripts/chaos/backup_kill.py [--kills 1000] [--seed 1] [--unprotected] [--until-wrong]

Two databases are written to all the time, in pairs of rows. A process backs both up, plain, compressed or encrypted,
removes old backups and records drills and shipments, as the sidecar does; in every fourth round it makes a damaged
catalog anew. It gets SIGKILL before and after each flush, name, removal and write in turn, or at a random moment. After
each kill everything on offer must hold what its entry says, restored too; what is encrypted must be nowhere in plain
form. At the end nothing may be left over. Exits 1 when anything was bad. ``--unprotected`` copies in place instead, as
the ``sqlite3 .backup`` of a shell script does, and every file counts as a backup: that run must fail, or the rig proves
nothing. ``--until-wrong`` ends it with the first bad one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrage
from killing import Boundaries, forked
from rounds import add_until_wrong, rounds

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import FileState, take_inventory
from aragora_persist.backup.rebuild import rebuild
from aragora_persist.backup.records import Drill, Shipment
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.backup.take import apply_retention, take_all
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.backup.verify import verify
from aragora_persist.settings import Compression, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = Callable[[Settings], None]

DATABASES = ("elo", "users")
BOUNDARIES = frozenset({"link", "rename", "replace", "unlink", "fsync", "ftruncate", "truncate", "write", "encrypt_io"})
PLAIN = b"SQLite format 3"
NOWHERE = "at its end"
REBUILD_EVERY = 4
WARM_UP_ROUNDS = 3
MOST_BACKUPS = 8
PROGRESS_EVERY = 100
ROWS = 1_500
ROW_BYTES = 400
SHOWN = 10


def main() -> int:
    """Run the rig and print what it found."""
    parser = argparse.ArgumentParser(description="Kill a process that takes backups; judge what is left.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true", help="copy in place, without any protection")
    add_until_wrong(parser)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - a repeatable choice of moments
    with tempfile.TemporaryDirectory(prefix="aragora-kills-") as folder:
        settings = make(Path(folder))
        with child(lambda: write_for_ever(settings)):
            torture = copies_in_place if arguments.unprotected else backups
            report = torture(settings, arguments.kills, chance, until_wrong=arguments.until_wrong)
    print(json.dumps(report, indent=2))
    return 1 if report["bad"] else 0


def make(folder: Path) -> Settings:
    """Make two databases, an identity, and scratch space that can be looked at."""
    scratch = folder / "scratch"
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    identity = pyrage.x25519.Identity.generate()
    (folder / "identity").write_text(f"{identity}\n")
    environ = {
        "NOMIC_DIR": str(folder),
        "ARAGORA_BACKUP_IDENTITY_FILE": str(folder / "identity"),
        "ARAGORA_BACKUP_RECIPIENTS": str(identity.to_public()),
    }
    settings = Settings.from_env(environ)
    settings.backup_dir.mkdir()
    for name in DATABASES:
        make_database(folder / f"aragora_{name}.db")
    return settings


def backups(settings: Settings, kills: int, chance: random.Random, *, until_wrong: bool) -> dict[str, Any]:
    """Kill ``kills`` processes that back up or rebuild; return where they were, and what was bad afterwards."""
    landed: Counter[str] = Counter()
    bad: list[str] = []
    works: tuple[Work, Work] = (mend, back_up)
    typical_s = {work: duration_s(work, settings) for work in works}
    places: Counter[Work] = Counter()
    boundaries: Counter[str] = Counter()
    known: set[str] = set()
    for number in rounds(kills, bad, until_wrong=until_wrong):
        work = works[number % REBUILD_EVERY > 0]
        form = in_some_form(settings, chance)
        if work is mend:
            damage(settings)
        if number // REBUILD_EVERY % 2:
            places[work] += 1
            where = killed(work, form, boundary=places[work])
            boundaries[where] += 1
            if where == NOWHERE:
                places[work] = 0  # there is none so late: from the first one again
        else:
            killed(work, form, after_s=chance.uniform(0, 1.2 * typical_s[work]))
        landed[where_it_stopped(settings, known)] += 1
        bad += [f"kill {number} ({work.__name__}): {problem}" for problem in judge(settings, mending=work is mend)]
        thin_out(settings)
        if (number + 1) % PROGRESS_EVERY == 0:
            print(f"{number + 1} kills, {len(bad)} bad", file=sys.stderr)
    back_up(settings)
    bad += [f"left over: {path}" for path in left_over(settings)]
    return {
        "kills": landed.total(),
        "boundaries": dict(sorted(boundaries.items())),
        "found": dict(sorted(landed.items())),
        "bad": len(bad),
        "examples": bad[:SHOWN],
    }


def back_up(settings: Settings) -> None:
    """Do what the sidecar does in a round; a clock that runs ahead makes every older backup one that must go."""
    for outcome in take_all(settings, DATABASES):
        if outcome.entry is None:
            raise outcome.error or AssertionError
        with Catalog(settings.backup_dir).writing(timeout_s=settings.db_timeout_s) as writer:
            id_, now = outcome.entry.id, times.utc_now()
            writer.add_drill(Drill(backup=id_, database=outcome.database, at=now, ok=True, seconds=1, source="local"))
            writer.add_shipment(Shipment(backup=id_, at=now, url="file:///there"))
    apply_retention(settings, now=times.utc_now() + timedelta(days=8))


def mend(settings: Settings) -> None:
    """Make the catalog anew."""
    rebuild(settings)


def damage(settings: Settings) -> None:
    """Spoil a line of the catalog, and end it with half a line."""
    path = Catalog(settings.backup_dir).path
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first[:-9] + b"X" + first[-8:] + b"\n" + rest + b'{"kind": "bac')


def thin_out(settings: Settings) -> None:
    """Remove old backups when killed rounds have left many: each of them is read again after each kill."""
    for aside in settings.backup_dir.glob("catalog.replaced_*"):
        aside.unlink()
    if len(Catalog(settings.backup_dir).read().backups) > MOST_BACKUPS:
        apply_retention(settings, now=times.utc_now() + timedelta(days=8))


def in_some_form(settings: Settings, chance: random.Random) -> Settings:
    """Return settings under which backups are plain, compressed, encrypted or both."""
    return replace(
        settings,
        backup_compression=chance.choice(list(Compression)),
        backup_recipients=chance.choice([settings.backup_recipients, ()]),
    )


def where_it_stopped(settings: Settings, known: set[str]) -> str:
    """Say in which step the process was killed, from what it left; a file is told of once."""
    state = Catalog(settings.backup_dir).read()
    scratch = {path.name for path in (settings.nomic_dir / "scratch").iterdir()}
    names = scratch | {path.name for path in settings.backup_dir.iterdir()}
    new = names - known
    known |= names
    if any("catalog" in name and (name.endswith(".partial") or "replaced" in name) for name in new):
        return "while the catalog was exchanged"
    if any(".age." in name or ".zst." in name for name in new):
        return "while packing"
    if any(name.endswith(".partial") for name in new) or new & scratch:
        return "while copying or verifying"
    if any(entry.file in new for entry in state.deleted):
        return "between a deletion's record and the deletion"
    if any(name.startswith(DATABASES) and name not in state.known_files for name in new):
        return "between the name and the record"
    return "in the middle of the record" if state.torn else "elsewhere"


def judge(settings: Settings, *, mending: bool) -> Iterator[str]:
    """Yield what is bad about what the catalog offers and a restore brings back, and what is there in plain form.

    A damaged catalog may name what is not there any more. Made anew, it offers both databases again.
    """
    if mending:
        yield from judge_offers(settings)
        rebuild(settings)
    inventory = take_inventory(settings)
    yield from (f"{one.entry.file} is not there" for one in inventory.backups if one.state is not FileState.INTACT)
    yield from (f"line {number} of the catalog is damaged" for number in inventory.damaged_lines)
    yield from judge_offers(settings)
    for name in DATABASES:
        target = settings.nomic_dir / f"restored_{name}.db"
        restore(name, settings, to=target)
        yield from judge_file(target)
        target.unlink()
    for path in settings.backup_dir.iterdir():
        if ".age" in path.name and PLAIN in path.read_bytes():
            yield f"{path.name} is in plain form"


def judge_offers(settings: Settings) -> Iterator[str]:
    """Yield which backups are wrong of those that their digests call sound."""
    for entry in take_inventory(settings, check=True).intact():
        with opened_backup(entry, settings) as plain:
            if verify(plain).content != entry.content:
                yield f"{entry.file} does not hold what its entry says"


def left_over(settings: Settings) -> Iterator[Path]:
    """Yield what is still there of killed processes after one that was not."""
    yield from settings.backup_dir.glob(".*")
    yield from (settings.nomic_dir / "scratch").iterdir()


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


def copies_in_place(settings: Settings, kills: int, chance: random.Random, *, until_wrong: bool) -> dict[str, Any]:
    """Do the same without protection: every file counts as a backup; a bad one is removed, to be counted once."""
    typical_s = duration_s(copy_in_place, settings)
    bad: list[str] = []
    done = 0
    for _ in rounds(kills, bad, until_wrong=until_wrong):
        done += 1
        killed(copy_in_place, settings, after_s=chance.uniform(0, 1.2 * typical_s))
        for path in sorted(settings.backup_dir.glob("*.db")):
            problems = list(judge_file(path))
            bad += problems
            if problems:
                path.unlink()
    return {"kills": done, "bad": len(bad), "examples": bad[:SHOWN]}


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
    while True:
        for connection in connections:
            connection.execute("BEGIN IMMEDIATE")
            (extra,) = connection.execute("SELECT count(*) FROM pairs WHERE id > ?", (ROWS,)).fetchone()
            if extra > ROWS // 10:
                connection.execute("DELETE FROM pairs WHERE id > ?", (ROWS,))
            for _ in range(2):
                connection.execute("INSERT INTO pairs (filling) VALUES (randomblob(?))", (ROW_BYTES,))
            connection.execute("COMMIT")
        time.sleep(0.005)


def duration_s(work: Work, settings: Settings) -> float:
    """Return how long a round takes."""
    started = time.monotonic()
    for _ in range(WARM_UP_ROUNDS):
        work(settings)
    return (time.monotonic() - started) / WARM_UP_ROUNDS


def killed(work: Work, settings: Settings, *, boundary: int = 0, after_s: float = 0.0) -> str:
    """Do ``work`` in a child and kill it, at a boundary or after a time; return at which boundary that was."""
    told, tell = os.pipe()

    def act() -> None:
        if boundary:
            Boundaries(boundary, told=lambda name: os.write(tell, name.encode())).watch(BOUNDARIES)
        work(settings)

    pid = forked(act)
    os.close(tell)
    if not boundary:
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(told) as pipe:
        where = pipe.read()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"{work.__name__} failed")
    return where or NOWHERE


@contextmanager
def child(work: Callable[[], None]) -> Iterator[None]:
    """Run ``work``, which never ends, in a child for the length of a block."""
    pid = forked(work)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the writer ended")


if __name__ == "__main__":
    sys.exit(main())
