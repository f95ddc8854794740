"""The half of ``disk_full.py`` that runs in the container: writes until the disk is full, frees some, writes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.errors import PersistError, StorageError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction
    from aragora_persist.storage.sqlite.engine import Engine

_INSERT = "INSERT INTO token_blacklist (jti, reason, expires_at, revoked_at) VALUES (?, ?, ?, ?)"
_LAST = "9999-12-31T00:00:00.000000Z"
_THREADS = 4
_REFUSALS = 5
_PADDING = "x" * 3000


class Rig:
    """One database on the small disk, and what was seen."""

    def __init__(self, engine: Engine, *, protected: bool) -> None:
        self.engine = engine
        self.protected = protected
        self.acknowledged: set[str] = set()
        self.found = dict.fromkeys(("refused", "unclear_errors", "failed_reads", "stuck", "lost"), 0)

    def insert(self, transaction: Transaction, *, key: str) -> None:
        """Insert one row."""
        transaction.execute(_INSERT, (key, _PADDING, _LAST, _LAST))
        if not self.protected:
            self.acknowledged.add(key)

    def write(self, key: str) -> bool:
        """Write one row; False when it was refused."""
        try:
            self.engine.write("rig.insert", partial(self.insert, key=key))
        except PersistError as error:
            self.found["refused"] += 1
            clear = isinstance(error, StorageError) and "full" in error.problem and "space" in error.hint
            self.found["unclear_errors"] += not clear
            return False
        if self.protected:
            self.acknowledged.add(key)
        return True

    def fill(self, name: str) -> None:
        """Write until several writes in a row were refused."""
        refused, number = 0, 0
        while refused < _REFUSALS:
            refused = 0 if self.write(f"{name}-{number}") else refused + 1
            number += 1

    def read(self) -> None:
        """Read everything on the full disk, and look for what was acknowledged."""
        try:
            with self.engine.read("rig.keys") as view:
                there = {key for (key,) in view.all("SELECT jti FROM token_blacklist")}
        except PersistError:
            self.found["failed_reads"] += 1
        else:
            self.found["lost"] += len(self.acknowledged - there)

    def make_room(self) -> None:
        """Delete most rows, for the next round."""
        with self.engine.transaction("rig.delete") as transaction:
            transaction.execute("DELETE FROM token_blacklist WHERE jti NOT LIKE '%freed%'")
        self.acknowledged = {key for key in self.acknowledged if "freed" in key}
        self.engine.tidy()


def main() -> None:
    """Run the rounds and print what was seen."""
    rounds, protected = int(sys.argv[1]), sys.argv[2] == "protected"
    data = Path("/data")
    path, ballast = data / "aragora_tokens.db", data / "ballast"
    with open_engine(path, "tokens", settings=Settings.from_env({})) as engine:
        rig = Rig(engine, protected=protected)
        for number in range(rounds):
            # Half of what is free: what the log holds must have a place in the database before the log can shrink.
            ballast.write_bytes(b"\0" * (shutil.disk_usage(data).free // 2))
            writers = [threading.Thread(target=rig.fill, args=(f"{number}-{thread}",)) for thread in range(_THREADS)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            rig.read()
            ballast.unlink()
            rig.found["stuck"] += not all([rig.write(f"{number}-freed-{again}") for again in range(20)])  # noqa: C419 - all of them are tried
            rig.make_room()
    with closing(sqlite3.connect(path)) as connection:
        there = {key for (key,) in connection.execute("SELECT jti FROM token_blacklist")}
        unsound = connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    rig.found["lost"] += len(rig.acknowledged - there)
    print(json.dumps({"sqlite": sqlite3.sqlite_version, **rig.found, "unsound": int(unsound)}, indent=2))


main()
