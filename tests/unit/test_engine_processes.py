"""The engine among processes: many that start at once, forked children, and one that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import MisuseError
from aragora_persist.migrations.folder import latest_version
from aragora_persist.storage.sqlite.engine import open_engine
from tests.unit.tokens import INSERT
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine

STARTERS = 16
ROUNDS = 2


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that runs ``code``."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tokens(engine: Engine) -> list[str]:
    """Return every token."""
    with engine.read("look") as view:
        return [str(row[0]) for row in view.all("SELECT jti FROM token_blacklist ORDER BY jti")]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_many_starters_of_a_new_folder(tmp_path: Path, number: int) -> None:
    """Sixteen processes open a database that is not there, at one signal: it is made once, and each can write."""
    path = tmp_path / f"new-{number}" / "users.db"
    code = """
        import sys
        from aragora_persist.storage.sqlite.engine import open_engine
        print("ready", flush=True)
        sys.stdin.readline()
        with open_engine(sys.argv[1], "users") as engine, engine.transaction("add") as tx:
            insert = "INSERT INTO users (id, email, password_hash, password_salt) VALUES (?, ?, '', '')"
            tx.execute(insert, sys.argv[2:])
    """
    starters = [start(code, path, f"id-{name}", f"{name}@example.com") for name in range(STARTERS)]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    outcomes = [(starter.communicate(timeout=PATIENCE_S)[1], starter.returncode) for starter in starters]
    assert [code for _, code in outcomes] == [0] * STARTERS, outcomes
    with open_engine(path, "users") as engine, engine.read("look") as view:
        assert view.one("SELECT count(*) FROM users") == (STARTERS,)
        assert view.all("SELECT max(version) FROM schema_version") == [(latest_version("users"),)]


def test_a_killed_writer_leaves_all_or_nothing(tmp_path: Path) -> None:
    """What a process committed before kill -9 is there; the transaction that it was in is not."""
    path = tmp_path / "tokens.db"
    code = f"""
        import sys
        from aragora_persist.storage.sqlite.engine import open_engine
        engine = open_engine(sys.argv[1], "tokens")
        with engine.transaction("whole") as tx:
            tx.execute("{INSERT}", ("whole",))
        block = engine.transaction("half")
        tx = block.__enter__()
        tx.execute("{INSERT}", ("half",))
        print("now", flush=True)
        sys.stdin.readline()
    """
    victim = start(code, path)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "now\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=PATIENCE_S)
    with open_engine(path, "tokens") as engine:
        assert tokens(engine) == ["whole"]


def test_a_process_that_forgets_to_close_leaves_no_wal(tmp_path: Path) -> None:
    """The snippet of the documentation never closes its store; the end of the process does."""
    code = """
        import sys
        from aragora_persist.storage.sqlite.engine import open_engine
        engine = open_engine(sys.argv[1], "tokens")
        with engine.read("look") as view:
            view.one("SELECT 1")
    """
    forgetful = start(code, tmp_path / "tokens.db")
    forgetful.communicate(timeout=PATIENCE_S)
    assert forgetful.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.db"]


def in_child(work: str, engine: Engine) -> None:
    """Do something with an engine that the parent opened."""
    if work == "write":
        with engine.transaction("child") as tx:
            tx.execute(INSERT, ("child",))
    elif work == "read":
        assert tokens(engine) == ["parent"]


@pytest.mark.parametrize("work", ["write", "read", "nothing"])
def test_a_forked_child_has_connections_of_its_own(tmp_path: Path, work: str) -> None:
    """After a fork both go on; the parent's open view and its writer are untouched by the child's end."""
    with open_engine(tmp_path / "tokens.db", "tokens") as engine:
        with engine.transaction("parent") as tx:
            tx.execute(INSERT, ("parent",))
        with engine.read("before") as view:
            assert view.one("SELECT count(*) FROM token_blacklist") == (1,)
            child = multiprocessing.get_context("fork").Process(target=in_child, args=(work, engine))
            child.start()
            child.join(PATIENCE_S)
            assert child.exitcode == 0
            assert view.one("SELECT count(*) FROM token_blacklist") == (1,)
        with engine.transaction("parent") as tx:
            tx.execute(INSERT, ("parent, later",))
        expected = ["parent", "parent, later"]
        assert tokens(engine) == (["child", *expected] if work == "write" else expected)


@pytest.mark.parametrize("method", ["execute", "execute_many", "one", "all"])
def test_a_child_forked_inside_a_transaction_cannot_write_through_it(tmp_path: Path, method: str) -> None:
    """What it wrote would fall over what the parent commits later; the child is refused, the parent loses nothing."""
    with open_engine(tmp_path / "tokens.db", "tokens") as engine:
        with engine.transaction("parent") as tx:
            tx.execute(INSERT, ("parent",))
            process = os.fork()
            if process == 0:  # pragma: no cover -- runs in the child
                try:
                    parameters = [("child",)] if method == "execute_many" else ("child",)
                    getattr(tx, method)(INSERT, parameters)
                except MisuseError as error:
                    os._exit(0 if "forked" in error.problem else 2)
                os._exit(1)
            assert os.waitpid(process, 0)[1] == 0
        assert tokens(engine) == ["parent"]


def test_a_child_forked_inside_a_transaction_cannot_end_it(tmp_path: Path) -> None:
    """The child's way out of the block touches nothing and says so; the parent commits."""
    with open_engine(tmp_path / "tokens.db", "tokens") as engine:
        block = engine.transaction("parent")
        with block as tx:
            tx.execute(INSERT, ("parent",))
            process = os.fork()
            if process == 0:  # pragma: no cover -- runs in the child
                try:
                    block.__exit__(None, None, None)
                except MisuseError:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(process, 0)[1] == 0
        assert tokens(engine) == ["parent"]


def test_a_database_in_memory_does_not_survive_a_fork() -> None:
    """A child cannot have it, and is told so instead of finding an empty one."""

    def child(engine: Engine) -> None:
        with pytest.raises(MisuseError, match="memory"):
            tokens(engine)

    with open_engine(":memory:", "tokens") as engine:
        process = multiprocessing.get_context("fork").Process(target=child, args=(engine,))
        process.start()
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        assert tokens(engine) == []
