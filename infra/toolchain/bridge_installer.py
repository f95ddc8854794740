"""The bridge's installer as a program, for the bootstrap, which has none of the packages that the bridge needs.

The locked environment's Python runs it. ``stubs PROTO TARGET`` compiles the protocol; ``install`` and ``check``, both
with ``PLUGINS PROVIDER STUBS``, install the plugin, or exit with 1 when exactly this plugin is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aragora_persist.errors import PersistError
from infra.toolchain.bridge import build
from infra.toolchain.environment import environment_python


def main(verb: str, *paths: str) -> int:
    """Do what the verb says and return the exit code."""
    if verb == "stubs":
        proto, target = map(Path, paths)
        build.generate_stubs(proto, target)
        return 0
    plugins, provider, stubs = map(Path, paths)
    if verb == "check":
        return 0 if build.is_installed(plugins, provider, environment_python(), stubs) else 1
    build.install_plugin(plugins, provider, environment_python(), stubs)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except PersistError as error:
        sys.exit(str(error))
