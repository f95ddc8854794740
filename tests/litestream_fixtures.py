"""Litestream itself, for tests: the program out of its image. Leaves out: running it (``shipping``)."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.files import locked
from aragora_persist.backup.litestream import configuration
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import docker

pytest_plugins = ("tests.image_fixtures",)

_TAG = "aragora-persist-test:program-of-litestream"
_BUILD_S = 900.0
_PROGRAM = "/made/litestream"
_SHIPS_EVERY_S = 0.1


@pytest.fixture(scope="session")
def litestream_folder(docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the program, out of the stage of the image that builds it, which the engine keeps."""
    folder = tmp_path_factory.mktemp("litestream")
    dockerfile = "docker/litestream/Dockerfile"
    # One worker at a time: of two builds at once, neither would find what the other has built.
    with locked(tmp_path_factory.getbasetemp().parent, timeout_s=_BUILD_S, operation="build Litestream"):
        docker_engine.images.build(
            path=str(ROOT), dockerfile=dockerfile, target="program", tag=_TAG, rm=True, forcerm=True
        )
    container = docker_engine.containers.create(_TAG, "none")
    try:
        chunks, _ = container.get_archive(_PROGRAM)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(folder, filter="data")
    finally:
        container.remove()
    return folder


@pytest.fixture
def litestream(litestream_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the program on PATH, and have it ship ten times a second."""
    monkeypatch.setenv("PATH", str(litestream_folder), prepend=":")
    monkeypatch.setattr(configuration, "SHIPS_EVERY_S", _SHIPS_EVERY_S)
