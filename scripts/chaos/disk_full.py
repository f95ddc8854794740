#!/usr/bin/env python3
"""Fills the disk under the engine, in a container of the tier's image whose data is on a small file system in memory.

    scripts/chaos/disk_full.py IMAGE [--megabytes 16] [--rounds 3] [--unprotected]

IMAGE is the tier's (``docker image ls`` shows it once a stack was up). In each round threads write until no space is
left, then space is freed by somebody else, as an operator would. Exits 1 when an error was not the one that says what
to do, when reading failed on the full disk, when writing did not go on by itself afterwards, when an acknowledged row
is missing or the database not sound. ``--unprotected`` acknowledges rows before they are committed: that run must fail,
or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

import docker

_INSIDE = Path(__file__).with_name("disk_full_inside.py")


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--megabytes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--unprotected", action="store_true")
    arguments = parser.parse_args()
    # As an argument and not as a file, so that an engine on another machine does as well as this one's.
    command = ["-c", _INSIDE.read_text(), str(arguments.rounds)]
    command.append("unprotected" if arguments.unprotected else "protected")
    with contextlib.closing(docker.from_env()) as client:
        said = client.containers.run(
            arguments.image,
            command,
            entrypoint=["python3"],
            network_mode="none",
            tmpfs={"/data": f"rw,size={arguments.megabytes}m,uid=10001,gid=10001"},
            remove=True,
        ).decode()
    print(said, end="")
    found = json.loads(said)
    wrong = ("unclear_errors", "failed_reads", "stuck", "lost", "unsound")
    return int(any(found[name] for name in wrong) or found["refused"] == 0)


if __name__ == "__main__":
    sys.exit(main())
