"""The Pulumi CLI and its Python language host: those on PATH, else the vendor's download, else built of Go modules.

What ``pulumi_environment`` would run is what is found: a link in the store's ``bin`` comes before PATH. The vendor's
archive is taken only with the pinned digest. The host brings two scripts with it: the one that starts a Python program
and the plugin of dynamic resources. The host finds the first only beside itself, and the CLI says so at every call when
it finds a host elsewhere than beside itself.

After a ``kill -9`` of the CLI the host would go on for minutes, that plugin for good. So ``bin`` holds
``end_with_cli.sh`` under their names, and them with ``.bin`` at the end. Those on PATH stay as their owner has them.
"""

from __future__ import annotations

import platform
import shutil
import tarfile
from typing import TYPE_CHECKING

from infra.toolchain import pins
from infra.toolchain.download import download_pinned
from infra.toolchain.on_path import OnPath
from infra.toolchain.parts import go
from infra.toolchain.step import Context, Found, Origin, Step, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLI = "pulumi"
HOST = "pulumi-language-python"
SCRIPTS = {
    "pulumi-language-python-exec": "python/cmd/pulumi-language-python-exec",
    "pulumi-resource-pulumi-python": "python/dist/pulumi-resource-pulumi-python",
}
HOST_FILES = (HOST, *SCRIPTS)
STARTED_BY_CLI = (HOST, "pulumi-resource-pulumi-python")
ENDING = pins.TOOLCHAIN_SOURCE / "end_with_cli.sh"
ON_PATH = OnPath(CLI, "version", r"^v(\d+\.\d+\.\d+)", pins.PULUMI_VERSION, {"PULUMI_SKIP_UPDATE_CHECK": "true"})


def download_entry(context: Context) -> Path:
    """Return where the vendor's archive is unpacked, or would be."""
    return context.store.entry("pulumi-download", pins.PULUMI.version, pins.key_of(str(pins.PULUMI_DOWNLOADS)))


def find_cli(context: Context) -> Found | None:
    """Find the CLI that would be run, if its version will do."""
    for entry in (download_entry(context), go.entry_of(context, pins.PULUMI)):
        if context.store.links(CLI, entry / CLI):
            origin = context.store.origin_of(entry)
            return Found(pins.PULUMI.version, origin) if origin else None
    return None if context.store.links(CLI) else ON_PATH.find(context)


def find_host(context: Context) -> Found | None:
    """Find the language host with its scripts, from one origin."""
    for pinned, entry in (
        (pins.PULUMI, download_entry(context)),
        (pins.LANGUAGE_HOST, go.entry_of(context, pins.LANGUAGE_HOST)),
    ):
        if all(context.store.links(name, target) for name, target in _host_links(context, entry).items()):
            origin = context.store.origin_of(entry)
            return Found(pinned.version, origin) if origin and context.store.origin_of(_ending(context)) else None
    if any(context.store.links(name) for name in HOST_FILES) or not _all_on_path(context):
        return None
    return Found("of that CLI", "PATH")


def _host_links(context: Context, entry: Path) -> dict[str, Path]:
    """Return what ``bin`` holds when the host is this entry's: each name with its file."""
    files = {f"{name}.bin" if name in STARTED_BY_CLI else name: entry / name for name in HOST_FILES}
    return {**files, **dict.fromkeys(STARTED_BY_CLI, _ending(context) / ENDING.name)}


def _ending(context: Context) -> Path:
    """Return the entry of the script that ends what the CLI has started."""
    return context.store.entry("end-with-cli", "1", pins.key_of(ENDING.read_text()))


def _all_on_path(context: Context) -> bool:
    return all(shutil.which(name, path=context.environment.get("PATH")) for name in HOST_FILES)


def use_cli_on_path(context: Context) -> None:
    """Use the CLI on PATH: no link of ours may come before it."""
    ON_PATH.require(context)
    context.store.unlink(CLI)


def use_host_on_path(context: Context) -> None:
    """Use the language host that came with the CLI on PATH."""
    if context.store.links(CLI) or not _all_on_path(context):
        raise UnavailableError("the CLI on PATH is not used, or came without it")
    for name in _host_links(context, download_entry(context)):
        context.store.unlink(name)


def download(context: Context) -> None:
    """Fetch the vendor's archive, unpack it, link the CLI."""
    entry = download_entry(context)
    if context.store.origin_of(entry) is None:
        try:
            pinned = pins.PULUMI_DOWNLOADS[platform.machine()]
        except KeyError:
            raise UnavailableError(f"no digest is pinned for {platform.machine()}") from None
        with (
            context.store.scratch() as scratch,
            context.store.publish(entry, "vendor's download", (CLI, *HOST_FILES)) as whole,
        ):
            archive = scratch / "pulumi.tar.gz"
            download_pinned(context, pinned, archive)
            with tarfile.open(archive) as packed:
                # Python 3.14's own choice; the first releases of 3.11 do not know it.
                packed.extraction_filter = getattr(tarfile, "data_filter", None)
                packed.extractall(whole, members=_without_top_folder(packed))  # noqa: S202 - its digest is the vendor's
    context.store.link(CLI, entry / CLI)


def _without_top_folder(packed: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in packed:
        member.name = member.name.partition("/")[2]
        if member.isfile():
            yield member


def use_host_of_download(context: Context) -> None:
    """Link the language host that the vendor's archive holds, if that is where the CLI comes from."""
    entry = download_entry(context)
    if not context.store.links(CLI, entry / CLI) or context.store.origin_of(entry) is None:
        raise UnavailableError("the CLI is not from there")
    _link_host(context, entry)


def _link_host(context: Context, entry: Path) -> None:
    """Link the host of this entry, those that it is found by last."""
    if context.store.origin_of(_ending(context)) is None:
        with context.store.publish(_ending(context), "this checkout", (ENDING.name,)) as whole:
            shutil.copyfile(ENDING, whole / ENDING.name)
            (whole / ENDING.name).chmod(0o755)
    for name, target in _host_links(context, entry).items():
        context.store.link(name, target)


def build_cli(context: Context) -> None:
    """Build the CLI and link it."""
    context.store.link(CLI, go.build(context, pins.PULUMI) / CLI)


def build_host(context: Context) -> None:
    """Build the host, put the scripts of the CLI's own version of the SDK beside it, link all three."""

    def add_scripts(folder: Path) -> None:
        sdk = go.module_folder(context, pins.PULUMI, pins.PULUMI_SDK_MODULE)
        for name, source in SCRIPTS.items():
            shutil.copyfile(sdk / source, folder / name)
            (folder / name).chmod(0o755)

    _link_host(context, go.build(context, pins.LANGUAGE_HOST, tuple(SCRIPTS), add_scripts))


CLI_STEP = Step(
    "Pulumi CLI",
    find_cli,
    (
        Origin("PATH", use_cli_on_path),
        Origin("vendor's download", download),
        Origin("Go modules", build_cli, needs=(go.STEP,)),
    ),
    f"install Pulumi {pins.PULUMI.version} or later on PATH, or let go reach a module proxy (GOPROXY)",
)
HOST_STEP = Step(
    "Python language host",
    find_host,
    (
        Origin("PATH", use_host_on_path),
        Origin("vendor's download", use_host_of_download),
        Origin("Go modules", build_host, needs=(go.STEP,)),
    ),
    "install Pulumi with its language hosts on PATH, or let go reach a module proxy (GOPROXY)",
)
