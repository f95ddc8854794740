"""``recover``: what can still be read of a damaged database, in a new file, and what cannot."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.recover.recovering import recover
from aragora_persist.commands.console import Progress, print_json, print_table, read_settings
from aragora_persist.databases import find_database
from aragora_persist.storage.sqlite.files import resolve
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from aragora_persist.backup.recover.report import Loss, Report, TableReport


def run(arguments: Namespace) -> int:
    """Salvage, and say what came back and what did not; fail where something is missing, with the file made."""
    live = find_database(arguments.database).path(read_settings(arguments).nomic_dir)
    source = resolve(arguments.source or live)
    stamp = f"{times.utc_now():%Y%m%d_%H%M%S}"
    target = resolve(arguments.to) if arguments.to else live.with_name(f"{live.stem}.recovered_{stamp}{live.suffix}")
    with Progress("pages") as progress:
        report = recover(source, target, arguments.database, progress=progress)
    command = f"aragora-persist restore {arguments.database} {shlex.quote(str(target))}"
    if arguments.json:
        print_json(
            {
                "database": arguments.database,
                **asdict(report),
                "source": str(source),
                "target": str(target),
                "whole": report.whole,
                "restore": command,
            }
        )
    else:
        _print(report)
        print(f"Put it in place: {command}", flush=True)
    if not report.whole:
        print("aragora-persist: recover: not everything came back, or not for certain: see the report", file=sys.stderr)
    return 0 if report.whole else 1


def _print(report: Report) -> None:
    version = "" if report.schema_version is None else f", version {report.schema_version}"
    print(f"Recovered {report.source} into {report.target}")
    print(f"Schema: {report.schema}{version}")
    told = [table for table in report.tables if table.rows or not table.whole]
    print_table(("TABLE", "ROWS", "FOUND", "ASIDE", "DANGLING", "MISSING"), [tuple(_cells(table)) for table in told])
    if rest := len(report.tables) - len(told):
        print(f"{count_text(rest, 'table')} without rows")
    for line in _lines(report):
        print(line)


def _cells(table: TableReport) -> Iterator[str]:
    yield table.name
    for number in (table.rows, table.found, table.set_aside, table.dangling):
        yield f"{number:,}"
    if table.missing is not None:
        yield f"{max(0, table.missing):,}"
    else:
        yield "some" if table.problem or any(loss.certain for loss in table.losses) else "perhaps"


def _lines(report: Report) -> Iterator[str]:
    for note in report.notes:
        yield f"The file: {note}"
    for table in report.tables:
        if table.problem:
            yield f"{table.name}: {table.problem}"
        yield from (f"{table.name}: {_loss_text(loss)}" for loss in table.losses)
        if (table.missing or 0) < 0:
            yield f"{table.name}: more rows than its index has: {-(table.missing or 0):,} of them had been deleted"
    if report.set_aside:
        yield f"{count_text(report.set_aside, 'row')} in {report.lost_and_found}, each with the reason"
    if report.deleted:
        yield f"{count_text(report.deleted, 'row')} on pages that no table has lost: deleted ones, left out"


def _loss_text(loss: Loss) -> str:
    if loss.first is not None and loss.first == loss.last:
        rows = f"row {loss.first}"
    else:
        first = "from the first row on" if loss.first is None else f"from row {loss.first} on"
        rows = f"{first}, up to {'the last' if loss.last is None else loss.last}"
    pages = f", {count_text(loss.pages, 'page')} cannot be read" if loss.pages else ", the rest of it cannot be read"
    if loss.certain:
        return f"missing {rows}{pages}"
    return f"perhaps missing {rows}{pages}: what was found elsewhere is in the table"
