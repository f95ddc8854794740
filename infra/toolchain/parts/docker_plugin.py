"""The docker plugin of Pulumi: the vendor's own, else our bridge over the Terraform provider that the vendor's wraps.

Which one is in use shows in the plugin's file: the vendor's is a binary, ours a script. The vendor publishes no list of
the plugin's checksums, so it is fetched by Pulumi's own command, over TLS, as Pulumi itself would fetch it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from infra.toolchain import environment, pins
from infra.toolchain.parts import go, pulumi, python_environment
from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import Context, Found, Origin, Step, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

PROVIDER = pins.DOCKER_PROVIDER.name
PROGRAM = "pulumi-resource-docker"
PROTOCOL = "tfplugin6.proto"
STUBS = ("tfplugin6_pb2.py", "tfplugin6_pb2_grpc.py")
DOWNLOAD_TIMEOUT_S = 180.0


def plugin_folder(context: Context) -> Path:
    """Return where Pulumi looks for the plugin."""
    return environment.pulumi_home(context.environment) / "plugins" / f"resource-docker-v{pins.DOCKER_PLUGIN_VERSION}"


def partial_mark(context: Context) -> Path:
    """Return Pulumi's own mark of a download that has not ended, or was killed."""
    folder = plugin_folder(context)
    return folder.with_name(f"{folder.name}.partial")


def find(context: Context) -> Found | None:
    """Find the plugin that Pulumi would start."""
    program = plugin_folder(context) / "pulumi-resource-docker"
    if partial_mark(context).exists() or not program.is_file():
        return None
    with program.open("rb") as file:
        if file.read(2) != b"#!":
            return Found(pins.DOCKER_PLUGIN_VERSION, "the vendor's plugin")
    if find_provider(context) is None or context.store.origin_of(stubs_entry(context)) is None:
        return None
    try:
        _bridge(context, "check", *_bridge_arguments(context))
    except CommandFailedError:
        return None
    return Found(pins.DOCKER_PLUGIN_VERSION, "our bridge to the Terraform provider")


def _is_ours(program: Path) -> bool:
    """Tell our script from the vendor's binary."""
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except FileNotFoundError:
        return False


def download(context: Context) -> None:
    """Have Pulumi fetch the vendor's plugin, unless ours is in use: Pulumi clears the folder before it downloads."""
    if _is_ours(plugin_folder(context) / PROGRAM):
        raise UnavailableError("our bridge is in use, by other checkouts perhaps")
    variables = environment.pulumi_variables(context.environment)
    program = shutil.which(pulumi.CLI, path=variables["PATH"])
    if program is None:
        raise UnavailableError("there is no pulumi to fetch it")
    plugin = ("resource", "docker", f"v{pins.DOCKER_PLUGIN_VERSION}", "--exact")
    context.run(
        *(program, "plugin", "install", *plugin),
        label="docker plugin",
        variables=variables,
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )


def find_provider(context: Context) -> Found | None:
    """Find the Terraform provider."""
    entry = go.entry_of(context, pins.DOCKER_PROVIDER)
    origin = context.store.origin_of(entry)
    if origin is None or not context.store.links(PROVIDER, entry / PROVIDER):
        return None
    return Found(pins.DOCKER_PROVIDER.version, origin)


def build_provider(context: Context) -> None:
    """Build the provider, with the protocol's definition from the module that it was built with."""

    def add_protocol(folder: Path) -> None:
        module = go.module_folder(context, pins.DOCKER_PROVIDER, pins.TERRAFORM_PROTOCOL_MODULE)
        shutil.copyfile(module / pins.TERRAFORM_PROTOCOL_FILE, folder / PROTOCOL)

    entry = go.build(context, pins.DOCKER_PROVIDER, (PROTOCOL,), add_protocol)
    context.store.link(PROVIDER, entry / PROVIDER)


def stubs_entry(context: Context) -> Path:
    """Return where the protocol's stubs are, or would be: another lock may hold another compiler."""
    key = pins.key_of(pins.DOCKER_PROVIDER.key, (context.repository / "uv.lock").read_text())
    return context.store.entry("terraform-protocol", pins.DOCKER_PROVIDER.version, key)


def install_bridge(context: Context) -> None:
    """Compile the protocol, install the bridge."""
    stubs = stubs_entry(context)
    if context.store.origin_of(stubs) is None:
        with context.store.publish(stubs, "compiled", STUBS) as whole:
            _bridge(context, "stubs", str(go.entry_of(context, pins.DOCKER_PROVIDER) / PROTOCOL), str(whole))
    _bridge(context, "install", *_bridge_arguments(context))
    partial_mark(context).unlink(missing_ok=True)


def _bridge_arguments(context: Context) -> tuple[str, ...]:
    provider = go.entry_of(context, pins.DOCKER_PROVIDER) / PROVIDER
    return str(plugin_folder(context).parent), str(provider), str(stubs_entry(context))


def _bridge(context: Context, *arguments: str) -> None:
    """Run the bridge's own installer: it needs the packages that this process has not."""
    python = str(context.repository / ".venv" / "bin" / "python")
    command = (python, "-m", "infra.toolchain.bridge_installer", *arguments)
    context.run(*command, cwd=context.repository, label="docker plugin")


PROVIDER_STEP = Step(
    "Terraform provider",
    find_provider,
    (Origin("Go modules", build_provider, needs=(go.STEP,)),),
    "let go reach a module proxy (GOPROXY)",
)
STEP = Step(
    "docker plugin",
    find,
    (
        Origin("vendor's plugin", download, needs=(pulumi.CLI_STEP,)),
        Origin("our bridge", install_bridge, needs=(python_environment.STEP, PROVIDER_STEP)),
    ),
    "let pulumi reach the vendor's downloads, or go a module proxy (GOPROXY)",
)
