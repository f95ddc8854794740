"""How fast ``--help`` starts, beside a bare argparse program that has the same options and imports nothing else."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING
from unittest import mock

from migrations_files import compiled_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "aragora_persist.migrations.runner": "aragora_persist.migrations.command",
    "aragora_persist": "aragora_persist.cli",
}
"""What is started with ``python -m``, and the module whose ``main`` parses its arguments."""


def measure(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of ``--help`` by command, ours and bare, one a round in turn.

    Raises:
        AssertionError: the bare program offers other options.

    """
    programs = {}
    for number, (module, home) in enumerate(COMMANDS.items()):
        bare = folder / f"bare{number}.py"
        bare.write_text("\n".join(_program(_parser_of(import_module(home).main))) + "\n")
        programs[module] = ([sys.executable, "-m", module, "--help"], [sys.executable, str(bare), "--help"])
    environment = compiled_in(folder / "compiled")
    seconds: dict[str, dict[str, list[float]]] = {name: {"ours": [], "bare": []} for name in programs}
    for _ in range(rounds + 1):  # the first one compiles
        for name, (ours, bare_command) in programs.items():
            took, text = _timed(ours, environment)
            seconds[name]["ours"].append(took)
            took, bare_text = _timed(bare_command, environment)
            seconds[name]["bare"].append(took)
            if text.split() != bare_text.split():
                raise AssertionError(f"{name}: the bare program is another one:\n{bare_text}")
    return {name: {kind: times[1:] for kind, times in kinds.items()} for name, kinds in seconds.items()}


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    start = perf_counter()
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment).stdout
    return perf_counter() - start, text


class _Built(Exception):  # noqa: N818 - no error: how the parser gets out
    """A parser is there, and about to parse."""


def _parser_of(main: Callable[[list[str]], object]) -> argparse.ArgumentParser:
    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Built(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop):
        try:
            main([])
        except _Built as built:
            parser: argparse.ArgumentParser = built.args[0]
            return parser
    raise AssertionError("it parses no arguments")


def _program(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of a program that offers the same."""
    yield "import argparse"
    yield f"p = argparse.ArgumentParser(prog={parser.prog!r}, description={parser.description!r})"
    yield from _arguments(parser, "p")
    yield "p.parse_args()"


def _arguments(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    groups = {
        id(action): f"{name}_g{number}"
        for number, group in enumerate(parser._mutually_exclusive_groups)  # noqa: SLF001 - argparse tells in no other way
        for action in group._group_actions  # noqa: SLF001 - as above
    }
    for number, group in enumerate(parser._mutually_exclusive_groups):  # noqa: SLF001 - as above
        yield f"{name}_g{number} = {name}.add_mutually_exclusive_group(required={group.required})"
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            title = next(group.title for group in parser._action_groups if action in group._group_actions)  # noqa: SLF001 - as above
            yield f"{name}_s = {name}.add_subparsers(title={title!r}, {_keywords(action)})"
            helps = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001 - as above
            for verb, child in action.choices.items():
                yield f"{name}_{verb} = {name}_s.add_parser({verb!r}, help={helps.get(verb)!r})"
                yield from _arguments(child, f"{name}_{verb}")
        elif not isinstance(action, argparse._HelpAction):  # noqa: SLF001 - as above
            flags = "".join(f"{flag!r}, " for flag in action.option_strings or [action.dest])
            yield f"{groups.get(id(action), name)}.add_argument({flags}{_keywords(action)})"


def _keywords(action: argparse.Action) -> str:
    kinds = {"_StoreTrueAction": "store_true", "_AppendAction": "append", "_VersionAction": "version"}
    found: dict[str, object] = {
        "action": kinds.get(type(action).__name__),
        "help": action.help,
        "metavar": action.metavar,
    }
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
        found = {"metavar": action.metavar, "required": action.required or None}
    elif found["action"] is None:
        found |= {"nargs": action.nargs, "choices": action.choices}
    if isinstance(action, argparse._VersionAction):  # noqa: SLF001 - as above
        found["version"] = action.version
    return ", ".join(f"{key}={value!r}" for key, value in found.items() if value is not None)
