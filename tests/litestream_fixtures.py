"""Litestream itself, for tests: the program out of its image. Leaves out: running it (``shipping``)."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.litestream import configuration, sidecar
from tests.built_images import build_image

if TYPE_CHECKING:
    from pathlib import Path

    import docker

pytest_plugins = ("tests.image_fixtures",)

_TAG = "aragora-persist-test:program-of-litestream"
_PROGRAM = "/made/litestream"
_SHIPS_EVERY_S = 0.1


@pytest.fixture(scope="session")
def litestream_folder(docker_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the program, out of the stage of the image that builds it, which the engine keeps."""
    folder = tmp_path_factory.mktemp("litestream")
    build_image(docker_engine, "litestream", target="program", tag=_TAG)
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
    """Have the program on PATH, and have it ship, and be looked at, ten times a second."""
    monkeypatch.setenv("PATH", str(litestream_folder), prepend=":")
    monkeypatch.setattr(configuration, "SHIPS_EVERY_S", _SHIPS_EVERY_S)
    monkeypatch.setattr(sidecar, "_LOOK_S", _SHIPS_EVERY_S)
