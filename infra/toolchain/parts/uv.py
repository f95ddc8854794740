"""uv, the installer of the Python environment: the pinned wheel, checked against its hash.

It is installed into a virtual environment of its own, so that a distribution that manages its Python by itself has no
say in it; the program is then taken out of it, as it needs nothing of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infra.toolchain import pins
from infra.toolchain.parts import certificates
from infra.toolchain.step import Context, Found, Origin, Step

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "bin/uv"


def program(context: Context) -> Path:
    """Return where the pinned uv is, or would be."""
    return context.store.entry("uv", pins.UV.version, pins.UV.key) / PROGRAM


def find(context: Context) -> Found | None:
    """Find the pinned uv."""
    path = program(context)
    origin = context.store.origin_of(path.parents[1])
    if origin is None or not context.store.links("uv", path):
        return None
    return Found(pins.UV.version, origin)


def install(context: Context) -> None:
    """Install the wheel, take the program, link it."""
    entry = program(context).parents[1]
    if context.store.origin_of(entry) is None:
        with context.store.scratch() as scratch, context.store.publish(entry, "pinned wheel", (PROGRAM,)) as whole:
            context.run(sys.executable, "-m", "venv", str(scratch / "venv"), label="uv: virtual environment")
            pip = (str(scratch / "venv/bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check")
            wheel = ("--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(pins.UV.requirements))
            context.run(*pip, *wheel, label="uv: pinned wheel", variables=certificates.variables(context))
            (whole / "bin").mkdir()
            (scratch / "venv" / PROGRAM).rename(whole / PROGRAM)
    context.store.link("uv", program(context))


STEP = Step(
    "uv",
    find,
    (Origin("pinned wheel", install),),
    "let pip reach a Python package index (its own configuration and PIP_INDEX_URL are obeyed)",
)
