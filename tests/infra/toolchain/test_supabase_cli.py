"""The Supabase CLI: the one on PATH where it is new enough, else the program of the pinned package."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import tarfile
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import pins
from infra.toolchain.parts import supabase_cli
from infra.toolchain.step import Context, Found, UnavailableError
from tests.infra.toolchain.machine import vendor

if TYPE_CHECKING:
    from tests.infra.toolchain.machine import Machine


def _package(program: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("package/package.json", supabase_cli.MEMBER):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(program), 0o755
            archive.addfile(member, io.BytesIO(program))
    return packed.getvalue()


def _pin(monkeypatch: pytest.MonkeyPatch, package: bytes) -> None:
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    pinned = pins.Download(f"{pins.NPM_REGISTRY}/@supabase/cli.tgz", "sha512", digest)
    monkeypatch.setattr(pins, "SUPABASE_CLI_DOWNLOADS", {platform.machine(): pinned})


def _with_mirror(context: Context, url: str) -> Context:
    return Context(
        {**context.environment, supabase_cli.MIRROR: url}, context.store, context.repository, context.console
    )


def test_one_on_path_is_used_and_its_question_leaves_nothing(machine: Machine) -> None:
    """The CLI writes into its home folder even when it is asked for its version: it has none."""
    program = machine.program("supabase", 'touch "$HOME/asked" 2>/dev/null; echo 3.10.0; echo "4.0.0 is out" >&2')
    before = machine.tree()
    assert supabase_cli.find(machine.context) == Found("3.10.0", f"PATH ({program})")
    assert machine.tree() == before


def test_an_old_or_broken_one_on_path_is_passed_over(machine: Machine) -> None:
    """The answer says which version it is and which is needed."""
    machine.program("supabase", "echo 3.0.9")
    assert supabase_cli.find(machine.context) is None
    with pytest.raises(UnavailableError, match=r"is 3\.0\.9, at least 3\.1\.0 is needed"):
        supabase_cli.use_path(machine.context)
    machine.program("supabase", "exit 127")
    with pytest.raises(UnavailableError, match="is of no known version"):
        supabase_cli.use_path(machine.context)


def test_the_program_of_the_package_comes_from_the_mirror_that_npm_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linked where Pulumi's environment finds it, and used again without a download."""
    package = _package(b"the program")
    _pin(monkeypatch, package)
    with vendor(package) as mirror:
        context = _with_mirror(machine.context, f"{mirror.url}/npm/")
        supabase_cli.install_package(context)
    supabase_cli.install_package(context)
    assert mirror.asked == ["/npm/@supabase/cli.tgz"]
    assert supabase_cli.find(context) == Found("3.1.0", "npm package")
    program = context.store.bin_dir / "supabase"
    assert program.read_bytes() == b"the program"
    assert os.access(program, os.X_OK)


def test_a_package_with_another_digest_is_not_unpacked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever serves it."""
    _pin(monkeypatch, _package(b"the program"))
    altered = _package(b"another program")
    with (
        vendor(altered) as mirror,
        pytest.raises(UnavailableError, match=hashlib.sha512(altered).hexdigest()),
    ):
        supabase_cli.install_package(_with_mirror(machine.context, mirror.url))
    assert supabase_cli.find(machine.context) is None
    assert not list(machine.context.store.root.iterdir())


@pytest.mark.parametrize("address", ["no address", "http://127.0.0.1:9"])
def test_a_mirror_that_gives_nothing_is_an_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """With its address, so that a mistake in it shows."""
    _pin(monkeypatch, b"")
    with pytest.raises(UnavailableError, match=f"{address}/@supabase"):
        supabase_cli.install_package(_with_mirror(machine.context, address))


def test_a_machine_without_a_package_is_told_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one on PATH is what remains."""
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(UnavailableError, match="none of this version for sparc"):
        supabase_cli.install_package(machine.context)


def test_a_newer_one_on_path_comes_after_a_link_of_ours_until_it_is_asked_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be run is what is found: the link first; without a whole entry behind it, the one on PATH instead."""
    package = _package(b"the program")
    _pin(monkeypatch, package)
    with vendor(package) as mirror:
        supabase_cli.install_package(_with_mirror(machine.context, mirror.url))
    program = machine.program("supabase", "echo 3.2.0")
    assert supabase_cli.find(machine.context) == Found("3.1.0", "npm package")
    (supabase_cli.entry_of(machine.context) / "supabase").write_text("")
    assert supabase_cli.find(machine.context) is None
    supabase_cli.use_path(machine.context)
    assert supabase_cli.find(machine.context) == Found("3.2.0", f"PATH ({program})")
