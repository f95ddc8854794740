"""Waivers: ``WAIVED = {"rule": "why it is right here"}`` in a migration's file. Pure.

A waiver is for one rule in one file, which no edit changes once it is applied. One that is for no rule, gives no reason
or waives nothing is a finding, which nothing waives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.lint.catalog import RULES, WAIVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.migrations.lint.catalog import Finding


def applied(name: str, waived: object, findings: Sequence[Finding]) -> list[Finding]:
    """Return what is left of the findings of migration ``name``, and what is wrong with its waivers."""
    if waived is None:
        return list(findings)
    if not isinstance(waived, dict):
        return [*findings, WAIVER.found(name, "WAIVED", f"it is a {type(waived).__name__}, not a dict")]
    found = {finding.rule for finding in findings}
    good, wrong = set(), []
    for rule, reason in waived.items():
        if rule not in RULES or rule == WAIVER.name:
            wrong.append(WAIVER.found(name, repr(rule), "there is no such rule to be waived"))
        elif not isinstance(reason, str) or not reason.strip():
            wrong.append(WAIVER.found(name, repr(rule), "it gives no reason"))
        elif rule not in found:
            wrong.append(WAIVER.found(name, repr(rule), "it waives nothing"))
        else:
            good.add(rule)
    return [*(finding for finding in findings if finding.rule not in good), *wrong]
