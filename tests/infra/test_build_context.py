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

from infra.build_context import IGNORE_FILE, IMAGES, image_build, sent_files
from infra.toolchain.environment import REPOSITORY as ROOT
from infra.toolchain.environment import pulumi_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

OF_PERSIST = {"litestream", "supabase_backup"}
MADE_OF_IT = {"persist": OF_PERSIST, "postgres": {"supabase_backup"}}

pytest_plugins = ("tests.image_fixtures",)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a copy of what the images are made of."""
    for path in (Path(IGNORE_FILE), *sent_files(ROOT)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tmp_path / path)
    return tmp_path


def _digests(root: Path) -> dict[str, str]:
    return {image: image_build(root, image).digest for image in IMAGES}


def _append(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write("# new\n")


def test_only_what_an_image_is_made_of_counts(tree: Path) -> None:
    """Documentation, tests, the program and compiled files neither are sent nor change a digest."""
    before = _digests(tree)
    assert before == _digests(ROOT)
    assert len(set(before.values())) == len(IMAGES)
    for name in ("README.md", "infra/settings.py", "tests/x.py", "aragora_persist/__pycache__/x.pyc", "docker/certs/x"):
        _append(tree / name)
    os.utime(tree / "aragora_persist" / "__init__.py", (1, 1))
    assert _digests(tree) == before


@pytest.mark.parametrize(
    ("name", "made_of_it"),
    [
        ("aragora_persist/new.py", {"persist", *OF_PERSIST}),
        ("aragora_persist/errors.py", {"persist", *OF_PERSIST}),
        ("docker/postgres/start", {"postgres", "supabase_backup"}),
        ("docker/certs/a.crt", {"persist", "postgrest", *OF_PERSIST}),
        ("infra/toolchain/gomod/litestream/go.sum", {"litestream"}),
        *((f"docker/{image}/Dockerfile", {image, *MADE_OF_IT.get(image, ())}) for image in IMAGES),
    ],
)
def test_an_edit_changes_the_digests_of_the_images_made_of_it(tree: Path, name: str, made_of_it: set[str]) -> None:
    """A new file, an edited one, and a certificate count; an edit of one image's files rebuilds no other."""
    before = _digests(tree)
    _append(tree / name)
    after = _digests(tree)
    assert {image for image in IMAGES if after[image] != before[image]} == made_of_it


def test_moved_content_changes_the_digest(tree: Path) -> None:
    """A rename, a moved border between two files and an execute bit are not overlooked."""

    def digest() -> str:
        return image_build(tree, "persist").digest

    (tree / "aragora_persist/a.py").write_text("xy")
    first = digest()
    (tree / "aragora_persist/a.py").rename(tree / "aragora_persist/b.py")
    second = digest()
    (tree / "aragora_persist/b.py").chmod(0o755)
    assert len({first, second, digest()}) == 3


def test_every_image_is_known() -> None:
    """A Dockerfile in the tree is one of an image that is built, and runs as the one user of the tier."""
    assert {path.parent.name for path in ROOT.glob("docker/*/Dockerfile")} == set(IMAGES)
    for image in IMAGES:
        assert "\nUSER 10001:10001\n" in (ROOT / image_build(ROOT, image).dockerfile).read_text()


def test_everything_that_is_sent_belongs_to_an_image() -> None:
    """No file that the ignore file lets through is unused, and every source of a COPY exists in the context."""
    sent = {path for path in sent_files(ROOT) if path.suffix != ".crt"}
    used = {path for image in IMAGES for path in image_build(ROOT, image).files if path.suffix != ".crt"}
    assert sent == used


@pytest.mark.engine
def test_the_engine_gets_exactly_these_files(docker_engine: docker.DockerClient, tree: Path) -> None:
    """What a build copies of its whole context is what the digests are over."""
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
    assert sent - made_by_engine - {Path("Dockerfile.all")} == set(sent_files(tree)) - {Path("Dockerfile.all")}


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
