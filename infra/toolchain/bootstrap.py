"""``scripts/bootstrap`` after its first lines: every part that ``pulumi up`` needs, found or got.

Only the standard library, as nothing else is there yet. One line a part; a part that cannot be had ends it with exit
code 1. ``--check`` changes nothing and takes no lock.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from infra.toolchain import environment
from infra.toolchain.parts import (
    base_image,
    certificates,
    docker_plugin,
    engine,
    go,
    go_programs,
    pulumi,
    python_environment,
    supabase_cli,
    uv,
)
from infra.toolchain.process import Console
from infra.toolchain.step import Context, Found, PartMissingError, Step, UnavailableError, run_step, table_row
from infra.toolchain.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Go and the Terraform provider are got by the parts that need them, if any does: they are only listed here for --check.
STEPS = (
    Step("Python", lambda _context: Found(platform.python_version(), sys.executable), (), ""),
    certificates.STEP,
    engine.STEP,
    base_image.STEP,
    uv.STEP,
    python_environment.STEP,
    pulumi.CLI_STEP,
    pulumi.HOST_STEP,
    docker_plugin.STEP,
)
ONLY_FOR_TESTS = (supabase_cli.STEP, go_programs.S3_SERVER)
NEEDED_BY_OTHERS = (docker_plugin.PROVIDER_STEP, go.STEP)


def context_of(base: Mapping[str, str], console: Console) -> Context:
    """Return the machine as the steps shall see it."""
    variables = dict(base)
    variables.pop("VIRTUAL_ENV", None)  # another's environment that happens to be active is none of ours
    variables.setdefault("PATH", os.defpath)
    return Context(variables, Store(environment.toolchain_dir(base)), environment.REPOSITORY, console)


def bootstrap(context: Context, steps: Sequence[Step]) -> None:
    """Get every part; raises PartMissingError at the first that cannot be had."""

    def waiting() -> None:
        context.console.line("another bootstrap is at work: waiting for it")

    started = time.monotonic()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(context.store.lock(waiting))
        except OSError as error:
            way_out = "set ARAGORA_TOOLCHAIN_DIR to a folder that this user may write"
            raise PartMissingError(
                "toolchain folder", [("this machine", UnavailableError(str(error)))], way_out
            ) from error
        for step in steps:
            run_step(step, context)
    context.console.line(f"everything is there ({time.monotonic() - started:.1f} s)")


def check(context: Context, steps: Sequence[Step]) -> bool:
    """List every part as it is, and return whether none of these is missing; changes nothing."""
    complete = True
    for step in (*STEPS, *ONLY_FOR_TESTS):
        found = step.find(context)
        complete = complete and (found is not None or step not in steps)
        context.console.line(_state(step, found, "missing" if step in steps else "not needed"))
    for step in NEEDED_BY_OTHERS:
        context.console.line(_state(step, step.find(context), "missing" if not complete else "not needed"))
    return complete


def _state(step: Step, found: Found | None, otherwise: str) -> str:
    return f"{table_row(step.part, found)}there" if found else f"{table_row(step.part, Found('-', '-'))}{otherwise}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/bootstrap",
        description="Find or get every part that `pulumi up` needs on this machine.",
        epilog=f"The tools are in {environment.toolchain_dir()}; it may be removed at any time, and is made again.",
    )
    parser.add_argument("--check", action="store_true", help="list part, version, origin and state; change nothing")
    parser.add_argument("--tests", action="store_true", help="also what only the tests need")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    console = Console()
    steps = (*STEPS, *ONLY_FOR_TESTS) if options.tests else STEPS
    context = context_of(os.environ, console)
    try:
        if options.check:
            return 0 if check(context, steps) else 1
        bootstrap(context, steps)
    except PartMissingError as error:
        console.line(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        console.line("stopped; the next run goes on from here")
        return 1
    return 0


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
