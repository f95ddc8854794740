"""Prometheus' text exposition format 0.0.4: how metrics are written down. Pure.

Leaves out: which metrics there are (``service.metrics``, ``backup.metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its samples, each with its labels; ``aragora_persist_`` stands before its name."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


def exposition(families: Iterable[Family]) -> str:
    """Return the text of these metrics; one without a sample is left out."""
    return "".join(_text(family) for family in families if family.samples)


def _text(family: Family) -> str:
    name = f"aragora_persist_{family.name}"
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    for labels, value in family.samples:
        inside = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        lines.append(f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
