"""The committed ``schema.sql`` of each database: what its migrations make, written down so that a change can be read.

``python -m aragora_persist.migrations.schema_files --write`` after a new migration; ``--check`` fails on a difference.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.schema import schema_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def schema_file(database: str) -> Path:
    """Return where the committed schema of this database is."""
    return folder_of(database) / "schema.sql"


def generate(database: str) -> str:
    """Return the content that the file must have."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        apply_pending(connection, load(folder_of(database)), ":memory:", lambda: None)
        return f"-- Generated from the migrations beside it; do not edit.\n\n{schema_text(connection)}"


def stale() -> list[Path]:
    """Return the files that are missing or differ from what the migrations make."""
    files = {schema_file(database.name): generate(database.name) for database in DATABASES}
    return [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aragora_persist.migrations.schema_files", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write every file anew")
    action.add_argument("--check", action="store_true", help="exit 1 when a file is missing or out of date")
    if parser.parse_args(argv).check:
        differing = stale()
        for path in differing:
            print(f"out of date: {path}", file=sys.stderr)  # noqa: T201 - a command line prints
        return 1 if differing else 0
    for database in DATABASES:
        schema_file(database.name).write_text(generate(database.name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
