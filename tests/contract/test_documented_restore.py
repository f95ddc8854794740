"""Every command on the page of restores is run, in its order, and answers what stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aragora_persist.backup.catalog import Catalog
from tests.unit.test_documented_migrations import pattern, plain
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "restore.md").read_text()
CONSOLE = "\n".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", CONSOLE, re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a fresh home, on a machine with the commands and SQLite's shell."""
    shell = tmp_path / "bin"
    shell.mkdir()
    # A machine without the command line of SQLite has the same shell from apsw.
    (shell / "sqlite3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m apsw "$@"\n')
    (shell / "sqlite3").chmod(0o755)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], str(shell)))
    return {"HOME": str(tmp_path), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def unnamed(answer: str) -> str:
    """Return an answer without what makes the names of runs unique."""
    return re.sub(r"(run \d+_\d+_)[0-9a-f]+", r"\1", answer)


def test_commands_answer_what_the_page_says(tmp_path: Path, environment: dict[str, str]) -> None:
    """One after the other in one home; the id of a backup on the page is that of the one which was taken."""
    for command, wanted in COMMANDS:
        newest = [entry.id for entry in Catalog(tmp_path / ".aragora" / "backups").read().backups]
        given = re.sub(r"users_\d{8}_\d{6}\b", newest[-1] if newest else "", command)
        done = subprocess.run(
            ["bash", "-c", given.replace("/home/ada", str(tmp_path))],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        answer = plain(unnamed(done.stdout.replace(str(tmp_path), "/home/ada")))
        assert re.fullmatch(pattern(unnamed(wanted)), f"{answer}\n"), f"{command}\n{done.stdout}"
    assert len(COMMANDS) >= 20


def test_every_section_of_the_table_is_there() -> None:
    """Who follows a link of the first table arrives."""
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    headings = {re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-") for title in titles}
    links = set(re.findall(r"\]\(#([a-z-]+)\)", PAGE))
    assert len(links) > 8
    assert links - headings == set()


def test_every_option_is_on_the_page() -> None:
    """None of the command's options is left out."""
    shown = subprocess.run(
        [sys.executable, "-m", "aragora_persist", "restore", "--help"], capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"--[a-z-]+", shown)) - {"--help", "--verbose", "--nomic-dir"}
    assert len(options) > 5
    assert [option for option in sorted(options) if option not in PAGE] == []
