"""Many small migrations: applying them, finding nothing to do, and saying how things stand, each as a new process.

Every tool gets the same changes in files of its own form, works with its own defaults, and is called as an operator
calls it, on its command line: the time is that of the process.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS = ("apply", "no-op", "status")

_ROOT = Path(__file__).resolve().parents[2]
_YOYO_COMMAND = [sys.executable, "-c", "from yoyo.scripts.main import main; main()"]  # what its entry point does

_TABLE = "CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"
_INDEX = "CREATE INDEX i{n} ON t{n}(name)"
_ROW = "INSERT INTO t{n} (name) VALUES ('first')"

_OURS = f"""
def upgrade(conn):
    conn.execute("{_TABLE}")
    conn.execute("{_INDEX}")
    conn.execute("{_ROW}")


def downgrade(conn):
    conn.execute("DROP TABLE t{{n}}")
"""
_YOYO = f"""
from yoyo import step

__depends__ = {{depends}}
steps = [step("{_TABLE}", "DROP TABLE t{{n}}"), step("{_INDEX}"), step("{_ROW}")]
"""


class Tool(NamedTuple):
    """How one tool's migrations look, and its command for each action on a folder of them and a folder for its data."""

    file: str
    command: Callable[[str, Path, Path], list[str]]
    database: str


def _our_command(action: str, _migrations: Path, data: Path) -> list[str]:
    flag = "--status" if action == "status" else "--migrate"
    module = "aragora_persist.migrations.runner"
    return [sys.executable, "-m", module, flag, "--db", "users", "--nomic-dir", str(data)]


def _yoyo_command(action: str, migrations: Path, data: Path) -> list[str]:
    verb = "list" if action == "status" else "apply"
    database = f"sqlite:///{data / 'yoyo.db'}"
    return [*_YOYO_COMMAND, verb, "--batch", "--no-config-file", "--database", database, str(migrations)]


TOOLS = {
    "aragora-persist": Tool(_OURS, _our_command, "aragora_users.db"),
    "yoyo": Tool(_YOYO, _yoyo_command, "yoyo.db"),
}


def measure(folder: Path, files: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each action by tool, one a round; the tools take turns.

    Raises:
        AssertionError: a tool has not done what it was asked for.

    """
    # Ours are where it looks for them: in a package of its own, whose users database has these and no others.
    package = folder / "package"
    ours = package / "aragora_persist" / "migrations" / "users"
    shutil.copytree(_ROOT / "aragora_persist", package / "aragora_persist")
    shutil.rmtree(ours)
    homes = {"aragora-persist": ours, "yoyo": folder / "yoyo"}
    for name, tool in TOOLS.items():
        _write(homes[name], tool.file, files)
        before = folder / f"{name}-before"
        before.mkdir()
        _run(
            tool.command("apply", homes[name], before), package
        )  # its modules are compiled then, and in the page cache
    seconds: dict[str, dict[str, list[float]]] = {name: {action: [] for action in ACTIONS} for name in TOOLS}
    for number in range(rounds):
        for name, tool in TOOLS.items():
            data = folder / f"{name}-{number}"
            data.mkdir()
            for action in ACTIONS:
                start = perf_counter()
                text = _run(tool.command(action, homes[name], data), package)
                seconds[name][action].append(perf_counter() - start)
                if action == "status" and str(files) not in text:
                    raise AssertionError(f"{name}: its status does not tell of version {files}: {text}")
            _check(data / tool.database, files)
    return seconds


def _write(folder: Path, form: str, files: int) -> None:
    folder.mkdir()
    for n in range(1, files + 1):
        depends = {f"{n - 1:03d}_step"} if n > 1 else set()
        (folder / f"{n:03d}_step.py").write_text(form.format(n=n, depends=depends or "set()"))


def compiled_in(folder: Path) -> dict[str, str]:
    """Return the environment in which Python keeps compiled modules, as an installation has them, in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder)}


def _run(command: list[str], package: Path) -> str:
    environment = {**compiled_in(package.with_name("compiled")), "PYTHONPATH": str(package)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=package, env=environment).stdout


def _check(database: Path, files: int) -> None:
    """Every migration was applied, and once."""
    with closing(sqlite3.connect(database)) as connection:
        for n in range(1, files + 1):
            if connection.execute(f"SELECT name FROM t{n} INDEXED BY i{n}").fetchall() != [("first",)]:  # noqa: S608 - a number
                raise AssertionError(f"{database.name}: table t{n} is not as its migration makes it")
