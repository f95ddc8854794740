"""The generated reference pages are what the program says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from aragora_persist.cli import build_parser
from aragora_persist.settings import VARIABLES
from tests.unit.test_cli import VERBS

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_fresh() -> None:
    """`scripts/generate_docs.py --check` finds nothing to write."""
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_every_variable_and_every_verb_is_on_its_page() -> None:
    """A reader finds each variable and each verb."""
    environment = (ROOT / "docs" / "environment.md").read_text()
    commands = (ROOT / "docs" / "commands.md").read_text()

    assert [one.name for one in VARIABLES if f"| `{one.name}` |" not in environment] == []
    sections = re.findall(r"^## (.+)$", commands, re.MULTILINE)
    assert tuple(dict.fromkeys(section.split()[0] for section in sections)) == VERBS
    assert {"import git", "import replay", "supabase apply"} <= {*sections}


def test_commands_in_the_other_pages_can_be_given() -> None:
    """Each is one that the program takes, with its options; it is not run."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages if page.name != "commands.md")
    commands = re.findall(r"(?:^|[ `])aragora-persist ([a-z][^`#\n]*)", text, re.MULTILINE)

    assert len(commands) > 15
    assert [build_parser().parse_args(_words(command)) for command in commands]


def _words(command: str) -> list[str]:
    """Return a command's words up to a pipe."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    return list(takewhile(lambda word: word != "|", lexer))
