"""What the migrations' command line answers: for people as text, for programs as a document of JSON.

The keys of the documents are stable: they may grow in number, and none changes its meaning. Pure. Leaves out: errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.redaction import redact
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aragora_persist.migrations.lint import Finding
    from aragora_persist.migrations.recording import Statement
    from aragora_persist.migrations.rehearsal import Rehearsal, Rehearsed
    from aragora_persist.migrations.runner import Change, Status

_WIDEST_STATEMENT = 100


class Answer(NamedTuple):
    """What is to be said of one database."""

    text: str
    document: dict[str, object]
    attention: bool = False
    """Whether it needs the operator: what makes the command fail where that was asked for."""


def of_status(status: Status, *, verbose: bool) -> Answer:
    """Tell how a database stands."""
    pending = [migration.name for migration in status.pending]
    lines = [f"{status.state}, version {status.version} of {status.latest} ({status.path})"]
    if verbose:
        lines += [f"  applied {row.name} at {row.applied_at}" for row in status.applied]
        lines += [f"  pending {name}" for name in pending]
    document: dict[str, object] = {
        "path": str(status.path),
        "state": status.state,
        "version": status.version,
        "latest": status.latest,
        "pending": pending,
    }
    if status.refusal is not None:
        for key, told in (("problem", status.refusal.problem), ("way_out", status.refusal.hint)):
            document[key] = redact(told)
            if told:
                lines.append(f"  {key.replace('_', ' ')}: {document[key]}")
    return Answer("\n".join(lines), document, attention=status.state != "current")


def of_rehearsal(rehearsal: Rehearsal) -> Answer:
    """Tell what a run would do."""
    names = [one.migration.name for one in rehearsal.migrations]
    lines = [f"would apply {', '.join(names)}" if names else "nothing to do"]
    for one in rehearsal.migrations:
        lines += [f"  {one.migration.name}: {_milliseconds(one.duration_ms)}", *_table(one.statements)]
    if rehearsal.diff:
        lines += ["  schema:", *(f"    {line}".rstrip() for line in rehearsal.diff)]
    document = {
        "would_apply": names,
        "migrations": [_rehearsed(one) for one in rehearsal.migrations],
        "schema_diff": list(rehearsal.diff),
    }
    return Answer("\n".join(lines), document)


def of_change(verb: str, change: Change) -> Answer:
    """Tell what was applied or undone."""
    names = [migration.name for migration in change.migrations]
    text = f"{verb} {', '.join(names)}" if names else "nothing to do"
    document: dict[str, object] = {verb: names}
    if change.snapshot is not None:
        text += f"; snapshot from before: {change.snapshot}"
        document["snapshot"] = str(change.snapshot)
    if change.lost:
        text += f"; gone with it: {', '.join(change.lost)}"
        document["lost"] = list(change.lost)
    return Answer(text, document)


def of_created(path: Path) -> Answer:
    """Tell where the new file is."""
    return Answer(f"created {path}", {"created": str(path)})


def of_findings(findings: Sequence[Finding]) -> Answer:
    """Tell what is wrong with the migrations."""
    lines = [count_text(len(findings), "finding") if findings else "nothing found"]
    for one in findings:
        lines += [f"  {one.migration}: {one.rule}: {one.subject}", f"    {one.why}", f"    way out: {one.way_out}"]
    return Answer("\n".join(lines), {"findings": [one._asdict() for one in findings]}, attention=bool(findings))


def _rehearsed(one: Rehearsed) -> dict[str, object]:
    statements = [
        {"sql": sql.strip(), "duration_ms": round(duration_ms, 3), "rows": rows, "times": times}
        for sql, duration_ms, rows, times in one.statements
    ]
    return {
        "name": one.migration.name,
        "version": one.migration.version,
        "duration_ms": round(one.duration_ms, 3),
        "statements": statements,
    }


def _table(statements: Sequence[Statement]) -> list[str]:
    """Return a line for each statement: its time, its rows and how often it ran, where that says something."""
    cells = [
        (
            _milliseconds(one.duration_ms),
            "" if one.rows is None else count_text(one.rows, "row"),
            "" if one.times == 1 else f"{one.times:,} times",
            _shortened(one.sql),
        )
        for one in statements
    ]
    columns = [column for column in zip(*cells, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns[:-1]]
    return [
        "    " + "  ".join([*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]])
        for line in zip(*columns, strict=True)
    ]


def _milliseconds(duration_ms: float) -> str:
    return f"{duration_ms:.2f} ms" if duration_ms < 10 else f"{duration_ms:,.0f} ms"  # noqa: PLR2004 - three digits


def _shortened(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= _WIDEST_STATEMENT else f"{line[: _WIDEST_STATEMENT - 1]}…"
