"""What a command shows beside its answer: progress, errors; and the sidecar, which shows neither."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from aragora_persist.backup.take import take_backup
from aragora_persist.commands.console import print_error
from aragora_persist.errors import BusyError, PersistError
from aragora_persist.migrations import runner
from aragora_persist.settings import Settings
from tests.waiting import PATIENCE_S, wait_until

COMMAND = Path(sys.executable).with_name("aragora-persist")
COUNTING = """
import time
from aragora_persist.commands.console import Progress
with Progress("commits") as progress:
    for done in range(4):
        progress(done, 2000)
        time.sleep(0.12)
print("done")
"""


def chain() -> PersistError:
    """Return an error with two causes, one of which quotes a credential."""
    outer = PersistError("migrate", "users", "failed")
    outer.__cause__ = BusyError("lock", "users", "is locked", hint="raise DB_TIMEOUT")
    outer.__cause__.__cause__ = ValueError("postgresql://postgres:hunter2-secret@db/ refused")
    return outer


@pytest.mark.parametrize("verbose", [False, True])
def test_error_shows_its_causes_its_way_out_and_no_credential(
    capsys: pytest.CaptureFixture[str], *, verbose: bool
) -> None:
    """The whole chain, the first hint in it, and nothing secret, with or without the traceback."""
    print_error(chain(), verbose=verbose)
    err = capsys.readouterr().err

    assert err.endswith(
        "aragora-persist: migrate: users: failed\n"
        "  because lock: users: is locked\n"
        "  because ValueError: postgresql://postgres:[redacted]@db/ refused\n"
        "  way out: raise DB_TIMEOUT\n"
    )
    assert ("direct cause" in err) == verbose
    assert "hunter2" not in err


def test_unforeseen_error_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A bug is called one, and the way to its place is named."""
    print_error(ZeroDivisionError("division by zero"))

    assert capsys.readouterr().err == (
        "aragora-persist: ZeroDivisionError: division by zero\n  way out: this is a bug; -v shows where\n"
    )


def test_progress_is_shown_on_a_terminal_and_cleared() -> None:
    """On a terminal one line counts up and is gone at the end; the answer stays apart."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING], stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        answer = process.stdout.read()
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)

    assert answer == "done\n"
    assert b"2 of 2,000 commits (0 %)" in shown
    assert shown.endswith(b"\r\x1b[K")


def test_progress_is_silent_in_a_pipe() -> None:
    """A log gets no progress."""
    result = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=True)

    assert (result.stdout, result.stderr) == ("done\n", "")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["backup"], "backing up: elo"), (["backups", "--check"], "reading: elo_"), (["drill"], "drilling: elo")],
)
def test_what_is_done_to_backups_is_shown_on_a_terminal_and_cleared(
    tmp_path: Path, arguments: list[str], shown: str
) -> None:
    """The line says which one it is, and is gone before the answer is printed."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path)})
    runner.migrate(tmp_path / "aragora_elo.db", "elo", settings=settings)
    take_backup("elo", settings)
    ours, theirs = pty.openpty()
    command = [str(COMMAND), arguments[0], "--nomic-dir", str(tmp_path), *arguments[1:]]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # what a terminal answers whose other side has gone
            while piece := os.read(ours, 4096):
                seen += piece
        os.close(ours)
    assert process.returncode == 0, seen
    assert f"\x1b[K{shown}".encode() in seen
    assert b"\x1b[K" in seen[seen.rindex(shown.encode()) :]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b""
    assert b"\x1b" not in piped.stdout


def test_sidecar_backs_up_until_it_is_stopped(tmp_path: Path) -> None:
    """`backup --every` takes one at once and another after the interval, of the chosen databases, and stops cleanly."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path)})
    for name in ("tokens", "elo"):
        runner.migrate(tmp_path / f"aragora_{name}.db", name, settings=settings)
    with subprocess.Popen(
        [COMMAND, "--nomic-dir", tmp_path, "backup", "--every", "0.2", "--db", "tokens"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        with closing(process.stderr):
            wait_until(lambda: len(list(settings.backup_dir.glob("tokens_*.db"))) >= 2, "two backups")
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE_S)
            log = process.stderr.read()

    assert code == 0
    assert "backed up tokens: tokens_" in log
    assert "Traceback" not in log
    assert list(settings.backup_dir.glob("elo_*")) == []
    assert list(settings.backup_dir.glob(".*.partial")) == []
