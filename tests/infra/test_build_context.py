"""An image is made of exactly the files that its digest is over."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from infra.build_context import IGNORE_FILE, context_digest, context_files
from infra.toolchain.environment import REPOSITORY as ROOT
from infra.toolchain.environment import pulumi_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest_plugins = ("tests.image_fixtures",)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a copy of what the image is made of."""
    for path in (Path(IGNORE_FILE), *context_files(ROOT)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tmp_path / path)
    return tmp_path


def test_only_what_the_image_is_made_of_counts(tree: Path) -> None:
    """Documentation, tests, the program and compiled files neither are sent nor change the digest."""
    before = context_digest(tree)
    assert before == context_digest(ROOT)
    for name in ("README.md", "infra/settings.py", "tests/x.py", "aragora_persist/__pycache__/x.pyc", "docker/certs/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("new")
    os.utime(tree / "aragora_persist" / "__init__.py", (1, 1))
    assert context_digest(tree) == before


@pytest.mark.parametrize(
    "name", ["aragora_persist/new.py", "aragora_persist/errors.py", "docker/persist/Dockerfile", "docker/certs/a.crt"]
)
def test_what_the_image_is_made_of_changes_the_digest(tree: Path, name: str) -> None:
    """A new file, an edited one, and a certificate count."""
    before = context_digest(tree)
    with (tree / name).open("a") as file:
        file.write("# new\n")
    assert context_digest(tree) != before


def test_moved_content_changes_the_digest(tree: Path) -> None:
    """A rename, a moved border between two files and an execute bit are not overlooked."""
    (tree / "aragora_persist/a.py").write_text("xy")
    first = context_digest(tree)
    (tree / "aragora_persist/a.py").rename(tree / "aragora_persist/b.py")
    second = context_digest(tree)
    (tree / "aragora_persist/b.py").chmod(0o755)
    assert len({first, second, context_digest(tree)}) == 3


@pytest.mark.engine
def test_the_engine_gets_exactly_these_files(docker_engine: docker.DockerClient, tree: Path) -> None:
    """What a build copies of its whole context is what the digest is over."""
    (tree / "README.md").write_text("not sent")
    (tree / "Dockerfile.all").write_text("FROM scratch\nCOPY . /\n")
    with (tree / ".dockerignore").open("a") as file:
        file.write("!Dockerfile.all\n")
    image, _ = docker_engine.images.build(path=str(tree), dockerfile="Dockerfile.all", rm=True, forcerm=True)
    container = docker_engine.containers.create(str(image.id), command="none")
    try:
        # docker-py's type says text, its code says bytes.
        exported = b"".join(cast("Iterator[bytes]", container.export()))
        with tarfile.open(fileobj=io.BytesIO(exported)) as content:
            sent = {Path(member.name) for member in content if member.isfile()}
    finally:
        container.remove()
        docker_engine.images.remove(str(image.id))
    # The engine puts its own files into every container, and the build's two are always sent.
    made_by_engine = {path for path in sent if path.parts[0] in {"etc", "dev", "proc", "sys", ".dockerenv"}}
    assert sent - made_by_engine - {Path("Dockerfile.all")} == set(context_files(tree)) - {Path("Dockerfile.all")}


def test_the_locked_requirements_are_those_of_the_lock() -> None:
    """The image installs what `uv.lock` holds; `make requirements` writes the file anew."""
    command = [
        "uv",
        "export",
        "--frozen",
        "--offline",
        "--all-extras",
        "--no-default-groups",
        "--no-emit-project",
        "--no-header",
    ]
    exported = subprocess.run(
        [*command, "--format", "requirements.txt"],
        cwd=ROOT,
        env=pulumi_environment(),  # where the bootstrap's uv is found
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ROOT / "docker" / "persist" / "requirements.txt").read_text() == exported.stdout
