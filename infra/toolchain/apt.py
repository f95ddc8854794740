"""Debian's packages, installed with root's rights: directly, or through sudo.

The machine's own configuration of apt decides where they come from. Sources of others that do not answer are no error,
as long as the packages themselves can be had.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import BlockedError, UnavailableError

if TYPE_CHECKING:
    from infra.toolchain.step import Context

# Another apt may hold the lock for a while, a dead mirror may not hold us up for long.
OPTIONS = ("-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30")


def as_root(context: Context, *command: str) -> tuple[str, ...]:
    """Return the command as root would start it.

    Raises BlockedError, which says that command, when there is no way to be root.
    """
    if os.geteuid() == 0:
        return command
    way_out = f"as root, run: {' '.join(command)}"
    if shutil.which("sudo", path=context.environment.get("PATH")) is None:
        raise BlockedError("root's rights are needed, and there is no sudo", way_out)
    if sys.stdin.isatty():
        return ("sudo", *command)
    try:
        context.run("sudo", "-n", "true")
    except CommandFailedError as error:
        raise BlockedError("root's rights are needed, and sudo wants a password", way_out) from error
    return ("sudo", "-n", *command)


def install(context: Context, *packages: str) -> None:
    """Install packages of Debian or Ubuntu; raises UnavailableError with apt's whole output."""
    path = context.environment.get("PATH")
    if shutil.which("apt-get", path=path) is None:
        raise UnavailableError("this machine has no apt-get")
    apt_get = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *OPTIONS)
    label = f"installing {' '.join(packages)}"
    install_command = as_root(context, *apt_get, "install", "-y", "--no-install-recommends", *packages)
    # An installation that was killed leaves packages unpacked and not configured; apt refuses to go on until they are.
    context.run(*as_root(context, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "-a"), label=label)
    try:
        lists = context.run(*as_root(context, *apt_get, "update"), label="reading the package lists")
    except CommandFailedError as error:
        lists = error.output
    try:
        context.run(*install_command, label=label)
    except CommandFailedError as error:
        raise UnavailableError(str(error), lists + error.output) from error
