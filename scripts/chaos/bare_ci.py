#!/usr/bin/env python3
"""Prove `.ci/run` on a machine that has git and nothing else: a container of Debian's slim image.

    .venv/bin/python scripts/chaos/bare_ci.py [--commit HEAD] [--limit-minutes 30]

Every part is fetched and built anew, in a folder that is removed at the end; only the engine is this machine's, and
keeps what it has built before. Fails when a check fails, a test was not run, or it takes longer than the limit.

The container has this machine's network and process numbers, and the folder its path: the tests speak to published
ports, signal the processes of containers, and have the engine mount folders of theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from bare_root import AUTHORITIES, REPOSITORY, Root
from docker.types import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

IMAGE = "debian:trixie-slim"
NAME = f"aragora-bare-ci-{os.getpid()}"
LABELS = {"io.aragora-persist.rig": "bare-ci"}
SOCKET = "/var/run/docker.sock"
# An image that has certificates has them without this machine's, which are mounted; one without is given them later.
PREPARE = """
set -e
rm /.dockerenv
if command -v update-ca-certificates; then update-ca-certificates; fi
apt-get -q update
apt-get -q install -y --no-install-recommends git
"""
PATIENCE_S = 120  # for the tests to remove what they made


@contextlib.contextmanager
def bare_machine(client: DockerClient, work: Path) -> Iterator[Root]:
    """Start the container, and remove it with all that it wrote."""
    container = client.containers.create(
        IMAGE,
        ["sleep", "infinity"],
        name=NAME,
        labels=LABELS,
        environment={"HOME": str(work / "home"), "TMPDIR": str(work / "tmp")},
        mounts=[
            Mount(SOCKET, SOCKET, type="bind"),
            Mount(str(work), str(work), type="bind"),
            Mount(str(AUTHORITIES), str(AUTHORITIES), type="bind", read_only=True),
        ],
        network_mode="host",
        pid_mode="host",
        cgroupns="private",  # with the file that PREPARE removes, what tells programs that they are in a container
        cap_add=["SYS_ADMIN", "SYS_PTRACE"],  # some tests mount, some look into processes of others
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
    )
    root = Root(client, container, own_engine=False)
    try:
        container.start()
        yield root
    finally:
        with contextlib.suppress(docker.errors.APIError):  # it has ended
            root.run(f"find {work} -mindepth 1 -delete")  # this user may not remove what root wrote there
        container.remove(force=True, v=True)


def make_folder(work: Path, commit: str) -> str:
    """Put a clone of the commit into the folder, and what else a machine has; return the commit's full name."""
    for path, mode in ((work, 0o755), (work / "home", 0o700), (work / "tmp", 0o1777)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    (work / "home" / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")  # it is another user's on that machine
    git = ("git", "-C", f"{work}/repo")
    subprocess.run(("git", "clone", "-q", "--no-hardlinks", "--no-checkout", REPOSITORY, work / "repo"), check=True)
    subprocess.run((*git, "checkout", "-q", "--detach", commit), check=True)
    return subprocess.run((*git, "rev-parse", "HEAD"), check=True, capture_output=True, text=True).stdout.strip()


class Suite:
    """The run of `.ci/run`; ``stop`` ends it as a Ctrl-C would, so that its tests remove what they made."""

    def __init__(self, root: Root, work: Path) -> None:
        self.root = root
        self.pid = work / "pid"
        self.command = f"cd {shlex.quote(f'{work}/repo')} && echo $$ > {self.pid} && exec bash .ci/run </dev/null"

    def run(self, limit_s: float) -> tuple[int, str, float]:
        """Run it; return its exit code, its output and how long it took, which is the limit at most."""
        watchdog = threading.Timer(limit_s, self.stop)
        started = time.monotonic()
        watchdog.start()
        try:
            code, output = self.root.run(self.command, show=True)
        finally:
            watchdog.cancel()
            self.stop()
        return code, output, time.monotonic() - started

    def stop(self) -> None:
        """End it if it runs still, and wait for its end."""
        still = f"test -s {self.pid} && kill -0 $(cat {self.pid})"
        self.root.run(f"{still} && kill -INT $(cat {self.pid})")
        deadline = time.monotonic() + PATIENCE_S
        while self.root.run(still)[0] == 0 and time.monotonic() < deadline:
            time.sleep(1)


def prove(root: Root, work: Path, limit_s: float) -> None:
    """Install git, run the suite, judge it; raises SystemExit when it is not what it should be."""
    root.expect(0, PREPARE)
    code, output, elapsed_s = Suite(root, work).run(limit_s)
    if elapsed_s > limit_s:
        raise SystemExit(f"it did not end within {limit_s:.0f} s")
    if code != 0:
        raise SystemExit(f".ci/run: exit code {code} after {elapsed_s:.0f} s")
    bootstrap = re.search(r"^everything is there \(([\d.]+) s\)$", output, re.MULTILINE)
    tests = re.search(r"^=+ (\d+) passed in ([\d.]+)s(?: \([\d:]+\))? =+$", output, re.MULTILINE)
    if bootstrap is None or tests is None:
        raise SystemExit("it ended without an error, but not with every test passed")
    print(f"bootstrap {bootstrap[1]} s, {tests[1]} tests passed in {tests[2]} s, all {elapsed_s:.1f} s")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--limit-minutes", type=float, default=30)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="aragora-bare-ci-") as folder:
        work = Path(folder)
        print(f"commit {make_folder(work, options.commit)}", flush=True)
        with (
            contextlib.closing(docker.from_env(timeout=3600)) as client,
            bare_machine(client, work) as root,
        ):
            prove(root, work, options.limit_minutes * 60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
