"""``ignoreChanges``: what the program says about an ignored property is replaced by what the resource has.

The engine has already put the previous *input* in the place of an ignored one. That is not enough where the resource
itself was changed from outside: after a refresh its state differs from the old input, and would be put back. So the
state's value is taken, as Terraform does it. Paths may be nested (``healthcheck.interval``, ``ports[0].external``,
``healthcheck.tests[*]``, ``logOpts["max-size"]``). A path that leads through a set stops there: a set's elements have
no number that state and program share.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .schema import Many, Map, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .schema import Type
    from .values import Value

_STEP: Final = re.compile(
    r"""
      \[ (?P<index>\d+) \]
    | \[ "(?P<quoted>(?:[^"\\]|\\.)*)" \]
    | \[? (?P<wildcard>\*) \]?
    | (?P<name>[^.\[\]"*]+)
    | (?P<dot>\.)
    """,
    re.VERBOSE,
)


def parse(path: str) -> tuple[str | int, ...]:
    """Split a property path; ``*`` stands for every element.

    Raises: ValueError when it is not a property path.
    """
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ValueError(f"ignoreChanges: {path!r} is not a property path")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["quoted"] is not None:
            steps.append(re.sub(r"\\(.)", r"\1", match["quoted"]))
        elif match["dot"] is None:
            steps.append(match["wildcard"] or match["name"])
        position = match.end()
    return tuple(steps)


def keep(record: Record, news: dict[str, Value], olds: dict[str, Value], paths: Iterable[str]) -> dict[str, Value]:
    """Return the program's properties with the ignored ones as the resource has them, both in Pulumi's shape."""
    kept: Value = news
    for path in paths:
        kept = _keep(record, kept, olds, parse(path))
    return kept if isinstance(kept, dict) else news


def _keep(type_: Type, new: Value, old: Value, steps: tuple[str | int, ...]) -> Value:
    if not steps:
        return old
    step, rest = steps[0], steps[1:]
    match type_:
        case Record() | Map() if isinstance(new, dict) and isinstance(old, dict):
            return _keep_in_object(type_, new, old, step, rest)
        case Many(ordered=True) if isinstance(new, list) and isinstance(old, list):
            chosen = range(len(new)) if step == "*" else [step] if isinstance(step, int) else []
            items = list(new)
            for index in chosen:
                if index < len(new) and index < len(old):
                    items[index] = _keep(type_.element, new[index], old[index], rest)
            return items
        case _:
            return new


def _keep_in_object(
    type_: Record | Map, new: dict[str, Value], old: dict[str, Value], step: str | int, rest: tuple[str | int, ...]
) -> dict[str, Value]:
    result = dict(new)
    for name in sorted(new.keys() | old.keys()) if step == "*" else [str(step)]:
        inner = _inner_type(type_, name)
        if inner is None:
            continue
        if rest and (name not in new or name not in old):
            continue  # one side has nothing that the rest of the path could lead into
        value = _keep(inner, new.get(name), old.get(name), rest)
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _inner_type(type_: Record | Map, name: str) -> Type | None:
    if isinstance(type_, Map):
        return type_.element
    field = type_.by_pulumi.get(name)
    if field is None:
        return None
    return field.type.element if field.single and isinstance(field.type, Many) else field.type
