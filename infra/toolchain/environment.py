"""The environment of every Pulumi call: which binaries it finds, where its plugins are, which Python it runs.

Only the standard library: the bootstrap runs this before any package is there. As a program
(``python3 -m infra.toolchain.environment``) it prints shell exports, for calling ``pulumi`` by hand. The backend and
its passphrase are left out: they belong to a stack, not to the machine.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).resolve().parents[2]


def toolchain_dir(base: Mapping[str, str] | None = None) -> Path:
    """Return the folder that holds the built and downloaded tools of this user; it may not exist yet."""
    env = os.environ if base is None else base
    chosen = env.get("ARAGORA_TOOLCHAIN_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    caches = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache")
    return Path(caches, "aragora-persist").absolute()


def bin_dir(base: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the tools that the bootstrap provided; those that were on PATH are not in it."""
    return toolchain_dir(base) / "bin"


def pulumi_home(base: Mapping[str, str] | None = None) -> Path:
    """Return Pulumi's own folder for this project's plugins, apart from a ``~/.pulumi`` that others may use."""
    return toolchain_dir(base) / "pulumi-home"


def environment_python() -> Path:
    """Return the interpreter of the locked environment."""
    return REPOSITORY / ".venv" / "bin" / "python"


def pulumi_variables(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return only the variables that a Pulumi call needs set."""
    env = os.environ if base is None else base
    return {
        "PATH": os.pathsep.join((str(bin_dir(env)), env.get("PATH") or os.defpath)),
        "PULUMI_HOME": str(pulumi_home(env)),
        # A language host older than `runtime.options.virtualenv` obeys this instead.
        "PULUMI_PYTHON_CMD": str(environment_python()),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The bootstrap has put every plugin in place: a call never waits for a download that may not answer.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    }


def pulumi_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a Pulumi call: ``base`` (default: this process's) with Pulumi's variables set."""
    return {**(os.environ if base is None else base), **pulumi_variables(base)}


if __name__ == "__main__":
    sys.stdout.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in pulumi_variables().items())
