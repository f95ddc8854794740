"""Live databases, and what is in a folder, for the tests of backups."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.settings import Settings


def make_database(settings: Settings, name: str = "users", rows: int = 3) -> Path:
    """Make a live database with a ledger and two tables, and return its path."""
    settings.nomic_dir.mkdir(exist_ok=True)
    path = settings.nomic_dir / f"aragora_{name}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO schema_version VALUES (1), (2)")
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, extra)")
        connection.execute("CREATE TABLE notes (user_id INTEGER REFERENCES users(id), text TEXT)")
        connection.executemany(
            "INSERT INTO users VALUES (?, ?, ?)", ((n, f"{n}@example.com", n / 2) for n in range(rows))
        )
        connection.execute("INSERT INTO notes VALUES (1, 'first')")
        connection.execute("COMMIT")
    return path


def execute(path: Path, sql: str) -> None:
    """Run one statement in a database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)


def names_in(directory: Path) -> list[str]:
    """Return the names of everything in a folder, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def flip(path: Path, place: int = -1, bit: int = 1) -> None:
    """Flip one bit of a file where it is; flipped again, the file is as it was."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place, os.SEEK_END if place < 0 else os.SEEK_SET)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ bit]))


def refused_to_nobody(settings: Settings, module: str, call: str) -> str:
    """Call a function of a module of ours as a user who owns nothing here; return the error that it ends with."""
    for folder in (settings.nomic_dir, *settings.nomic_dir.parents[:4]):  # all that pytest and its workers make
        if not (mode := folder.stat().st_mode) & 0o001:
            folder.chmod(mode | 0o011)
    code = (
        "import os\n"
        f"from {module} import {call.partition('(')[0]}\n"
        "from aragora_persist.errors import PersistError\n"
        "from aragora_persist.settings import Settings\n"
        "if os.getuid() == 0: os.setuid(65534)\n"  # nothing is forbidden to root
        f"try: {call}\n"
        "except PersistError as error: print(type(error).__name__, error)\n"
    )
    environ = {**os.environ, "NOMIC_DIR": str(settings.nomic_dir)}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
