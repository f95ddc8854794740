"""The container engine: asked over its socket, told apart from one that is absent, far or forbidden."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from infra.toolchain import apt
from infra.toolchain.engine_api import Engine, EngineError
from infra.toolchain.parts import base_image, engine
from infra.toolchain.step import BlockedError, Context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.infra.toolchain.machine import Machine


def _with(context: Context, **variables: str) -> Context:
    return Context({**context.environment, **variables}, context.store, context.repository, context.console)


@pytest.mark.engine
def test_the_engine_that_answers_and_its_base_image_are_found(machine: Machine) -> None:
    """Asked over its socket, without a client program."""
    context = _with(machine.context, **{name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ})
    found = engine.find(context)
    assert found is not None
    assert found.version[0].isdigit()
    assert base_image.find(context) is not None
    assert Engine.of(context.environment).image("aragora-no-such-image:none") is None


@pytest.mark.engine
def test_an_archive_becomes_an_image_with_its_label(machine: Machine) -> None:
    """Given to the engine over its socket."""
    archive = machine.folder / "root.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(__file__, "file")
    reached, repository = Engine.of(os.environ), f"aragora-bootstrap-test-{os.getpid()}"
    with contextlib.closing(docker.from_env()) as client:
        try:
            reached.load(archive, repository, "whole", ('CMD ["true"]', 'LABEL from="a test"'))
            image = reached.image(f"{repository}:whole")
        finally:
            client.images.remove(f"{repository}:whole")
    assert image is not None
    assert (image["Config"]["Cmd"], image["Config"]["Labels"]) == (["true"], {"from": "a test"})


@pytest.mark.engine
def test_an_image_that_no_registry_has_is_an_answer() -> None:
    """Whether the registry refuses or cannot be reached: an error with its words, and no image."""
    with pytest.raises((EngineError, FileNotFoundError)):
        Engine.of(os.environ).pull("localhost:9/aragora-no-such-image", "none")


def test_a_chosen_engine_that_does_not_answer_blocks(machine: Machine) -> None:
    """Installing another behind the user's back would be wrong."""
    context = _with(machine.context, DOCKER_HOST=f"unix://{machine.folder}/absent.sock")
    assert engine.find(context) is None
    with pytest.raises(BlockedError, match="DOCKER_HOST is set") as caught:
        engine.use_what_answers(context)
    assert "unset DOCKER_HOST" in caught.value.way_out


def test_an_engine_behind_ssh_is_not_guessed_at() -> None:
    """The error names the two forms that are understood."""
    with pytest.raises(EngineError, match="not a unix:// or tcp:// address"):
        Engine("ssh://somewhere").version()


def test_a_socket_without_permission_is_told_apart(machine: Machine) -> None:
    """The user is told the command that gives the rights; nothing is installed."""
    # The test's own folder can have a longer path than a socket may have.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder, "engine.sock")
        Path(folder).chmod(0o755)
        context = _with(machine.context, DOCKER_HOST=f"unix://{path}")
        listener.bind(str(path))
        path.chmod(0)
        with _ordinary_user(), pytest.raises(BlockedError, match="permission denied") as caught:
            engine.use_what_answers(context)
    assert "sudo usermod -aG docker" in caught.value.way_out
    assert not context.store.root.exists()


def test_without_roots_rights_the_command_for_root_is_told(machine: Machine) -> None:
    """There is no sudo, then one that wants a password where nobody can type it."""
    with tempfile.TemporaryDirectory() as folder:  # the test's own is closed to other users
        context = _with(machine.context, PATH=folder)
        with _ordinary_user(), pytest.raises(BlockedError, match="there is no sudo") as caught:
            apt.as_root(context, "apt-get", "install", "docker.io")
        assert caught.value.way_out == "as root, run: apt-get install docker.io"
        shutil.copy(machine.program("sudo", "echo 'a password is required' >&2; exit 1"), folder)
        Path(folder).chmod(0o755)
        with _ordinary_user(), pytest.raises(BlockedError, match="sudo wants a password"):
            apt.as_root(context, "apt-get", "install", "docker.io")


@contextlib.contextmanager
def _ordinary_user() -> Iterator[None]:
    """Be nobody for a moment where the tests run as root, who may do everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
