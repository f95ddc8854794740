#!/usr/bin/env python3
"""Kills a writer, again and again, and restores over what it leaves: a database with a log that nobody has closed.

    scripts/chaos/restore_after_kill.py [--restores 1000] [--seed 1] [--unprotected]

The writer is a service with our engine: threads that share commits, and report each row when it is written. It gets
SIGKILL at a random moment, and another one takes its place, in a database that was restored. After each restore the
database must be sound and hold the backup's rows to the last digest, and what it replaced must be sound and hold every
row that the writer had reported. Exits 1 when anything was wrong. ``--unprotected`` restores as the documentation does,
with ``cp`` over the database: that run must fail, or the rig proves nothing.
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
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from killing import forked

from aragora_persist.backup.restore.restoring import Way, restore
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import read_content
from aragora_persist.errors import PersistError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.storage.port import Transaction
    from aragora_persist.storage.sqlite.engine import Engine

INSERT = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, ?, ?)"
LATER = "9999-12-31T00:00:00.000000Z"
REPORT_BYTES = 32
ROWS = 300
THREADS = 3
LONGEST_LIFE_S = 0.06
SHOWN = 5


def insert(transaction: Transaction, key: str) -> None:
    """Insert one row, long enough that a few of them fill a page."""
    transaction.execute(INSERT, (key, "x" * 700, LATER, LATER))


def write(engine: Engine, pipe: int, number: int) -> None:
    """Write rows until the process is killed, and report each one that was written."""
    for count in range(2**31):
        key = f"{number}-{count}".rjust(REPORT_BYTES, "0")
        engine.write("rig.insert", partial(insert, key=key))
        os.write(pipe, key.encode())


def killed_writer(settings: Settings, rng: random.Random) -> set[str]:
    """Let a service write and kill it; return the rows that it had reported."""
    pipe, theirs = os.pipe()

    def serve() -> None:
        engine = open_engine(None, "tokens", settings=settings)
        for number in range(THREADS):
            threading.Thread(target=write, args=(engine, theirs, number), daemon=True).start()
        signal.pause()

    pid = forked(serve)
    os.close(theirs)
    reported = os.read(pipe, REPORT_BYTES)  # it writes
    sleep(rng.uniform(0, LONGEST_LIFE_S))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while data := os.read(pipe, 65536):
        reported += data
    os.close(pipe)
    return {reported[at : at + REPORT_BYTES].decode() for at in range(0, len(reported), REPORT_BYTES)}


def keys(path: Path) -> set[str]:
    """Return the rows of a database, which must be sound."""
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError("integrity_check finds damage")
        return {key for (key,) in connection.execute("SELECT jti FROM token_blacklist")}


def restored(settings: Settings, entry: BackupEntry, *, protected: bool) -> Path | None:
    """Restore, and return the database that was replaced."""
    live = settings.nomic_dir / "aragora_tokens.db"
    if not protected:
        shutil.copyfile(settings.backup_dir / entry.file, live)
        return None
    result = restore("tokens", settings)
    if result.way is not Way.INTO or not result.equal:
        raise RuntimeError(f"restored {result.way.value}, equal: {result.equal}")
    return result.replaced


def examined(settings: Settings, entry: BackupEntry, reported: set[str], replaced: Path | None) -> str:
    """Return what is wrong after a restore, or ''."""
    live = settings.nomic_dir / "aragora_tokens.db"
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        if read_content(connection, live) != entry.content:
            return "rows differ"
    if replaced is None:
        return ""
    lost = reported - keys(replaced)
    replaced.unlink()
    return f"{len(lost)} reported rows are not kept" if lost else ""


def torture(folder: Path, restores: int, rng: random.Random, *, protected: bool) -> dict[str, object]:
    """Kill and restore; return the counts."""
    settings = Settings.from_env({"NOMIC_DIR": str(folder)})
    with open_engine(None, "tokens", settings=settings) as engine:
        for number in range(ROWS):
            engine.write("rig.fill", partial(insert, key=f"first {number}"))
    entry = take_backup("tokens", settings)
    pristine = folder / "pristine.db"
    shutil.copyfile(settings.backup_dir / entry.file, pristine)
    live = settings.nomic_dir / "aragora_tokens.db"
    wrong: list[str] = []
    corrupt = reported_rows = logs = 0
    for _ in range(restores):
        reported = killed_writer(settings, rng)
        reported_rows += len(reported)
        logs += Path(f"{live}-wal").stat().st_size > 0
        try:
            problem = examined(settings, entry, reported, restored(settings, entry, protected=protected))
        except (sqlite3.DatabaseError, PersistError) as error:
            corrupt += 1
            problem = str(error)
        if problem:
            wrong.append(problem)
            for ending in ("-wal", "-shm"):
                Path(f"{live}{ending}").unlink(missing_ok=True)
            shutil.copyfile(pristine, live)
    return {
        "restores": restores,
        "with_a_log": logs,
        "reported_rows": reported_rows,
        "corrupt": corrupt,
        "different": len(wrong) - corrupt,
        "first_wrong": wrong[:SHOWN],
    }


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restores", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true", help="restore with cp")
    arguments = parser.parse_args()
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="aragora-restore-after-kill-") as folder:
        rng = random.Random(arguments.seed)  # noqa: S311 - repeatable on purpose
        report = torture(Path(folder), arguments.restores, rng, protected=not arguments.unprotected)
    print(json.dumps({**report, "seconds": round(perf_counter() - start, 1)}, indent=2))
    return int(bool(report["corrupt"] or report["different"]))


if __name__ == "__main__":
    sys.exit(main())
