"""The fixtures of the bridge's integration tests, loaded as a pytest plugin.

The plugin is installed into a Pulumi home of the test session's own, so the tests drive the sources of this tree, on a
machine with the official plugin too. Everything made on the engine carries a prefix and is removed at the end.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from infra.toolchain import bootstrap, pins
from infra.toolchain.bridge import build
from infra.toolchain.environment import pulumi_environment
from infra.toolchain.parts import docker_plugin, go
from infra.toolchain.process import Console
from infra.toolchain.step import run_step

from .bridge_support import IMAGE_LABEL, Plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """Install the bridge into a Pulumi home of this session; builds the Terraform provider where it is missing."""
    context = bootstrap.context_of(os.environ, Console(sys.stderr))
    with context.store.lock(lambda: None):
        run_step(docker_plugin.PROVIDER_STEP, context)
    entry = go.entry_of(context, pins.DOCKER_PROVIDER)
    folder = tmp_path_factory.mktemp("bridge")
    stubs, home = folder / "stubs", folder / "pulumi-home"
    build.generate_stubs(entry / docker_plugin.PROTOCOL, stubs)
    provider = entry / docker_plugin.PROVIDER
    script = build.install_plugin(home / "plugins", provider, Path(sys.executable), stubs)
    environment = {
        **pulumi_environment(),
        "PULUMI_HOME": str(home),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "ARAGORA_BRIDGE_LOG": str(folder / "bridge.log"),
    }
    return Plugin(script, provider, stubs, environment)


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerClient]:
    """Give a client of the engine."""
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def prefix(engine: DockerClient) -> Iterator[str]:
    """Give a name that everything of this module starts with, and remove it all at the end."""
    prefix = f"bridge-{uuid.uuid4().hex[:8]}"
    yield prefix
    for container in engine.containers.list(all=True, filters={"name": prefix}):
        container.remove(force=True, v=True)
    for network in engine.networks.list(filters={"name": prefix}):
        network.remove()
    for volume in engine.volumes.list(filters={"name": prefix}):
        volume.remove(force=True)
    for image in engine.images.list(filters={"label": f"{IMAGE_LABEL}={prefix}"}):
        engine.images.remove(str(image.id), force=True)
