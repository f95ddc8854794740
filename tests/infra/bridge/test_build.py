"""The plugin is installed whole, or not at all."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from aragora_persist.errors import PersistError
from infra.toolchain.bridge import build, wheel

PROVIDER, PYTHON = Path("/opt/it's here/provider"), Path("/opt/python")


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """Stand-ins for the generated files, of which only the content matters here."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name in build.STUB_MODULES:
        (folder / name).write_text(f"# {name}\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_plugin_is_where_pulumi_looks(tmp_path: Path, stubs: Path) -> None:
    """Under the wheel's version, executable, with the provider's path and everything that it imports."""
    script = build.install_plugin(tmp_path / "plugins", PROVIDER, PYTHON, stubs)
    assert script == tmp_path / "plugins" / f"resource-docker-v{wheel.wheel_version()}" / "pulumi-resource-docker"
    assert script.stat().st_mode & 0o777 == 0o755
    assert "'/opt/it'\"'\"'s here/provider'" in script.read_text()
    [payload] = script.parent.glob("bridge-*")
    assert {"__main__.py", "wheel.json", "bridge/service.py", *build.STUB_MODULES} <= files(payload).keys()
    assert "bridge/build.py" not in files(payload)


def test_installing_again_changes_nothing(tmp_path: Path, stubs: Path) -> None:
    """A second bootstrap finds it; other sources, another provider or another Python do not count as it."""
    arguments = (tmp_path / "plugins", PROVIDER, PYTHON, stubs)
    assert not build.is_installed(*arguments)
    script = build.install_plugin(*arguments)
    inode = script.stat().st_ino
    assert build.is_installed(*arguments)
    build.install_plugin(*arguments)
    assert inode == script.stat().st_ino
    assert not build.is_installed(tmp_path / "plugins", PYTHON, PYTHON, stubs)
    assert not build.is_installed(tmp_path / "plugins", PROVIDER, PROVIDER, stubs)
    (stubs / build.STUB_MODULES[0]).write_text("# changed\n")
    assert not build.is_installed(*arguments)


@pytest.mark.parametrize(
    ("callers", "installers", "runs"),
    [(True, True, "caller"), (False, True, "installer"), (True, False, "caller"), (False, False, "path")],
)
def test_it_runs_in_the_environment_of_the_checkout_that_calls(
    tmp_path: Path, stubs: Path, *, callers: bool, installers: bool, runs: str
) -> None:
    """Another checkout may have installed it last, and its environment may be gone; then what is on PATH is tried."""
    pythons = {name: tmp_path / name / "python3" for name in ("caller", "installer", "path")}
    for name, python in pythons.items():
        python.parent.mkdir()
        if {"caller": callers, "installer": installers, "path": True}[name]:
            python.write_text(f"#!/bin/sh\necho {name} $1\n")
            python.chmod(0o755)
    script = build.install_plugin(tmp_path / "plugins", PROVIDER, pythons["installer"], stubs)
    environ = {"PATH": f"{pythons['path'].parent}:{os.defpath}", "PULUMI_PYTHON_CMD": str(pythons["caller"])}
    assert subprocess.run([script], env=environ, capture_output=True, text=True, check=True).stdout == f"{runs} -I\n"


def test_a_new_version_takes_the_place_of_the_old_one(tmp_path: Path, stubs: Path) -> None:
    """The script leads to the new files, and the old ones are gone."""
    script = build.install_plugin(tmp_path / "plugins", PROVIDER, PYTHON, stubs)
    [old] = script.parent.glob("bridge-*")
    (stubs / build.STUB_MODULES[0]).write_text("# changed\n")
    build.install_plugin(tmp_path / "plugins", PROVIDER, PYTHON, stubs)
    [new] = script.parent.glob("bridge-*")
    assert old != new
    assert str(new) in script.read_text()


def test_a_damaged_script_is_repaired(tmp_path: Path, stubs: Path) -> None:
    """What was half written by somebody else is not taken for installed."""
    arguments = (tmp_path / "plugins", PROVIDER, PYTHON, stubs)
    script = build.install_plugin(*arguments)
    before = files(script.parent)
    script.write_text(script.read_text()[:20])
    assert not build.is_installed(*arguments)
    build.install_plugin(*arguments)
    assert before == files(script.parent)


def test_a_refused_protocol_is_reported(tmp_path: Path) -> None:
    """The compiler's words, and nothing written."""
    proto = tmp_path / "broken.proto"
    proto.write_text("this is no protocol")
    with pytest.raises(PersistError, match=r"broken\.proto"):
        build.generate_stubs(proto, tmp_path / "stubs")
    assert not (tmp_path / "stubs").exists()


def test_the_installed_files_need_nothing_of_the_project() -> None:
    """Every import is relative, of the standard library, or of a package that the plugin states here."""
    allowed = {"google", "grpc", "inflection", "msgpack", "pulumi", "tfplugin6_pb2", "tfplugin6_pb2_grpc"}
    sources = [path for path in Path(build.__file__).parent.glob("*.py") if path.name not in {"build.py", "wheel.py"}]
    assert len(sources) > 10
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            assert roots <= allowed | set(_standard_library()), source


def _standard_library() -> frozenset[str]:
    import sys  # noqa: PLC0415 - only here

    return sys.stdlib_module_names
