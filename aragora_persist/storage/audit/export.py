"""Entries as lines of text for others to read: JSON lines, which hold everything, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from typing import TYPE_CHECKING

from aragora_persist.storage.audit.entries import AuditEntry
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

FORMS = ("jsonl", "csv")
_NAMES = tuple(field.name for field in fields(AuditEntry))
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(file: TextIO, form: str, entries: Iterable[AuditEntry]) -> int:
    """Write entries in one of ``FORMS``, and return how many there were."""
    return _write_csv(file, entries) if form == "csv" else _write_jsonl(file, entries)


def _write_jsonl(file: TextIO, entries: Iterable[AuditEntry]) -> int:
    count = 0
    for entry in entries:
        file.write(json.dumps(_document(entry), ensure_ascii=False, separators=(",", ":")) + "\n")
        count += 1
    return count


def _write_csv(file: TextIO, entries: Iterable[AuditEntry]) -> int:
    writer = csv.writer(file)
    writer.writerow(_NAMES)
    count = 0
    for entry in entries:
        document = _document(entry)
        document["details"] = json.dumps(entry.details, ensure_ascii=False, separators=(",", ":"))
        writer.writerow([_cell(value) for value in document.values()])
        count += 1
    return count


def _document(entry: AuditEntry) -> dict[str, object]:
    document: dict[str, object] = {name: getattr(entry, name) for name in _NAMES}
    document["timestamp"] = to_text(entry.timestamp)
    document["erased_at"] = None if entry.erased_at is None else to_text(entry.erased_at)
    return document


def _cell(value: object) -> object:
    """Return a value for a cell; a spreadsheet would calculate what begins so, and anybody can choose a user agent."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
