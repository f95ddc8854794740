#!/usr/bin/env python3
"""Prove `scripts/bootstrap` in a Debian root that has nothing but apt, killing it on the way if asked.

    .venv/bin/python scripts/chaos/bare_root.py [--release bookworm] [--own-engine] [--kills 8] [--keep-caches]

What runs in it is the committed tree. A kill is a power cut: every process of the root at once, with SIGKILL. After the
bootstrap, Pulumi makes and destroys what `bare_root_program.py` says. Leaves nothing on the engine.
Everything is fetched and built anew, about ten minutes on two cores. With --keep-caches Go's caches are volumes that
stay for the next run: `docker volume rm aragora-bare-root-modules aragora-bare-root-builds` removes them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from docker.types import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient
    from docker.models.containers import Container

REPOSITORY = Path(__file__).resolve().parents[2]
AUTHORITIES = Path("/usr/local/share/ca-certificates")
NAME = f"aragora-bare-root-{os.getpid()}"
LABELS = {"io.aragora-persist.rig": "bare-root"}
CACHES = {"go/pkg/mod": "aragora-bare-root-modules", ".cache/go-build": "aragora-bare-root-builds"}
# What an engine needs of its machine. Not `privileged`: that asks for rights that this machine may itself not have.
OF_A_MACHINE: dict[str, Any] = {
    "cap_add": ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_NICE"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "device_cgroup_rules": ["a *:* rwm"],
    "tmpfs": {"/run": ""},  # a power cut empties it
}
WRITABLE = """
mount -o remount,rw /proc/sys
mount -o remount,rw /sys
for path in /sys/fs/cgroup /sys/fs/cgroup/*; do
  if mountpoint -q $path; then mount -o remount,bind,rw $path; fi
done
"""
WARM_LIMIT_S = 5.0
ABSENT = ("python3", "pip", "git", "go", "uv", "curl", "docker", "pulumi", "update-ca-certificates")

SMOKE = f"""
set -eu
cd /src
eval "$(python3 -m infra.toolchain.environment)"
mkdir -p /root/smoke/state && cd /root/smoke
printf 'name: smoke\\nruntime: python\\n' > Pulumi.yaml
cp /src/scripts/chaos/bare_root_program.py __main__.py
export BARE_ROOT_NAME={NAME}
export PULUMI_BACKEND_URL=file:///root/smoke/state PULUMI_CONFIG_PASSPHRASE=smoke
pulumi stack init smoke
pulumi up --yes --skip-preview
pulumi up --yes --skip-preview --expect-no-changes
pulumi destroy --yes --skip-preview
"""


class Root:
    """A bare Debian as a container."""

    def __init__(self, client: DockerClient, container: Container, *, own_engine: bool) -> None:
        self.api = client.api
        self.container = container
        self.own_engine = own_engine
        self.peak_bytes = 0

    def run(self, command: str, *, user: str = "root", show: bool = False) -> tuple[int, str]:
        """Run a shell command; return its exit code and its output."""
        execution = self.api.exec_create(self.container.id, ["sh", "-c", command], user=user)
        output = []
        for chunk in self.api.exec_start(execution["Id"], stream=True):
            output.append(chunk.decode(errors="replace"))
            if show:
                print(output[-1], end="", flush=True)
        return int(self.api.exec_inspect(execution["Id"])["ExitCode"]), "".join(output)

    def expect(self, code: int, command: str, *, user: str = "root", show: bool = False) -> tuple[float, str]:
        """Run a shell command that must end with this exit code; return how long it took, and its output."""
        started = time.monotonic()
        actual, output = self.run(command, user=user, show=show)
        if actual != code:
            raise SystemExit(f"{command}\nexit code {actual}, not {code}\n{'' if show else output}")
        return time.monotonic() - started, output

    def fill(self) -> None:
        """Put the committed tree at /src, and this machine's added authorities where an administrator would."""
        tree = subprocess.run(("git", "-C", REPOSITORY, "archive", "HEAD"), check=True, capture_output=True).stdout
        # A package source of others that does not answer, as many machines have one.
        self.run("echo 'deb [trusted=yes] http://127.0.0.1:9/ gone main' > /etc/apt/sources.list.d/gone.list")
        self.run("mkdir /src")
        self.container.put_archive("/src", tree)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for authority in AUTHORITIES.glob("*.crt"):
                archive.add(authority, authority.name)
        self.run(f"mkdir -p {AUTHORITIES}")
        self.container.put_archive(str(AUTHORITIES), packed.getvalue())

    def switch_on(self) -> None:
        """Start, with what an engine writes to writable, as on a machine."""
        self.container.start()
        if self.own_engine:
            self.expect(0, WRITABLE)

    def start(self, command: str) -> None:
        """Start a command and do not wait for it."""
        self.api.exec_start(self.api.exec_create(self.container.id, ["sh", "-c", command])["Id"], detach=True)

    def power_cut(self) -> None:
        """Kill every process at once, and start again."""
        self.container.kill()
        self.container.wait()
        self.switch_on()

    def watch_size(self, stop: threading.Event) -> None:
        """Note the most that the root's writable layer has held, until told to stop."""
        while not stop.wait(10):
            for listed in self.api.containers(filters={"id": self.container.id}, size=True):
                self.peak_bytes = max(self.peak_bytes, listed.get("SizeRw", 0))


@contextlib.contextmanager
def bare_root(client: DockerClient, options: argparse.Namespace) -> Iterator[Root]:
    """Start a bare root, and remove every trace of it."""
    mounts = [Mount(f"/root/{folder}", volume) for folder, volume in CACHES.items() if options.keep_caches]
    if options.own_engine:
        mounts.append(Mount("/var/lib/docker", NAME))
    else:
        mounts.append(Mount("/var/run/docker.sock", "/var/run/docker.sock", type="bind"))
    with contextlib.ExitStack() as traces:
        traces.callback(remove_rest, client)
        image = make_image(client, options.release)
        traces.callback(client.images.remove, image)
        container = client.containers.create(
            image,
            ["sleep", "infinity"],
            name=NAME,
            labels=LABELS,
            environment={"HOME": "/root"},
            mounts=mounts,
            init=True,
            **(OF_A_MACHINE if options.own_engine else {}),
        )
        traces.callback(container.remove, force=True, v=True)
        root = Root(client, container, own_engine=options.own_engine)
        root.switch_on()
        yield root


def remove_rest(client: DockerClient) -> None:
    """Remove the own engine's data, or what an unfinished Pulumi run left on this machine's engine."""
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(f"{NAME}-inner").remove(force=True)
    with contextlib.suppress(docker.errors.NotFound):
        client.volumes.get(NAME).remove()


def make_image(client: DockerClient, release: str) -> str:
    """Make a root with nothing but apt, and mount; the images of registries hold a little more."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "root.tar")
        subprocess.run(("mmdebstrap", "-q", "--variant=apt", "--include=mount", release, archive), check=True)
        client.api.import_image_from_file(str(archive), NAME, release)
    return f"{NAME}:{release}"


def check_changes_nothing(root: Root, code: int) -> None:
    """Run `--check`, and compare every file of the root before and after."""
    listing = (
        "find / -xdev \\( -path /proc -o -path /sys -o -path /tmp \\) -prune -o -type f -printf '%p %s %T@ %C@\\n'"
    )
    before = root.run(listing)[1].splitlines()
    _, output = root.expect(code, "/src/scripts/bootstrap --check")
    after = root.run(listing)[1].splitlines()
    if before != after:
        raise SystemExit(f"--check changed: {sorted(set(before) ^ set(after))[:20]}")
    print(output, end="")


def prove(root: Root, kills: int, seed: int) -> None:
    """Run every stage in this root; raises SystemExit at the first that fails."""
    root.fill()
    present = [name for name in ABSENT if root.run(f"command -v {name}")[0] == 0]
    if present:
        raise SystemExit(f"this root is not bare: {present}")
    check_changes_nothing(root, 1)
    chance = random.Random(seed)  # noqa: S311 - when to kill is no secret
    for number in range(kills):
        delay = chance.uniform(1, 40)
        root.start("/src/scripts/bootstrap")
        time.sleep(delay)
        root.power_cut()
        print(f"killed {number + 1} of {kills} after {delay:.1f} s", flush=True)
    cold_s, _ = root.expect(0, "/src/scripts/bootstrap", show=True)
    root.expect(0, "ls /usr/lib/python3*/EXTERNALLY-MANAGED")
    warm_s, _ = root.expect(0, "/src/scripts/bootstrap")
    if warm_s > WARM_LIMIT_S:
        raise SystemExit(f"the second run took {warm_s:.1f} s")
    check_changes_nothing(root, 0)
    if root.own_engine:
        root.expect(0, "docker version")  # what operators type comes with the engine
    smoke_s, output = root.expect(0, SMOKE)
    print(output)
    if root.run("test -S /var/run/docker.sock")[0] == 0:
        _, output = root.expect(1, "HOME=/tmp ARAGORA_TOOLCHAIN_DIR=/tmp/tools /src/scripts/bootstrap", user="nobody")
        if "usermod -aG docker nobody" not in output:
            raise SystemExit(f"a user without rights is told: {output}")
    print(f"first {cold_s:.1f} s, second {warm_s:.2f} s, Pulumi {smoke_s:.1f} s; peak {root.peak_bytes / 1e9:.1f} GB")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", choices=("trixie", "bookworm"), default="trixie")
    parser.add_argument("--own-engine", action="store_true", help="no engine's socket: the root installs its own")
    parser.add_argument("--keep-caches", action="store_true", help="keep Go's caches for the next run")
    parser.add_argument("--kills", type=int, default=0, help="how often to cut the power before the run that counts")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    options = parser.parse_args()
    with contextlib.closing(docker.from_env(timeout=3600)) as client, bare_root(client, options) as root:
        stop = threading.Event()
        watcher = threading.Thread(target=root.watch_size, args=(stop,))
        watcher.start()
        try:
            prove(root, options.kills, options.seed)
        finally:
            stop.set()
            watcher.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
