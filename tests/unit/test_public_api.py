"""What is public is written down in `public_api.txt`: a change of it is seen, and is meant.

After a change that is meant: `.venv/bin/python -m tests.unit.test_public_api` writes the file anew.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import typing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import aragora_persist
from aragora_persist import errors, storage
from aragora_persist.databases import DATABASES
from aragora_persist.storage import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SNAPSHOT = Path(__file__).with_name("public_api.txt")
# The outbox is how records reach Supabase; its class is not for callers.
STORES = [store for database in DATABASES for store in database.stores if store.module.startswith("storage.")]


def stores() -> list[type]:
    """Return the classes of the documented stores."""
    return [getattr(import_module(f"aragora_persist.{store.module}"), store.cls) for store in STORES]


def shown(name: str, function: Callable[..., object]) -> str:
    """Return a name with its signature, in a form that is the same in every version of Python."""
    signature = inspect.signature(function)
    parts, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        value = getattr(parameter.default, "__name__", repr(parameter.default))
        default = "" if parameter.default is parameter.empty else f" = {value}"
        annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        parts.append(f"{prefix}{parameter.name}{annotation}{default}")
    returns = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    return f"{name}({', '.join(parts)}){returns}"


def methods(cls: type) -> list[str]:
    """Return the public methods of a class, with the special ones that its own package wrote."""
    return [
        shown(name, member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") or name in ("__init__", "__contains__", "__enter__", "__exit__")
    ]


def records() -> dict[str, type]:
    """Return the records of the stores, and what their keywords are typed with, by name."""
    modules = [module.name for module in pkgutil.walk_packages(storage.__path__, f"{storage.__name__}.")]
    return {
        name: cls
        for module in modules
        for name, cls in inspect.getmembers(import_module(module), inspect.isclass)
        if cls.__module__ == module and (dataclasses.is_dataclass(cls) or typing.is_typeddict(cls))
    }


def fields(cls: type) -> list[str]:
    """Return the fields of a record."""
    if dataclasses.is_dataclass(cls):
        return [f"{field.name}: {field.type}" for field in dataclasses.fields(cls)]
    return [f"{name}: {kind.__forward_arg__}" for name, kind in inspect.get_annotations(cls).items()]


def reachable(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the fields of every record that these signatures name, or that such a record names."""
    known, found = records(), dict[str, list[str]]()
    ahead = list(lines)
    while ahead:
        for name in re.findall(r"\w+", ahead.pop()):
            if name in known and name not in found:
                found[name] = fields(known[name])
                ahead += found[name]
    return found


def public_api() -> str:
    """Return everything public: the names of package and connection API, the stores' methods, records, the errors."""
    sections = {"aragora_persist": sorted(aragora_persist.__all__)}
    functions = [name for name in sorted(schema.__all__) if inspect.isfunction(getattr(schema, name))]
    sections["storage.schema"] = [shown(name, getattr(schema, name)) for name in functions]
    for cls in stores():
        sections[cls.__name__] = methods(cls)
    sections |= dict(sorted(reachable(line for lines in sections.values() for line in lines).items()))
    leaves = inspect.getmembers(errors, inspect.isclass)
    sections["errors"] = [name for name, cls in leaves if issubclass(cls, errors.PersistError)]
    return "\n".join(f"{title}\n" + "".join(f"    {line}\n" for line in lines) for title, lines in sections.items())


def test_the_public_api_is_what_is_written_down() -> None:
    """A name that goes, or a parameter that changes, breaks callers: it has to be meant."""
    assert public_api() == SNAPSHOT.read_text(), f"if it is meant: python -m {__name__}"


def test_every_public_name_is_there() -> None:
    """Each name of the package leads to what it names, and nothing else is offered."""
    for name in aragora_persist.__all__:
        assert getattr(aragora_persist, name) is not None
    assert set(aragora_persist.__all__) <= set(dir(aragora_persist))
    assert aragora_persist._HOMES.keys() == set(aragora_persist.__all__) - {"__version__"}


def test_records_do_not_change() -> None:
    """Each is frozen, and has slots, so that a misspelt field is no new one."""
    named = reachable(line for cls in stores() for line in methods(cls))
    found = [cls for name, cls in records().items() if name in named and dataclasses.is_dataclass(cls)]
    assert len(found) > 30
    for cls in found:
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined] # every dataclass has them
        assert "__slots__" in cls.__dict__, cls


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api())
