"""What the bootstrap calls: generate the protocol's stubs, install the plugin where the Pulumi CLI looks for it.

The installed plugin is a copy: it goes on working when the checkout moves or changes, until it is installed again. It
is put there whole: first the files, under a name made from their content, then the script that names them. Killed at
any point, the plugin is the old one, the new one, or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Final

from aragora_persist.errors import PersistError
from aragora_persist.storage.sqlite.files import sync_folder

STUB_MODULES: Final = ("tfplugin6_pb2.py", "tfplugin6_pb2_grpc.py")
_SOURCES: Final = Path(__file__).parent
_NOT_INSTALLED: Final = {"build.py", "wheel.py"}  # they need the rest of the project, and the wheel
# The plugin's own copy of the protocol's modules: the SDK that they come with takes longer to import than all the rest.
_PROTOCOL_PACKAGES: Final = ("pulumi", "pulumi/runtime", "pulumi/runtime/proto")
_PROTOCOL_MODULES: Final = (
    "alias_pb2.py",
    "plugin_pb2.py",
    "provider_pb2.py",
    "provider_pb2_grpc.py",
    "status_pb2.py",
)
_MAIN: Final = """\
import sys

from bridge.__main__ import main

sys.exit(main())
"""


def plugin_version() -> str:
    """Return the version that the plugin must have to be found: the wheel's."""
    return metadata.version("pulumi-docker")


def plugin_path(plugins_dir: Path) -> Path:
    """Return where the Pulumi CLI looks for the plugin, under ``$PULUMI_HOME/plugins``."""
    return plugins_dir / f"resource-docker-v{plugin_version()}" / "pulumi-resource-docker"


def generate_stubs(proto: Path, target: Path) -> None:
    """Compile Terraform's ``tfplugin6.proto`` into ``target``, which is made; a second run writes the same files.

    Raises: PersistError when the compiler refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            *("-m", "grpc_tools.protoc"),
            f"--proto_path={proto.parent}",
            *(f"--python_out={scratch}", f"--grpc_python_out={scratch}", f"--pyi_out={scratch}"),
            proto.name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PersistError("stubs.generate", proto, done.stderr.strip() or f"exit code {done.returncode}")
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(scratch).iterdir()):
            _write(target / file.name, file.read_bytes(), mode=0o644)


def install_plugin(plugins_dir: Path, terraform_provider_binary: Path, python: Path, stubs: Path) -> Path:
    """Install the plugin, or find it installed, and answer the path of its script.

    ``python`` runs it, and must have the ``infra`` dependencies.
    """
    script = plugin_path(plugins_dir)
    if is_installed(plugins_dir, terraform_provider_binary, python, stubs):
        return script
    files = _files(stubs)
    payload = _payload(plugins_dir, files)
    script.parent.mkdir(parents=True, exist_ok=True)
    if not payload.is_dir():
        from .wheel import FILE, read_wheel  # noqa: PLC0415 - it imports the wheel, which a mere check need not

        _write_directory(payload, {**files, FILE: json.dumps(read_wheel(), indent=1).encode()})
    _write(script, _script(payload, terraform_provider_binary, python).encode(), mode=0o755)
    for old in script.parent.glob("bridge-*"):
        if old != payload:
            shutil.rmtree(old, ignore_errors=True)
    return script


def is_installed(plugins_dir: Path, terraform_provider_binary: Path, python: Path, stubs: Path) -> bool:
    """Tell whether exactly this plugin, from these sources, is installed. Changes nothing."""
    if not all((stubs / name).is_file() for name in STUB_MODULES):
        return False
    payload = _payload(plugins_dir, _files(stubs))
    script = plugin_path(plugins_dir)
    expected = _script(payload, terraform_provider_binary, python)
    return payload.is_dir() and script.is_file() and script.read_text() == expected and os.access(script, os.X_OK)


def _files(stubs: Path) -> dict[str, bytes]:
    """Return the installed files, relative path → content, but for the names, which follow from the wheel's version."""
    sources = (path for path in sorted(_SOURCES.glob("*.py")) if path.name not in _NOT_INSTALLED)
    files = {f"bridge/{path.name}": path.read_bytes() for path in sources}
    files.update((name, (stubs / name).read_bytes()) for name in STUB_MODULES)
    files.update((f"{package}/__init__.py", b"") for package in _PROTOCOL_PACKAGES)
    protocol = _protocol_folder()
    files.update((f"{_PROTOCOL_PACKAGES[-1]}/{name}", (protocol / name).read_bytes()) for name in _PROTOCOL_MODULES)
    files["__main__.py"] = _MAIN.encode()
    return files


def _protocol_folder() -> Path:
    spec = util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        raise PersistError("bridge.install", "pulumi", "the SDK is not installed", hint="run scripts/bootstrap")
    return Path(spec.origin).parent / "runtime" / "proto"


def _payload(plugins_dir: Path, files: dict[str, bytes]) -> Path:
    digest = hashlib.sha256(plugin_version().encode())
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return plugin_path(plugins_dir).parent / f"bridge-{digest.hexdigest()[:16]}"


def _script(payload: Path, terraform_provider_binary: Path, python: Path) -> str:
    """Write a shell script that Python replaces at once: that of the checkout that calls, else the one that installed.

    The plugin is shared by all checkouts; the environment of the one that installed it last may be half made, or gone.
    """
    return (
        "#!/bin/sh\n"
        'python="${PULUMI_PYTHON_CMD:-}"\n'
        f'[ -x "$python" ] || python={shlex.quote(str(python))}\n'
        '[ -x "$python" ] || python=python3\n'
        f"export ARAGORA_TERRAFORM_PROVIDER={shlex.quote(str(terraform_provider_binary))}\n"
        f'exec "$python" -I {shlex.quote(str(payload))} "$@"\n'
    )


def _write_directory(target: Path, files: dict[str, bytes]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".bridge-", dir=target.parent))
    try:
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            _write(scratch / name, content, mode=0o644)
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sync_folder(target.parent)


def _write(target: Path, content: bytes, *, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
