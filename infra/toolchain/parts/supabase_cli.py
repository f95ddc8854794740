"""The Supabase CLI, which only the tests need: the one on PATH, else the program out of the vendor's npm package.

The package is fetched as npm would, from the mirror that npm's own variable names if there is one; neither npm nor node
is needed. Only the pinned digest is taken.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import tarfile
from typing import TYPE_CHECKING

from infra.toolchain import pins
from infra.toolchain.download import download_pinned
from infra.toolchain.on_path import OnPath
from infra.toolchain.step import Context, Found, Origin, Step, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "supabase"
MEMBER = f"package/bin/{PROGRAM}"
MIRROR = "npm_config_registry"
# Even the question for its version makes it write into the home folder, unless there can be none.
ON_PATH = OnPath(
    PROGRAM,
    "--version",
    r"^(\d+\.\d+\.\d+)",
    pins.SUPABASE_CLI_VERSION,
    {"HOME": os.devnull, "SUPABASE_TELEMETRY_DISABLED": "1"},
)
MINIMUM = ".".join(map(str, pins.SUPABASE_CLI_VERSION))


def entry_of(context: Context) -> Path:
    """Return where the program is, or would be."""
    return context.store.entry("supabase-cli", MINIMUM, pins.key_of(str(pins.SUPABASE_CLI_DOWNLOADS)))


def find(context: Context) -> Found | None:
    """Find the CLI that would be run, if its version will do."""
    entry = entry_of(context)
    if context.store.links(PROGRAM):
        origin = context.store.origin_of(entry)
        return Found(MINIMUM, origin) if origin and context.store.links(PROGRAM, entry / PROGRAM) else None
    return ON_PATH.find(context)


def use_path(context: Context) -> None:
    """Use the CLI on PATH: no link of ours may come before it."""
    ON_PATH.require(context)
    context.store.unlink(PROGRAM)


def install_package(context: Context) -> None:
    """Fetch the package, take the program out of it, link it."""
    entry = entry_of(context)
    if context.store.origin_of(entry) is None:
        try:
            pinned = pins.SUPABASE_CLI_DOWNLOADS[platform.machine()]
        except KeyError:
            raise UnavailableError(f"the vendor has none of this version for {platform.machine()}") from None
        registry = context.environment.get(MIRROR, pins.NPM_REGISTRY).rstrip("/")
        pinned = dataclasses.replace(pinned, url=pinned.url.replace(pins.NPM_REGISTRY, registry))
        with context.store.scratch() as scratch, context.store.publish(entry, "npm package", (PROGRAM,)) as whole:
            download_pinned(context, pinned, scratch / "package.tgz")
            with tarfile.open(scratch / "package.tgz") as packed:
                # Python 3.14's own choice; the first releases of 3.11 do not know it.
                packed.extraction_filter = getattr(tarfile, "data_filter", None)
                packed.extract(MEMBER, scratch)
            (scratch / MEMBER).rename(whole / PROGRAM)
    context.store.link(PROGRAM, entry / PROGRAM)


STEP = Step(
    "Supabase CLI",
    find,
    (Origin("PATH", use_path), Origin("npm package", install_package)),
    f"install the Supabase CLI {MINIMUM} or later on PATH, or let an npm registry be reached ({MIRROR})",
)
