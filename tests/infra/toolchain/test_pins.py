"""The pins agree with each other, and every change of one is another key."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import pins
from infra.toolchain.environment import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = (pins.PULUMI, pins.LANGUAGE_HOST, pins.DOCKER_PROVIDER, pins.VERSITYGW)


def _locked(name: str) -> str:
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text())
    return next(str(package["version"]) for package in lock["package"] if package["name"] == name)


def test_the_cli_is_the_sdk_of_the_lock() -> None:
    """One version of Pulumi everywhere: module, download, version check, Python SDK."""
    version = ".".join(map(str, pins.PULUMI_VERSION))
    assert version == pins.PULUMI.version == _locked("pulumi")
    assert f"github.com/pulumi/pulumi/pkg/v3 v{version}\n" in (pins.PULUMI.module_dir / "go.mod").read_text()
    assert f"Version=v{version}" in pins.PULUMI.ldflags
    assert all(f"/v{version}/pulumi-v{version}-linux-" in pinned.url for pinned in pins.PULUMI_DOWNLOADS.values())


def test_the_supabase_cli_of_the_package_is_new_enough() -> None:
    """Its address says the version that the one on PATH must have at least."""
    version = ".".join(map(str, pins.SUPABASE_CLI_VERSION))
    assert all(pinned.url.endswith(f"-{version}.tgz") for pinned in pins.SUPABASE_CLI_DOWNLOADS.values())
    assert all(pinned.url.startswith(pins.NPM_REGISTRY) for pinned in pins.SUPABASE_CLI_DOWNLOADS.values())


def test_the_docker_plugin_is_that_of_the_locked_wheel() -> None:
    """The SDK asks for exactly its own version of the plugin."""
    assert _locked("pulumi-docker") == pins.DOCKER_PLUGIN_VERSION


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_has_its_pins(program: pins.GoProgram) -> None:
    """go.mod, go.sum, and a file that makes its main package a dependency; no Go newer than the one we ask for."""
    module = (program.module_dir / "go.mod").read_text()
    needed = re.search(r"^go ([0-9.]+)$", module, re.MULTILINE)
    assert needed is not None
    assert tuple(map(int, needed.group(1).split("."))) <= pins.GO_MINIMUM
    assert "h1:" in (program.module_dir / "go.sum").read_text()
    assert f'_ "{program.package}"' in (program.module_dir / "tools.go").read_text()
    assert "-mod=readonly" in program.build_arguments(program.module_dir)


def test_the_pinned_go_is_new_enough() -> None:
    """The wheel must not be refused by the version check that the Go on PATH has to pass."""
    assert tuple(map(int, pins.GO.version.split("."))) >= pins.GO_MINIMUM


@pytest.mark.parametrize("wheel", [pins.UV, pins.GO], ids=lambda wheel: wheel.name)
def test_every_wheel_has_hashes(wheel: pins.Wheel) -> None:
    """One for each architecture."""
    assert len(set(re.findall(r"--hash=sha256:[0-9a-f]{64}", wheel.requirements.read_text()))) == 2


def test_a_changed_pin_is_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Modules, sums, flags and architecture all count."""
    monkeypatch.setattr(pins, "TOOLCHAIN_SOURCE", tmp_path)
    folder = tmp_path / "gomod" / "tool"
    folder.mkdir(parents=True)
    keys = set()
    for module, sums, tags in (("m", "s", ""), ("m2", "s", ""), ("m", "s2", ""), ("m", "s", "t"), ("ms", "", "")):
        (folder / "go.mod").write_text(module)
        (folder / "go.sum").write_text(sums)
        keys.add(pins.GoProgram("tool", "1", "package", tags=tags).key)
    monkeypatch.setattr("platform.machine", lambda: "another")
    keys.add(pins.GoProgram("tool", "1", "package").key)
    assert len(keys) == 6
