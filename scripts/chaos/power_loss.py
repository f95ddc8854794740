#!/usr/bin/env python3
"""Takes the power away at thousands of moments of a recorded run, and opens what a disk could then hold.

    scripts/chaos/power_loss.py [--images 2000] [--rounds 4] [--writes 400] [--unprotected level|sync]

Threads write through the product, durable and committed, while every write, truncation and sync of its SQLite is
recorded. For each image, a moment is chosen: what a file's last sync covered is there, of what came after it any part
may be, torn at sectors of 512 bytes. Exits 1 when an image is corrupt or lacks a row that was acknowledged as durable.
``--unprotected level`` passes committed writes off as durable, ``--unprotected sync`` lets the disk ignore every sync:
those runs must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from power_loss_recorder import Event, Recorder

from aragora_persist.errors import BusyError
from aragora_persist.settings import Durability, Settings
from aragora_persist.storage.sqlite.engine import Engine, open_engine

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction

_SECTOR = 512
_THREADS = 4
_TIDY_EVERY = 40
_INSERT = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, ?, ?)"
_LAST = "9999-12-31T00:00:00.000000Z"


def insert(transaction: Transaction, *, key: str, padding: str) -> int:
    """Insert one row, of a size that spreads a few of them over several pages."""
    return transaction.execute(_INSERT, (key, padding, _LAST, _LAST))


def write(engine: Engine, recorder: Recorder, thread: int, *, count: int, seed: int, honest: bool) -> None:
    """Write so many rows, each as durable or committed, and note each acknowledgement when it has come."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    for number in range(count):
        level = chance.choice(list(Durability))
        key = f"{thread}-{number}"
        work = partial(insert, key=key, padding="x" * chance.randrange(2000))
        engine.write("rig.insert", work, durability=level if honest else Durability.COMMITTED)
        recorder.note(Event("ack", key, durable=level is Durability.DURABLE))
        if number % _TIDY_EVERY == _TIDY_EVERY - 1:
            with suppress(BusyError):
                engine.tidy()  # checkpoints: the moments at which the database's own pages change


def record(place: Path, recorder: Recorder, count: int, seed: int, *, honest: bool) -> None:
    """Run the writers on a new database below ``place``."""
    with open_engine(place / "aragora_tokens.db", "tokens", settings=Settings.from_env({})) as engine:
        with ThreadPoolExecutor(_THREADS) as pool:
            share = partial(write, engine, recorder, count=count // _THREADS, honest=honest)
            writers = [pool.submit(share, thread, seed=seed + thread) for thread in range(_THREADS)]
        for writer in writers:
            writer.result()


def image(events: list[Event], chance: random.Random) -> dict[str, bytearray]:
    """Return the files that a disk could hold after these events and a loss of power."""
    synced = {event.path: index for index, event in enumerate(events) if event.kind == "sync"}
    # A file system with a journal writes what happened to its folders with the next sync of any file.
    folders_synced = max(synced.values(), default=-1)
    kept = chance.choice((0.0, 0.5, 0.9, 1.0))
    files: dict[str, bytearray] = defaultdict(bytearray)
    for index, event in enumerate(events):
        sure = index <= synced.get(event.path, -1)
        if event.kind == "write":
            for part in [event] if sure else torn(event, kept, chance):
                put(files[event.path], part.offset, part.data)
        elif event.kind == "truncate" and (sure or chance.random() < kept):
            del files[event.path][event.offset :]
        elif event.kind == "delete" and (event.durable or index <= folders_synced or chance.random() < kept):
            files.pop(event.path, None)
    return files


def torn(event: Event, kept: float, chance: random.Random) -> list[Event]:
    """Return the sectors of an unsynced write that reached the disk."""
    starts = range(-(event.offset % _SECTOR), len(event.data), _SECTOR)
    return [
        replace(event, offset=event.offset + max(0, start), data=event.data[max(0, start) : start + _SECTOR])
        for start in starts
        if chance.random() < kept
    ]


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Write into a file's content, with zeros where it was shorter."""
    content.extend(b"\0" * (offset - len(content)))
    content[offset : offset + len(data)] = data


def examine(files: dict[str, bytearray], acknowledged: dict[bool, set[str]], scratch: Path) -> Counter[str]:
    """Open an image as the next start would, and count what is wrong with it."""
    for path, content in files.items():
        (scratch / Path(path).name).write_bytes(content)
    found: Counter[str] = Counter(images=1)
    with closing(sqlite3.connect(scratch / "aragora_tokens.db")) as connection:
        try:
            sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            there = set()
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'token_blacklist'").fetchone():
                there = {key for (key,) in connection.execute("SELECT jti FROM token_blacklist")}
        except sqlite3.DatabaseError:
            sound, there = False, set()
    found["corrupt"] = int(not sound)
    found["durable_lost"] = len(acknowledged[True] - there) if sound else 0
    found["committed_lost"] = len(acknowledged[False] - there) if sound else 0
    for file in scratch.iterdir():
        file.unlink()
    return found


def run(arguments: argparse.Namespace) -> Counter[str]:
    """Record and examine; return the counts of all images."""
    found: Counter[str] = Counter()
    recorder = Recorder()
    recorder.install()
    # In memory: an image is written, read once and thrown away, and the product's own syncs are recorded, not timed.
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    for number in range(arguments.rounds):
        chance = random.Random(arguments.seed + number)  # noqa: S311 - repeatable on purpose
        recorder.events.clear()
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            live, scratch = Path(folder) / "live", Path(folder) / "image"
            live.mkdir()
            scratch.mkdir()
            honest = arguments.unprotected != "level"
            record(live, recorder, arguments.writes, arguments.seed + number, honest=honest)
            events = [e for e in recorder.events if arguments.unprotected != "sync" or e.kind != "sync"]
            found["events"] += len(events)
            for _ in range(arguments.images // arguments.rounds):
                upto = events[: chance.randrange(1, len(events) + 1)]
                acknowledged = {
                    durable: {e.path for e in upto if e.kind == "ack" and e.durable is durable}
                    for durable in (True, False)
                }
                found["acknowledged"] += len(acknowledged[True])
                found += examine(image(upto, chance), acknowledged, scratch)
    return found


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--writes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", choices=("level", "sync"))
    arguments = parser.parse_args()
    start = perf_counter()
    found = run(arguments)
    report = {
        name: found[name] for name in ("images", "events", "acknowledged", "corrupt", "durable_lost", "committed_lost")
    }
    print(
        json.dumps({"sqlite": sqlite3.sqlite_version, **report, "seconds": round(perf_counter() - start, 1)}, indent=2)
    )
    return int(bool(found["corrupt"] or found["durable_lost"]))


if __name__ == "__main__":
    sys.exit(main())
