"""``doctor``: what is wrong on this machine, and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.commands.console import print_json
from aragora_persist.doctor import Level, examine

if TYPE_CHECKING:
    from argparse import Namespace


def run(arguments: Namespace) -> int:
    """Show every finding; fail where one is a problem (a warning is none)."""
    findings = examine(arguments.nomic_dir)
    if arguments.json:
        print_json(
            [
                {"subject": one.subject, "level": one.level.value, "detail": one.detail, "way_out": one.way_out or None}
                for one in findings
            ]
        )
    else:
        for one in findings:
            print(f"{one.level.value:8} {one.subject}: {one.detail}")
            if one.way_out:
                print(f"{'':8} way out: {one.way_out}")
    return 1 if any(one.level is Level.PROBLEM for one in findings) else 0
