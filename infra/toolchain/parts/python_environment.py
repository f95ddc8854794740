"""The Python environment ``.venv``, exactly as the lock file says.

uv writes into the environment in place, so an unfinished one could look finished: a marker beside the store's entries
says that one was begun, and an environment with a marker is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

from infra.toolchain.parts import certificates, uv
from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import Context, Found, Origin, Step

if TYPE_CHECKING:
    from pathlib import Path

# A Python of another's download is never wanted: the machine's own is found, or the bootstrap says what is missing.
VARIABLES = {"UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": ".venv"}


def marker(context: Context) -> Path:
    """Return the file that is there while this checkout's environment is not whole."""
    name = hashlib.sha256(str(context.repository).encode()).hexdigest()[:16]
    return context.store.root / f"environment-{name}.unfinished"


def find(context: Context) -> Found | None:
    """Find the environment and ask uv whether it is what the lock says; nothing is fetched or written."""
    python = context.repository / ".venv" / "bin" / "python"
    if not python.exists() or marker(context).exists() or uv.find(context) is None:
        return None
    try:
        context.run(*_sync(context), "--check", "--offline", cwd=context.repository, variables=VARIABLES)
        version = context.run(str(python), "-c", "import platform; print(platform.python_version())").strip()
    except CommandFailedError:
        return None
    return Found(f"Python {version}", "uv.lock")


def sync(context: Context) -> None:
    """Bring the environment to what the lock says."""
    unfinished = marker(context)
    if unfinished.exists():
        shutil.rmtree(context.repository / ".venv", ignore_errors=True)
    unfinished.touch()
    variables = {**VARIABLES, **certificates.variables(context)}
    context.run(*_sync(context), cwd=context.repository, label="Python environment", variables=variables)
    unfinished.unlink()


def _sync(context: Context) -> tuple[str, ...]:
    return (str(uv.program(context)), "sync", "--locked", "--all-extras", "--no-progress")


STEP = Step(
    "Python environment",
    find,
    (Origin("uv.lock", sync, needs=(uv.STEP,)),),
    "let uv reach a Python package index (UV_DEFAULT_INDEX), and bring uv.lock up to date if it says so (uv lock)",
)
