"""A program that the machine has already: the one on PATH, where its version will do."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import Found, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.toolchain.step import Context

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class OnPath:
    """How a program is asked for its version, which is the group of ``pattern``, and the least that is needed."""

    program: str
    question: str
    pattern: str
    minimum: tuple[int, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def find(self, context: Context) -> Found | None:
        """Find it, if its version will do."""
        try:
            path, version = self._look(context)
        except UnavailableError:
            return None
        return Found(version, f"PATH ({path})")

    def require(self, context: Context) -> str:
        """Return where it is.

        Raises UnavailableError when it is not there, does not run, or is too old.
        """
        return self._look(context)[0]

    def _look(self, context: Context) -> tuple[str, str]:
        path = shutil.which(self.program, path=context.environment.get("PATH"))
        if path is None:
            raise UnavailableError(f"no {self.program} on PATH")
        try:
            answer = context.run(path, self.question, variables=self.variables, timeout_s=_PATIENCE_S)
        except CommandFailedError:
            answer = ""
        match = re.search(self.pattern, answer, re.MULTILINE)
        version = match.group(1) if match else ""
        if not version or tuple(map(int, version.split("."))) < self.minimum:
            needed = ".".join(map(str, self.minimum))
            raise UnavailableError(f"{path} is {version or 'of no known version'}, at least {needed} is needed")
        return path, version
