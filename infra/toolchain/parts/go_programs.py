"""Programs that stand alone and are written in Go: the one on PATH where it is new enough, else built of its modules.

One step serves them all. The parts that Pulumi needs, with their companions, have modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.toolchain import pins
from infra.toolchain.on_path import OnPath
from infra.toolchain.parts import go
from infra.toolchain.step import Context, Found, Origin, Step

if TYPE_CHECKING:
    from infra.toolchain.pins import GoProgram


def program_step(part: str, pinned: GoProgram, question: str, pattern: str) -> Step:
    """Return the step of one program: how it is asked for its version, and where that stands in the answer."""
    on_path = OnPath(pinned.name, question, pattern, tuple(map(int, pinned.version.split("."))))

    def find(context: Context) -> Found | None:
        entry = go.entry_of(context, pinned)
        if context.store.links(pinned.name):
            origin = context.store.origin_of(entry)
            return (
                Found(pinned.version, origin)
                if origin and context.store.links(pinned.name, entry / pinned.name)
                else None
            )
        return on_path.find(context)

    def use_path(context: Context) -> None:
        on_path.require(context)
        context.store.unlink(pinned.name)

    def build(context: Context) -> None:
        context.store.link(pinned.name, go.build(context, pinned) / pinned.name)

    return Step(
        part,
        find,
        (Origin("PATH", use_path), Origin("Go modules", build, needs=(go.STEP,))),
        f"install {pinned.name} {pinned.version} or later on PATH, or let go reach a module proxy (GOPROXY)",
    )


S3_SERVER = program_step("S3 server", pins.VERSITYGW, "--version", r"Version\s*:\s*v?(\d+\.\d+\.\d+)")
