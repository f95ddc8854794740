"""The migrations as files: `migrations/<14 digits>_<name>.sql`, and beside them in `catalog/` what each one leads to.

Leaves out: what is applied where.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.cloud.schema.statements import split
from aragora_persist.errors import MigrationError

if TYPE_CHECKING:
    from aragora_persist.cloud.schema.catalog import Catalog
    from aragora_persist.cloud.schema.statements import Statement

_FILE_NAME = re.compile(r"(?P<version>[0-9]{14})_(?P<name>[\w-]+)\.sql")
_KEY = re.compile(r"\bsb_secret_|\beyJ[\w-]{8,}\.[\w-]+\.")
_READ = "read migrations"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One file; ``name`` is its stem without the version."""

    version: str
    name: str
    path: Path
    statements: tuple[Statement, ...]

    @property
    def title(self) -> str:
        """How people call it: the file's name without its suffix."""
        return self.path.stem


def shipped_folder() -> Path:
    """Return the folder with this release's `migrations/` and `catalog/`: beside the package, or the checkout's."""
    package = Path(__file__).resolve().parents[1]
    return package if (package / "migrations").is_dir() else package.parents[1] / "supabase"


def load(folder: Path) -> tuple[MigrationFile, ...]:
    """Return the migrations of ``folder`` in their order.

    Raises:
        MigrationError: there are none, or one of them must not be applied: a name without its version, a version that
            is there twice, a statement that ends the transaction or copies data, a key of Supabase in the text.

    """
    paths = sorted((folder / "migrations").glob("*.sql"))
    if not paths:
        raise MigrationError(_READ, folder / "migrations", "has no migration", hint="install aragora-persist again")
    files = tuple(_read(path) for path in paths)
    for earlier, later in pairwise(files):
        if earlier.version == later.version:
            raise MigrationError(_READ, later.path.name, f"has the version of {earlier.path.name}")
    return files


def catalog_path(folder: Path, version: str) -> Path:
    """Return where the catalog is that all migrations up to ``version`` make."""
    return folder / "catalog" / f"{version}.json"


def load_catalog(folder: Path, version: str) -> Catalog:
    """Return what all migrations up to ``version`` make.

    Raises:
        MigrationError: nobody has written it down.

    """
    path = catalog_path(folder, version)
    try:
        catalog: Catalog = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MigrationError(
            _READ, path, "is missing or damaged", hint="make catalog writes it; in an installed package, install again"
        ) from error
    return catalog


def _read(path: Path) -> MigrationFile:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationError(
            _READ,
            path.name,
            "is not named <14 digits>_<name>.sql",
            hint="supabase migration new NAME makes such a file",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(_READ, path.name, "cannot be read as UTF-8") from error
    if _KEY.search(text):
        raise MigrationError(
            _READ,
            path.name,
            "holds what looks like a key of Supabase",
            hint="take it out, and replace the key in the project's settings: it may be known to others",
        )
    statements = split(text)
    for statement in statements:
        if statement.first_word == "copy":
            raise MigrationError(
                _READ, f"{path.name} line {statement.line}", "COPY is not for migrations", hint="write INSERT instead"
            )
        if statement.controls_transaction:
            raise MigrationError(
                _READ,
                f"{path.name} line {statement.line}",
                f"{statement.first_word.upper()} is not for migrations",
                hint="take it out: each file is one transaction already",
            )
    return MigrationFile(match["version"], match["name"], path, statements)
