"""The lint of migrations: what an upgrade would do to running services and to data, before a release finds out.

Migrations are not parsed but watched: they run one after the other in memory, on a few sample rows a table, and schema
and rows are compared before and after. So what a loop, an f-string or a function of another module does is seen, and
so is a rename that hides in a rebuild. Not seen is what depends on rows that the samples are not like (a DELETE whose
WHERE meets none of them, a text that is cut at its thousandth character), on the time, or on how much there is; that a
kept column means something else now; what services do with what they read; and whether a statement about rows is one
that only SQLite understands. ``CONTRIBUTING.md`` lists the rules, ``catalog`` with why and the way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.migrations.lint.catalog import RULES, Finding
from aragora_persist.migrations.lint.differences import differences
from aragora_persist.migrations.lint.observing import observe
from aragora_persist.migrations.lint.rules import breaks_promise, rules
from aragora_persist.migrations.lint.waivers import applied

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RULES", "Finding", "check"]


def check(database: str, folder: Path | None = None) -> tuple[Finding, ...]:
    """Return what the migrations of a database have against them, file by file; none is the good answer.

    Raises:
        MigrationError: a file cannot be loaded, or the folder is no sequence of migrations.
        InvalidValueError: there is no such database or folder.

    """
    findings: list[Finding] = []
    for seen in observe(load(folder or folder_of(database))):
        left = applied(seen.migration.name, seen.body.constant("WAIVED"), [*differences(seen), *rules(seen)])
        findings += left
        findings += breaks_promise(seen, left)
    return tuple(findings)
