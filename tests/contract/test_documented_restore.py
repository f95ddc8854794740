"""Every command on the page of restores is run, in its order, and answers what stands there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import FileState
from tests.documented import ROOT, Page, Reader, sqlite_shell

if TYPE_CHECKING:
    from pathlib import Path

PAGE = Page("restore.md")


def test_commands_answer_what_the_page_says(tmp_path: Path) -> None:
    """One after the other in one home; the id of a backup on the page is that of the one which was taken."""
    reader = Reader(tmp_path, sqlite_shell(tmp_path / "bin"))
    for command, wanted in PAGE.commands:
        newest = [entry.id for entry in Catalog(tmp_path / ".aragora" / "backups").read().backups]
        reader.gets(re.sub(r"users_\d{8}_\d{6}\b", newest[-1] if newest else "", command), wanted)
    assert len(PAGE.commands) >= 20


def test_every_section_of_the_table_is_there() -> None:
    """Who follows a link of the first table arrives."""
    links = PAGE.links()
    assert len(links) > 8
    assert all(links.values()), links


@pytest.mark.parametrize("name", ["backups.md", "restore.md"])
def test_what_a_page_quotes_is_what_is_said(name: str) -> None:
    """Who looks for an error in the table of what to do finds it: each text there is one of the program's."""
    said = "\n".join(path.read_text() for path in (ROOT / "aragora_persist").rglob("*.py"))
    table = Page(name).text.partition("| it says |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    texts = {text.strip() for cell in cells for part in cell.split("…") for text in part.split(", ")}
    states = {f"is {state.value}" for state in FileState}
    assert len(texts) > 5
    assert {text for text in texts - states if text not in said} == set()


def test_every_option_is_on_the_page() -> None:
    """None of the command's options is left out, but for the one that all commands have."""
    assert PAGE.missing_options("aragora_persist", "restore") == ["--nomic-dir"]
