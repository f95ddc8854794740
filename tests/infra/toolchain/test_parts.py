"""The parts on machines that have other things than expected: old programs, broken ones, altered downloads."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import socket
import tarfile
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import pins
from infra.toolchain.parts import certificates, docker_plugin, go, pulumi, python_environment
from infra.toolchain.process import CommandFailedError
from infra.toolchain.step import Found, UnavailableError
from tests.infra.toolchain.machine import vendor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.infra.toolchain.machine import Machine


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("go version go1.26.6 linux/amd64", "1.26.6"),
        ("go version go1.25.11 linux/amd64", "1.25.11"),
        ("go version go1.27 linux/amd64", "1.27"),
        ("go version go1.25.10 linux/amd64", None),
        ("go version go1.9 linux/amd64", None),
        ("go version devel +b7a85e0003 linux/amd64", None),
    ],
)
def test_go_on_path_is_used_from_the_minimum_on(machine: Machine, answer: str, found: str | None) -> None:
    """Versions are compared as numbers."""
    program = machine.program("go", f"echo '{answer}'")
    part = go.find(machine.context)
    assert part == (Found(found, f"PATH ({program})") if found else None)


def test_a_go_that_does_not_run_is_none(machine: Machine) -> None:
    """And the origin says why it was passed over."""
    machine.program("go", "exit 127")
    assert go.find(machine.context) is None
    with pytest.raises(UnavailableError, match=r"of no known version, at least 1\.25\.11 is needed"):
        go.use_path(machine.context)


def test_pulumi_on_path_is_used_with_its_language_host(machine: Machine) -> None:
    """No link of ours is needed or made."""
    machine.program("pulumi", "echo 'a warning'; echo v3.300.1")
    assert pulumi.find_cli(machine.context) == Found("3.300.1", f"PATH ({machine.programs / 'pulumi'})")
    assert pulumi.find_host(machine.context) is None
    for name in pulumi.HOST_FILES:
        machine.program(name, "")
    assert pulumi.find_host(machine.context) == Found("of that CLI", "PATH")
    assert not machine.context.store.root.exists()


def test_an_old_pulumi_on_path_is_passed_over(machine: Machine) -> None:
    """The answer says which version it is and which is needed."""
    machine.program("pulumi", "echo v3.258.9")
    assert pulumi.find_cli(machine.context) is None
    with pytest.raises(UnavailableError, match=r"is 3\.258\.9, at least 3\.259\.0 is needed"):
        pulumi.use_cli_on_path(machine.context)


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in (pulumi.CLI, *pulumi.HOST_FILES, "pulumi-language-go"):
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size, member.mode = len(name), 0o755
            archive.addfile(member, io.BytesIO(name.encode()))
    return packed.getvalue()


@contextlib.contextmanager
def _serving(monkeypatch: pytest.MonkeyPatch, content: bytes, pinned: bytes) -> Iterator[None]:
    """Serve an archive as the vendor would, and pin the digest of another or the same."""
    with vendor(content) as serving:
        download = pins.Download(f"{serving.url}/pulumi.tar.gz", "sha256", hashlib.sha256(pinned).hexdigest())
        monkeypatch.setattr(pins, "PULUMI_DOWNLOADS", {platform.machine(): download})
        yield


def test_the_vendors_archive_gives_the_cli_and_its_host(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacked, linked, and used again without a download."""
    archive = _archive()
    with _serving(monkeypatch, archive, archive):
        pulumi.download(machine.context)
        pulumi.use_host_of_download(machine.context)
        assert pulumi.find_cli(machine.context) == Found("3.259.0", "vendor's download")
        assert pulumi.find_host(machine.context) == Found("3.259.0", "vendor's download")
        assert (machine.context.store.bin_dir / "pulumi").read_text() == "pulumi"
        assert os.access(machine.context.store.bin_dir / "pulumi-language-python-exec", os.X_OK)
    pulumi.download(machine.context)


def test_what_the_cli_starts_of_its_host_is_started_to_end_with_it(machine: Machine) -> None:
    """A host that is linked without that counts as missing; it is linked again, not built or fetched again."""
    store, entry = machine.context.store, go.entry_of(machine.context, pins.LANGUAGE_HOST)
    with store.publish(entry, "Go modules", pulumi.HOST_FILES) as whole:
        for name in pulumi.HOST_FILES:
            (whole / name).write_text(name)
    for name in pulumi.HOST_FILES:
        store.link(name, entry / name)
    assert pulumi.find_host(machine.context) is None
    pulumi.build_host(machine.context)
    assert pulumi.find_host(machine.context) == Found(pins.LANGUAGE_HOST.version, "Go modules")
    for name in ("pulumi-language-python", "pulumi-resource-pulumi-python"):
        assert (store.bin_dir / name).read_text() == pulumi.ENDING.read_text()
        assert os.access(store.bin_dir / name, os.X_OK)
        assert (store.bin_dir / f"{name}.bin").read_text() == name
    (store.bin_dir / "pulumi-language-python").write_text("")
    assert pulumi.find_host(machine.context) is None


def test_an_archive_with_another_digest_is_not_unpacked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer names both digests; the store holds nothing of it."""
    altered = _archive() + b"x"
    with (
        _serving(monkeypatch, altered, _archive()),
        pytest.raises(UnavailableError, match=hashlib.sha256(altered).hexdigest()),
    ):
        pulumi.download(machine.context)
    assert pulumi.find_cli(machine.context) is None
    assert not list(machine.context.store.root.iterdir())


def test_a_vendor_out_of_reach_is_an_answer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/pulumi.tar.gz"
        monkeypatch.setattr(pins, "PULUMI_DOWNLOADS", {platform.machine(): pins.Download(url, "sha256", "0" * 64)})
        with pytest.raises(UnavailableError, match="Connection refused"):
            pulumi.download(machine.context)


def test_a_bridge_in_use_is_not_cleared_away_for_the_vendors_plugin(machine: Machine) -> None:
    """Pulumi would empty the plugin's folder before it downloads, under a run of another checkout."""
    marker = machine.folder / "pulumi was called"
    machine.program("pulumi", f"touch '{marker}'; exit 1")
    plugin = docker_plugin.plugin_folder(machine.context) / docker_plugin.PROGRAM
    plugin.parent.mkdir(parents=True)
    plugin.write_text("#!/bin/sh\n")
    with pytest.raises(UnavailableError, match="our bridge is in use"):
        docker_plugin.download(machine.context)
    kept, asked = plugin.read_text(), marker.exists()
    plugin.unlink()
    with pytest.raises(CommandFailedError):
        docker_plugin.download(machine.context)

    assert (kept, asked) == ("#!/bin/sh\n", False)
    assert marker.exists()


def test_added_authorities_are_copied_and_a_changed_one_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The builds trust what the machine trusts today."""
    added = tmp_path / "added"
    added.mkdir()
    monkeypatch.setattr(certificates, "MACHINE_FOLDER", added)
    copies = machine.repository / "docker" / "certs"
    copies.mkdir(parents=True)
    assert certificates.find(machine.context) == Found("0 added", "this machine's bundle")
    for content in ("first", "second"):
        (added / "one.crt").write_text(content)
        assert certificates.find(machine.context) is None
        certificates.install(machine.context)
        assert certificates.find(machine.context) == Found("1 added", str(added))
        assert [path.read_text() for path in copies.iterdir()] == [content]


def test_an_environment_that_was_begun_and_not_finished_is_made_anew(machine: Machine) -> None:
    """A killed uv leaves the marker: what lies in the folder is not trusted, even if it looks right."""
    context = machine.context
    uv = context.store.entry("uv", pins.UV.version, pins.UV.key)
    with context.store.publish(uv, "test", ("bin/uv",)) as whole:
        (whole / "bin").mkdir()
        (whole / "bin" / "uv").write_text(
            '#!/bin/sh\ncase "$*" in *--check*) exit 0;; esac\n'
            "mkdir -p .venv/bin && ln -sf /usr/bin/env .venv/bin/env\n"
            "printf '#!/bin/sh\\necho 3.99\\n' > .venv/bin/python && chmod +x .venv/bin/python\n"
        )
        (whole / "bin" / "uv").chmod(0o755)
    context.store.link("uv", uv / "bin/uv")
    python_environment.sync(context)
    assert python_environment.find(context) == Found("Python 3.99", "uv.lock")
    (machine.repository / ".venv" / "half-written").touch()
    python_environment.marker(context).touch()
    assert python_environment.find(context) is None
    python_environment.sync(context)
    assert not (machine.repository / ".venv" / "half-written").exists()
    assert python_environment.find(context) == Found("Python 3.99", "uv.lock")
