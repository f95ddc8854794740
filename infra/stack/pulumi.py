"""Calls of the Pulumi CLI for one stack. Leaves out: what they are called for."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import PersistError
from infra.naming import PROJECT
from infra.toolchain.environment import pulumi_environment

if TYPE_CHECKING:
    from infra.stack.files import StackFiles


def environment(files: StackFiles) -> dict[str, str]:
    """Return the environment of every call for a stack."""
    return {
        **pulumi_environment(),
        "PULUMI_BACKEND_URL": files.backend.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(files.passphrase),
    }


class Pulumi:
    """The CLI, in the folder of a stack."""

    def __init__(self, files: StackFiles) -> None:
        self._files = files

    def ask(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command and return its output.

        Raises:
            PersistError: it failed; the problem is what it said.

        """
        done = subprocess.run(
            self._command(arguments),
            input=stdin if stdin is not None else "",
            env=environment(self._files),
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise PersistError(f"pulumi {arguments[0]}", self._files.name, (done.stderr or done.stdout).strip())
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Run a command whose progress is for the user's eyes.

        Raises:
            PersistError: it failed, and has said why; or it was interrupted.

        """
        unattended = () if sys.stdout.isatty() else ("--non-interactive",)
        with subprocess.Popen(self._command((*arguments, *unattended)), env=environment(self._files)) as running:
            code, interrupted = None, False
            while code is None:
                # An interrupt reaches Pulumi as well, which then ends what it has begun: killing it would lose track.
                try:
                    code = running.wait()
                except KeyboardInterrupt:
                    interrupted = True
        if interrupted:  # whatever its exit code: early on it is 0, with nothing done
            raise PersistError(f"pulumi {arguments[0]}", self._files.name, "was interrupted", hint="repeat to go on")
        if code:
            raise PersistError(f"pulumi {arguments[0]}", self._files.name, "failed; its reasons are above")

    def exists(self) -> bool:
        """Say whether the backend knows the stack."""
        stacks = json.loads(self.ask("stack", "ls", "--json"))
        return any(stack["name"] == self._files.name for stack in stacks)

    def state(self) -> dict[str, Any]:
        """Return the stack's resources and pending operations as they are recorded; secrets stay encrypted."""
        deployment: dict[str, Any] = json.loads(self.ask("stack", "export", *self._stack()))["deployment"]
        return deployment

    def outputs(self) -> dict[str, Any]:
        """Return what the program exported."""
        outputs: dict[str, Any] = json.loads(self.ask("stack", "output", "--json", *self._stack()))
        return outputs

    def set_secrets(self) -> None:
        """Configure the stack's secrets that are not yet; through a pipe, because anybody may read arguments."""
        configured = json.loads(self.ask("config", "--show-secrets", "--json", *self._stack()))
        for key, value in self._files.secret_config().items():
            if configured.get(f"{PROJECT}:{key}", {}).get("value") != value:
                self.ask("config", "set", "--secret", key, *self._stack(), stdin=value)

    def _stack(self) -> tuple[str, str]:
        return ("--stack", self._files.name)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return ["pulumi", "--cwd", str(self._files.folder), *arguments]
