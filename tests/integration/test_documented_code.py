"""What the README and the pages show in Python runs as it stands there, against the real thing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from infra.toolchain.environment import REPOSITORY
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase_stack import LocalSupabase

pytest_plugins = ("tests.supabase_fixtures",)
pytestmark = pytest.mark.engine

# What the system's own documentation shows has a module of its own, `test_documented_system`.
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(REPOSITORY)}-{number}")
    for page in PAGES
    if page.name != "database-architecture.md"
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE), 1)
]


def test_there_is_documented_code() -> None:
    """A change of the pages' form must not leave this module without anything to run."""
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("code", BLOCKS)
def test_documented_code_runs(code: str, supabase: LocalSupabase, tmp_path: Path) -> None:
    """Each block is a program of its own that succeeds, with no more than the documented environment."""
    environment = {
        **os.environ,
        "NOMIC_DIR": str(tmp_path),
        "SUPABASE_URL": supabase.url,
        "SUPABASE_KEY": supabase.service_key,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
