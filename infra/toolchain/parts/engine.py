"""The container engine: one that answers is used as it is, otherwise Debian's is installed and started.

It is started as a service where systemd runs, and as a plain daemon elsewhere (a container, a chroot). The daemon of a
machine without an init is not started again after a reboot: the next bootstrap does it.
"""

from __future__ import annotations

import getpass
import shutil
import time
from pathlib import Path

from infra.toolchain import apt
from infra.toolchain.engine_api import DEFAULT_ADDRESS, AccessDeniedError, Engine, EngineError
from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import BlockedError, Context, Found, Origin, Step, UnavailableError

DAEMON_LOG = Path("/var/log/aragora-dockerd.log")
START_TIMEOUT_S = 60.0
ENDED_TIMEOUT_S = 10.0
# A user's PATH on Debian leaves out the folders of root's programs.
ROOT_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def find(context: Context) -> Found | None:
    """Find the engine that answers."""
    engine = Engine.of(context.environment)
    try:
        return Found(engine.version(), f"answers on {engine.address}")
    except (EngineError, FileNotFoundError):
        return None


def use_what_answers(context: Context) -> None:
    """Say why nothing answers; ends the bootstrap where an installation would not help."""
    engine = Engine.of(context.environment)
    try:
        engine.version()
    except AccessDeniedError as error:
        user = getpass.getuser()
        way_out = f"run `sudo usermod -aG docker {user}`, log in again, and repeat"
        raise BlockedError(f"{error} for the user {user}", way_out) from error
    except EngineError as error:
        if engine.address != DEFAULT_ADDRESS:
            way_out = "start that engine, or unset DOCKER_HOST to use one on this machine"
            raise BlockedError(f"DOCKER_HOST is set, and no engine answers: {error}", way_out) from error
        raise UnavailableError(f"no engine answers: {error}") from error


def install_debian(context: Context) -> None:
    """Install Debian's engine unless it is there, start it, and wait until it answers."""
    if shutil.which("dockerd", path=ROOT_PATH) is None:
        apt.install(context, "docker.io")
    if shutil.which("docker", path=ROOT_PATH) is None:
        apt.install(context, "docker-cli")  # a package of its own since Debian 13, which operators expect with it
    daemon = None
    if Path("/run/systemd/system").is_dir():
        context.run(*apt.as_root(context, "systemctl", "enable", "--now", "docker"), label="starting the engine")
    else:
        # In a session of its own: it must outlive the bootstrap and its terminal.
        script = f'PATH={ROOT_PATH}; setsid dockerd >"$1" 2>&1 </dev/null & echo $!'
        daemon = int(context.run(*apt.as_root(context, "sh", "-c", script, "sh", str(DAEMON_LOG))))
    _wait(context, daemon)


def _wait(context: Context, daemon: int | None) -> None:
    """Wait for an answer: of the daemon, or of one that a killed bootstrap has just started before it."""
    started = time.monotonic()
    while True:
        try:
            use_what_answers(context)
        except BlockedError:
            raise
        except UnavailableError as error:
            patience_s = START_TIMEOUT_S if daemon is None or Path(f"/proc/{daemon}").exists() else ENDED_TIMEOUT_S
            if time.monotonic() - started > patience_s:
                raise UnavailableError("it was started and does not answer", _log(context, daemon)) from error
            time.sleep(0.2)
        else:
            return


def _log(context: Context, daemon: int | None) -> str:
    command = ("journalctl", "--no-pager", "-u", "docker", "-n", "200") if daemon is None else ("cat", str(DAEMON_LOG))
    try:
        return context.run(*apt.as_root(context, *command))
    except CommandFailedError as error:
        return error.output


STEP = Step(
    "container engine",
    find,
    (Origin("the engine that runs", use_what_answers), Origin("Debian's docker.io", install_debian)),
    "install and start a container engine, or set DOCKER_HOST to one that answers",
)
