"""What a database lacks, or why nothing may be applied to it: pure decisions over files, history and catalogs.

Leaves out: reading any of them (`folder`, `history`, `catalog`), and doing it (`apply`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.cloud.schema.statements import split
from aragora_persist.errors import MigrationError, SchemaTooNewError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.cloud.schema.folder import MigrationFile
    from aragora_persist.cloud.schema.history import Applied

_CHECK = "check schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """How a database (`host:port/name`) stands to the migrations, which are called by their files' names.

    ``late`` are those of ``pending`` that are older than the newest applied one. ``unknown`` are in the database's
    history and no file; with any of them ``drift`` is not judged, since no catalog tells what they made. Each line of
    ``drift`` names one thing that is not as the applied migrations made it.
    """

    database: str
    applied: tuple[str, ...]
    pending: tuple[str, ...]
    late: tuple[str, ...]
    edited: tuple[str, ...]
    unknown: tuple[str, ...]
    drift: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what must not be applied to.

        Raises:
            MigrationError: an applied file was edited since, a pending one is older than an applied one, or something
                is pending and there is drift.
            SchemaTooNewError: the history has a version that no file has.

        """
        if self.edited:
            raise MigrationError(
                _CHECK,
                ", ".join(self.edited),
                f"was applied to {self.database}, and is another text now",
                hint="put the file back as it was, and make the change in a new migration",
            )
        if self.unknown:
            raise SchemaTooNewError(
                _CHECK,
                self.database,
                f"has migrations that this release does not: {', '.join(self.unknown)}",
                hint="use the release that has them; for files of your own: supabase migration fetch brings them, and "
                "supabase migration repair --status reverted VERSION strikes them out",
            )
        if self.late:
            raise MigrationError(
                _CHECK,
                ", ".join(self.late),
                f"is older than {self.applied[-1]}, which {self.database} has already",
                hint="give its file a version above that",
            )
        if self.pending and self.drift:
            raise MigrationError(
                _CHECK,
                self.database,
                f"is not as its migrations made it, so nothing more is applied: {'; '.join(self.drift)}",
                hint="undo it by hand; or make it a migration, and mark that as applied: supabase migration repair "
                "--status applied VERSION",
            )


def compare(database: str, files: Sequence[MigrationFile], history: Sequence[Applied]) -> SchemaState:
    """Return the state without its drift."""
    titles = {file.version: file.title for file in files}
    applied = {row.version: row for row in history}
    newest = max(titles.keys() & applied.keys(), default="")
    pending = [file for file in files if file.version not in applied]
    return SchemaState(
        database=database,
        applied=tuple(file.title for file in files if file.version in applied),
        pending=tuple(file.title for file in pending),
        late=tuple(file.title for file in pending if file.version < newest),
        edited=tuple(
            file.title for file in files if file.version in applied and _is_edited(file, applied[file.version])
        ),
        unknown=tuple(row.title for row in history if row.version not in titles),
    )


def _is_edited(file: MigrationFile, row: Applied) -> bool:
    """Compare with what was stored, by this applier or by the Supabase CLI; a row that stored nothing cannot tell."""
    if row.statements is None:
        return False
    stored = split("\n;\n".join(row.statements))
    return [_lines(each.text) for each in stored] != [_lines(each.text) for each in file.statements]


def _lines(text: str) -> str:
    """Return the text with the line ends of this system: a checkout may have changed them."""
    return text.replace("\r\n", "\n")
