"""The command line as a user meets it: exit codes, output, errors. Each test runs the real command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aragora_persist
from aragora_persist.cli import build_parser, exit_code_of, main
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("aragora-persist")
VERBS = (
    "status",
    "migrate",
    "backup",
    "backups",
    "restore",
    "replicate",
    "recover",
    "drill",
    "import",
    "sync",
    "supabase",
    "doctor",
    "serve",
)


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder for databases that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def migrated(home: Path) -> Path:
    """Return a folder with all databases."""
    assert run("--nomic-dir", home, "migrate").returncode == 0
    return home


def test_help_names_every_verb() -> None:
    """`--help` succeeds, and each verb explains itself."""
    result = run("--help")

    assert result.returncode == 0
    assert re.findall(r"^    ([a-z]+) ", result.stdout, re.MULTILINE) == list(VERBS)
    assert result.stderr == ""


@pytest.mark.parametrize("verb", [*([verb] for verb in VERBS), ["import", "git"], ["import", "replay"]])
def test_verbs_explain_themselves(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb has a help text of its own."""
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--help"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: aragora-persist {' '.join(verb)} ")


def test_version_is_the_package_version() -> None:
    """The command, the module and the package agree."""
    as_module = subprocess.run(
        [sys.executable, "-m", "aragora_persist", "--version"], capture_output=True, text=True, check=True
    )

    assert run("--version").stdout == as_module.stdout == f"{aragora_persist.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["backup", "--db", "nonsense"],
        ["backup", "--every", "0"],
        ["backup", "--every", "nan"],
        ["backup", "--every", "60", "--json"],
        ["backup", "--every", "60", "--dry-run"],
        ["backups", "--check", "--rebuild"],
        ["restore"],
        ["restore", "users", "--backup", ""],
        ["restore", "users", "--at", "yesterday"],
        ["restore", "users", "--at", "0001-01-01T00:00:00+10:00"],
        ["restore", "users", "--at", "2026-01-01", "--backup", "x"],
        ["recover"],
        ["serve", "--port", "70000"],
        ["sync"],
        ["import"],
        ["--nomic-dir", "", "status"],
    ],
)
def test_wrong_usage_exits_2_and_says_why(arguments: list[str], home: Path) -> None:
    """A mistake in the arguments is told from a failure, and nothing is made."""
    result = run(*arguments, NOMIC_DIR=str(home))

    assert result.returncode == 2
    assert "usage: aragora-persist" in result.stderr
    assert not home.exists()


def test_unknown_database_lists_those_that_exist() -> None:
    """The message helps to find the right name."""
    assert "'nonsense' is not a database (one of: elo, memory, outbox" in run("backup", "--db", "nonsense").stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_nomic_dir_beats_the_environment_wherever_it_stands(place: str, home: Path, tmp_path: Path) -> None:
    """The option wins over the variable, before the verb and after it."""
    option = ["--nomic-dir", str(home)]
    arguments = [*option, "status", "--json"] if place == "before" else ["status", "--json", *option]

    result = run(*arguments, NOMIC_DIR=str(tmp_path / "other"))

    assert json.loads(result.stdout)["nomic_dir"] == str(home)


def test_failure_exits_1_with_the_way_out_and_no_traceback(home: Path) -> None:
    """An error is a sentence and a next step."""
    result = run("--nomic-dir", home, "restore", "users")

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "aragora-persist: restore: users: there is no backup of it\n  way out: aragora-persist backups\n"
    )


def test_verbose_failure_adds_the_traceback(home: Path) -> None:
    """`-v` shows where, before the same sentence."""
    result = run("-v", "--nomic-dir", home, "restore", "users")

    assert result.returncode == 1
    assert result.stderr.startswith("Traceback ")
    assert result.stderr.endswith("  way out: aragora-persist backups\n")


def test_wrong_environment_names_the_variable(home: Path) -> None:
    """A variable that cannot be read fails the command and is named."""
    result = run("status", NOMIC_DIR=str(home), DB_TIMEOUT="soon")

    assert result.returncode == 1
    assert result.stderr.startswith("aragora-persist: read environment: DB_TIMEOUT: 'soon' is not a number")


def test_closed_pipe_is_silent(migrated: Path) -> None:
    """A reader that went away is no error to talk about."""
    with subprocess.Popen(
        [COMMAND, "--nomic-dir", migrated, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_full_disk_behind_a_redirection_is_a_failure(migrated: Path) -> None:
    """An answer that could not be written was not given."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [COMMAND, "--nomic-dir", migrated, "status"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert result.returncode == 1
    assert "No space left on device" in result.stderr


def test_a_closed_output_is_no_failure(migrated: Path) -> None:
    """Nobody wants the answer; the exit code is there all the same."""
    closing = ("sh", "-c", 'exec "$0" "$@" >&-')
    result = subprocess.run(
        [*closing, COMMAND, "--nomic-dir", migrated, "status"], stderr=subprocess.PIPE, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_what_an_interrupt_leaves_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever ends a command in its middle learns where its work is; without credentials."""

    def run() -> int:
        interrupt = KeyboardInterrupt()
        interrupt.add_note("a snapshot from before is https://ann:secret@example.com/x.db")
        raise interrupt

    assert exit_code_of(run, verbose=False) == 130
    told = capsys.readouterr().err
    assert told.startswith("aragora-persist: interrupted: a snapshot from before is ")
    assert "secret" not in told


@contextlib.contextmanager
def reader_of(fifo: Path) -> Iterator[None]:
    """Hold a pipe open for writing once somebody reads it."""
    opened: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # nobody reads it yet
            opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    wait_until(is_read, "a reader")
    yield
    os.close(opened[0])


def test_interrupt_exits_130(home: Path) -> None:
    """Ctrl-C ends a one-off command without a traceback, as shells expect."""
    home.mkdir()
    fifo = home / "trace.json"
    os.mkfifo(fifo)  # reading it waits, so that the command is surely in its middle
    with subprocess.Popen(
        [COMMAND, "--nomic-dir", home, "import", "replay", fifo], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        with reader_of(fifo):
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)

        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 130


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import aragora_persist` and the parser need neither SQLite nor the network."""
    program = "import aragora_persist, aragora_persist.cli as c, sys; c.build_parser(); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )

    assert loaded.isdisjoint({"sqlite3", "dataclasses", "typing", "json", "socket", "logging", "http", "argon2"})


@pytest.mark.parametrize("name", aragora_persist.__all__)
def test_public_names_resolve(name: str) -> None:
    """Every public name is there, and `dir` shows it."""
    assert getattr(aragora_persist, name) is not None
    assert name in dir(aragora_persist)


def test_unknown_public_name_is_an_attribute_error() -> None:
    """A name that is not there fails as Python's own do."""
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        aragora_persist.nonsense  # noqa: B018 - the look-up is the test


def test_every_verb_has_its_module() -> None:
    """What the parser offers can be run."""
    arguments = {
        "restore": ["users"],
        "recover": ["users"],
        "sync": ["--status"],
        "import": ["git", "."],
        "supabase": ["status"],
    }
    for verb in VERBS:
        module = build_parser().parse_args([verb, *arguments.get(verb, [])]).module

        assert (Path(aragora_persist.__file__).parent / "commands" / f"{module}.py").is_file()
