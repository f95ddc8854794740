"""Every command on the page of off-site is given, in its order, to a real S3 server, and answers what stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import Catalog
from tests.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.unit.test_documented_migrations import pattern, plain
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.s3_server import S3Server

pytest_plugins = ("tests.offsite_fixtures",)
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "offsite.md").read_text()
CONSOLE = "\n".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", CONSOLE, re.MULTILINE)
KEYGEN = """
import sys, pyrage
identity = pyrage.x25519.Identity.generate()
with open(sys.argv[2], "x") as file:
    print("# public key:", identity.to_public(), file=file)
    print(identity, file=file)
print("Public key:", identity.to_public(), file=sys.stderr)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a fresh home, on a machine with age's program for keys."""
    (tmp_path / "bin").mkdir()
    keygen = tmp_path / "bin" / "age-keygen"
    keygen.write_text(f"#!{sys.executable}\n{KEYGEN}")  # the same from the library: not every machine has the program
    keygen.chmod(0o755)
    (tmp_path / "offsite-secret").write_text(SECRET_ACCESS_KEY)
    path = os.pathsep.join((str(keygen.parent), str(Path(sys.executable).parent), os.environ["PATH"]))
    return {"HOME": str(tmp_path), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def with_ids(command: str, ids: list[str]) -> str:
    """Return the command with the ids of the backups that were taken."""
    return re.sub(r"users_\d{8}_\d{6}\b(?!_)", ids[0] if ids else "", command)


def test_commands_answer_what_the_page_says(tmp_path: Path, environment: dict[str, str], s3_server: S3Server) -> None:
    """One after the other, as a reader would give them in one shell."""
    s3_server.make_bucket("aragora-backups")
    exports: list[str] = []
    for command, wanted in COMMANDS:
        ids = [entry.id for entry in Catalog(tmp_path / ".aragora" / "backups").read().backups]
        given = with_ids(command, ids).replace("https://s3.example.com", s3_server.url)
        given = given.replace("aragora-ships", ACCESS_KEY_ID).replace("/home/ada", str(tmp_path))
        done = subprocess.run(
            ["bash", "-c", "\n".join((*exports, given))],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        if command.startswith("export "):
            exports.append(given)
        answer = unnumbered(done.stdout.replace(str(tmp_path), "/home/ada"))
        assert re.fullmatch(pattern(unnumbered(wanted)), f"{answer}\n"), f"{given}\n{done.stdout}"
    assert len(COMMANDS) >= 25


def unnumbered(answer: str) -> str:
    """Return an answer without what says that a backup was the second one of its second."""
    return plain(re.sub(r"(users_\d+_\d+)_\d+\b", r"\1", answer))


def test_the_rights_of_the_key_are_those_that_are_used() -> None:
    """Objects are created with a condition, read and listed; the name of no other right stands there."""
    policy = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0])
    actions = {statement["Action"] for statement in policy["Statement"]}
    assert actions == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}


def test_every_link_within_the_page_arrives() -> None:
    """At a title of it."""
    found = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    titles = {re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-") for title in found}
    links = set(re.findall(r"\]\(#([a-z-]+)\)", PAGE))
    assert len(links) >= 3
    assert links <= titles
