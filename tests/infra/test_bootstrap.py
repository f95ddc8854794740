"""`scripts/bootstrap` as a user starts it. The whole way from a bare machine is scripts/chaos/bare_root.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import environment
from infra.toolchain.environment import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCRIPT = REPOSITORY / "scripts" / "bootstrap"
PARTS = (
    "Python",
    "certificates",
    "container engine",
    "base image",
    "uv",
    "Python environment",
    "Pulumi CLI",
    "Python language host",
    "docker plugin",
    "Supabase CLI",
    "S3 server",
    "Terraform provider",
    "Go",
)


def _start(*arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (SCRIPT, *arguments),
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def _tree(*folders: Path) -> dict[str, tuple[int, int]]:
    """Return what is there; not when Pulumi last used a plugin, for a stack of another test may just run."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix != ".lastused"
    }


def test_check_on_a_machine_without_tools_lists_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    """Exit code 1, a line for each part, and not one new or touched file."""
    home = tmp_path / "home"
    home.mkdir()
    seen = (REPOSITORY / "infra" / "toolchain", REPOSITORY / "scripts", REPOSITORY / "docker" / "certs", tmp_path)
    before = _tree(*seen)
    done = _start("--check", variables={"HOME": str(home), "ARAGORA_TOOLCHAIN_DIR": str(tmp_path / "tools")})
    assert _tree(*seen) == before
    assert done.returncode == 1
    assert done.stderr == ""
    states = {line[:22].strip(): line.split()[-1] for line in done.stdout.splitlines()}
    assert list(states) == list(PARTS)
    assert {states[part] for part in ("uv", "Python environment", "Pulumi CLI", "docker plugin")} == {"missing"}


def test_what_only_the_tests_need_is_asked_for(tmp_path: Path) -> None:
    """A machine that runs a stack lacks nothing without it."""
    states = []
    for options in ((), ("--tests",)):
        done = _start("--check", *options, variables={"ARAGORA_TOOLCHAIN_DIR": str(tmp_path)})
        [line] = (line for line in done.stdout.splitlines() if line.startswith("Supabase CLI"))
        states.append(line.split()[-1])
    assert states in (["needed", "missing"], ["there", "there"])  # "not needed"; or there is one on PATH


@pytest.mark.engine
def test_on_a_machine_with_every_part_nothing_is_got_anew_and_check_is_content() -> None:
    """That is what makes a second bootstrap quick; the plugin in use is named."""
    assert _start().returncode == 0  # after a change of the pins or of the bridge there is something to do
    seen = [environment.toolchain_dir() / name for name in ("store", "bin", "pulumi-home/plugins")]
    before = _tree(*seen)
    done = _start()
    assert done.returncode == 0, done.stdout
    checked = _start("--check")
    assert checked.returncode == 0, checked.stdout
    assert _tree(*seen) == before
    plugin = next(line for line in checked.stdout.splitlines() if line.startswith("docker plugin"))
    assert plugin.endswith("there")
    assert "our bridge" in plugin or "the vendor's plugin" in plugin


def test_without_python_the_script_says_what_is_missing(tmp_path: Path) -> None:
    """No Python and no apt: both are named, with the way out, and exit code 1; --check installs nothing either."""
    for name in ("bash", "env", "dirname", "id"):
        program = shutil.which(name)
        assert program is not None
        (tmp_path / name).symlink_to(program)
    checked = _start("--check", variables={"PATH": str(tmp_path)})
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "missing: python3 of at least 3.11 with venv" in checked.stdout
    done = _start(variables={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "error: Python: cannot be had."
    assert done.stderr.splitlines()[-1].startswith("way out: install Python 3.11 or later")


def test_a_toolchain_folder_that_cannot_be_made_is_told_with_its_setting() -> None:
    """Before any part is looked at."""
    done = _start(variables={"ARAGORA_TOOLCHAIN_DIR": "/dev/null/tools"})
    assert done.returncode == 1
    assert "/dev/null/tools" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("way out: set ARAGORA_TOOLCHAIN_DIR")


def test_an_unknown_argument_is_a_usage_error() -> None:
    """Exit code 2, and nothing is begun."""
    done = _start("--no-such-option")
    assert done.returncode == 2
    assert "usage: scripts/bootstrap" in done.stderr


def test_the_environment_of_pulumi_calls_is_printed_as_shell_exports(tmp_path: Path) -> None:
    """A shell that evaluates them has the same environment that Python callers get, odd characters included."""
    base = {"PATH": "/usr/bin:/bin", "ARAGORA_TOOLCHAIN_DIR": str(tmp_path / "it's a folder")}
    command = 'eval "$("$1" -m infra.toolchain.environment)" && env -0'
    output = subprocess.run(
        ("sh", "-c", command, "sh", environment.environment_python()),
        cwd=REPOSITORY,
        env=base,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    printed = dict(variable.split("=", 1) for variable in output.split("\0") if variable)
    expected = environment.pulumi_variables(base)
    assert {name: printed[name] for name in expected} == expected
    assert expected["PATH"].startswith(f"{tmp_path}/it's a folder/bin:")
    assert environment.pulumi_environment(base) == {**base, **expected}
    assert not (tmp_path / "it's a folder").exists()
