"""The committed catalogs: what the migrations make, one file for each of them, so that drift is known at every version.

``SUPABASE_DB_URL=… python -m aragora_persist.cloud.schema.catalog_files --write`` after a new migration; ``--check``
fails on a difference. The migrations run in a database of their own, which is made for it and dropped, on a server that
has Supabase's roles, such as that of the stack dev.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from aragora_persist.cli import exit_code_of
from aragora_persist.cloud.schema.apply import run_file
from aragora_persist.cloud.schema.catalog import read_catalog
from aragora_persist.cloud.schema.connecting import connected
from aragora_persist.cloud.schema.folder import catalog_path, load, shipped_folder
from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Secret, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def generate(db_url: Secret, folder: Path) -> dict[Path, str]:
    """Return the content that each file must have; ``db_url`` names a server on which a database may be made."""
    contents = {}
    with _scratch_database(db_url) as scratch, connected(scratch) as (connection, _):
        for file in load(folder):
            with connection.transaction():
                run_file(connection, file)
            with connection.transaction():
                catalog = read_catalog(connection)
            contents[catalog_path(folder, file.version)] = json.dumps(catalog, indent=2) + "\n"
    return contents


def stale(db_url: Secret, folder: Path) -> list[Path]:
    """Return the files that are missing, differ from what the migrations make, or belong to none of them."""
    expected = generate(db_url, folder)
    present = {path: path.read_text(encoding="utf-8") for path in (folder / "catalog").iterdir()}
    return sorted(path for path in expected.keys() | present.keys() if expected.get(path) != present.get(path))


@contextmanager
def _scratch_database(db_url: Secret) -> Iterator[Secret]:
    name = f"aragora_catalog_{secrets.token_hex(4)}"
    with connected(db_url) as (connection, _):
        connection.execute(f"create database {name} template template0".encode())
        try:
            yield Secret(urlunsplit(urlsplit(db_url.reveal())._replace(path=f"/{name}")))
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aragora_persist.cloud.schema.catalog_files", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write every file anew")
    action.add_argument("--check", action="store_true", help="exit 1 when a file is missing or out of date")
    writes = parser.parse_args(argv).write
    return exit_code_of(lambda: _write() if writes else _check(), verbose=False)


def _write() -> int:
    for path, content in generate(_server(), shipped_folder()).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return 0


def _check() -> int:
    differing = stale(_server(), shipped_folder())
    for path in differing:
        print(f"out of date: {path}", file=sys.stderr)  # noqa: T201 - a command line prints
    return 1 if differing else 0


def _server() -> Secret:
    db_url = Settings.from_env().supabase_db_url
    if db_url is None:
        raise InvalidValueError(
            "make catalogs", "SUPABASE_DB_URL", "is not set", hint="name a server on which a database may be made"
        )
    return db_url


if __name__ == "__main__":
    sys.exit(main())
