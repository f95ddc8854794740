"""Pages of the documentation whose commands are given one after the other, and answer what stands there.

Leaves out: snippets that are no console's (``test_documented_system``, ``test_documented_code``).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
HOME = "/home/ada"
"""Where the reader of a page is at home."""


class Page:
    """A page below `docs`; ``commands`` are those of its consoles, each with the answer that stands behind it."""

    def __init__(self, name: str) -> None:
        self.text = (ROOT / "docs" / name).read_text()
        consoles = "\n".join(re.findall(r"^```console\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE))
        self.commands: list[tuple[str, str]] = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", consoles, re.MULTILINE)

    def links(self) -> dict[str, bool]:
        """Return the links within the page, and of each whether it arrives at a title of it."""
        titles = re.findall(r"^## (.*)$", self.text, re.MULTILINE)
        places = {re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-") for title in titles}
        return {link: link in places for link in re.findall(r"\]\(#([a-z-]+)\)", self.text)}

    def missing_options(self, *command: str) -> list[str]:
        """Return the options in the help of a module's command that the page leaves out."""
        start = [sys.executable, "-m", *command, "--help"]
        shown = subprocess.run(start, capture_output=True, text=True, check=True).stdout
        options = set(re.findall(r"--[a-z-]+", shown)) - {"--help", "--verbose"}
        assert len(options) > 5
        return sorted(option for option in options if option not in self.text)


class Reader:
    """Gives commands in one shell, in a home of its own: what is exported holds for those that follow.

    ``programs`` are folders with what a machine may lack; ``variables`` are the rest of the shell's environment.
    """

    def __init__(self, home: Path, *programs: Path, **variables: str) -> None:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], *map(str, programs)))
        self.environment = {"HOME": str(home), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        self.exports: list[str] = []
        self._home = home

    def gets(self, command: str, wanted: str) -> None:
        """Give a command; what it prints, errors too, has to be what is wanted."""
        given = command.replace(HOME, str(self._home))
        done = subprocess.run(
            ["bash", "-c", "\n".join((*self.exports, given))],
            env=self.environment,
            cwd=self._home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        answer = _plain(done.stdout.replace(str(self._home), HOME))
        assert re.fullmatch(_pattern(wanted), f"{answer}\n"), f"{given}\n{done.stdout}"
        if command.startswith("export "):
            self.exports.append(given)


def sqlite_shell(folder: Path) -> Path:
    """Return a folder with the command line of SQLite: a machine without it has the same shell from apsw."""
    folder.mkdir()
    (folder / "sqlite3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m apsw "$@"\n')
    (folder / "sqlite3").chmod(0o755)
    return folder


def _plain(answer: str) -> str:
    """Return an answer without what is another one each time.

    That is numbers, and how wide they make a column; what makes the name of a run unique; and what says that a backup
    was the second one of its second.
    """
    named = re.sub(r"\b([a-z]+_\d{8}_\d{6})_\d+\b", r"\1", re.sub(r"\b(run \d{8}_\d{6}_)[0-9a-f]+", r"\1", answer))
    return re.sub(r" +", " ", re.sub(r"\d+", "0", named)).strip()


def _pattern(wanted: str) -> str:
    """Return what matches the answer on the page, in which ``...`` stands for anything, alone for any lines."""
    lines = _plain(wanted).split("\n")
    return "".join(
        r"(?:.*\n)*" if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in lines
    )
