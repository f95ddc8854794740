"""The commands that people are told to run are the ones that CI runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_ci_runs_the_readme_command() -> None:
    """README, `make check` and CI name one and the same script."""
    readme = (ROOT / "README.md").read_text()

    assert re.search(r"^scripts/test$", readme, re.MULTILINE)
    assert "\nexec scripts/test\n" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^check:\n\tscripts/test$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_readme_starts_with_two_commands() -> None:
    """A new user meets `scripts/up` and `scripts/test`, and both exist and can be executed."""
    readme = (ROOT / "README.md").read_text()

    for script in ("scripts/up", "scripts/test"):
        assert re.search(rf"^{script}$", readme, re.MULTILINE), script
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"


def test_lock_matches_the_project() -> None:
    """uv.lock names every dependency that pyproject.toml asks for."""
    text = (ROOT / "pyproject.toml").read_text()
    lock = (ROOT / "uv.lock").read_text()
    wanted = re.findall(r'^  "([a-z0-9-]+)[ =<>~",]', text, re.MULTILINE)

    assert wanted
    assert [name for name in wanted if f'name = "{name}"' not in lock] == []


def test_links_in_the_documentation_lead_somewhere() -> None:
    """Every relative link in a Markdown file names a file that exists."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    broken = [
        f"{name}: {target}"
        for name in listed.split("\0")
        if name
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text())
        if not ((ROOT / name).parent / target).exists()
    ]

    assert "README.md" in listed
    assert broken == []


def test_files_that_the_documentation_names_exist() -> None:
    """A module that was renamed or merged is told of under its new name."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    named = {
        (page, name)
        for page in listed
        if page.endswith(".md")
        for name in re.findall(r"`([a-z_./]+\.(?:py|sql))`", (ROOT / page).read_text())
    }
    missing = sorted(one for one in named if not any(f"/{path}".endswith(f"/{one[1]}") for path in listed))

    assert len(named) > 20
    assert missing == []
