"""Every command on the page of off-site is given, in its order, to a real S3 server, and answers what stands there."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog
from tests.documented import Page, Reader
from tests.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server

pytest_plugins = ("tests.offsite_fixtures",)
PAGE = Page("offsite.md")
KEYGEN = """
import sys, pyrage
identity = pyrage.x25519.Identity.generate()
with open(sys.argv[2], "x") as file:
    print("# public key:", identity.to_public(), file=file)
    print(identity, file=file)
print("Public key:", identity.to_public(), file=sys.stderr)
"""


def age_keygen(folder: Path) -> Path:
    """Return a folder with age's program for keys: a machine without it has the same from the library."""
    folder.mkdir()
    (folder / "age-keygen").write_text(f"#!{sys.executable}\n{KEYGEN}")
    (folder / "age-keygen").chmod(0o755)
    return folder


def test_commands_answer_what_the_page_says(tmp_path: Path, s3_server: S3Server) -> None:
    """One after the other, as a reader would give them in one shell."""
    s3_server.make_bucket("aragora-backups")
    (tmp_path / "offsite-secret").write_text(SECRET_ACCESS_KEY)
    reader = Reader(tmp_path, age_keygen(tmp_path / "bin"))
    for command, wanted in PAGE.commands:
        ids = [entry.id for entry in Catalog(tmp_path / ".aragora" / "backups").read().backups]
        given = re.sub(r"users_\d{8}_\d{6}\b(?!_)", ids[0] if ids else "", command)
        given = given.replace("https://s3.example.com", s3_server.url).replace("aragora-ships", ACCESS_KEY_ID)
        reader.gets(given, wanted)
    assert len(PAGE.commands) >= 25


def test_the_rights_of_the_key_are_those_that_are_used() -> None:
    """Objects are created with a condition, read and listed; the name of no other right stands there."""
    policy = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE.text, re.DOTALL | re.MULTILINE)[0])
    actions = {statement["Action"] for statement in policy["Statement"]}
    assert actions == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}


def test_every_link_within_the_page_arrives() -> None:
    """At a title of it."""
    links = PAGE.links()
    assert len(links) >= 3
    assert all(links.values()), links
