"""What the bootstrap installs, in which version, with which hash: the only place of every version number.

Go's own pins are the go.mod and go.sum files in ``gomod/``, Python's the lock file and ``requirements/``. No logic here
but the keys: whatever a part is made from goes into its key, so that a changed pin is a new folder and never a half
updated old one.
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

TOOLCHAIN_SOURCE = Path(__file__).resolve().parent

BASE_IMAGE = "debian:trixie-slim"
BASE_IMAGE_RELEASE = "trixie"

GO_MINIMUM = (1, 25, 11)

PULUMI_VERSION = (3, 259, 0)
PULUMI_SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"


@dataclass(frozen=True)
class Download:
    """A file at an address, and its digest as the vendor publishes it: in hexadecimal digits or base64."""

    url: str
    algorithm: str
    digest: str


# The vendor's own list of checksums: the formula of this release in the repository pulumi/homebrew-tap.
PULUMI_DOWNLOADS = {
    "x86_64": Download(
        "https://github.com/pulumi/pulumi/releases/download/v3.259.0/pulumi-v3.259.0-linux-x64.tar.gz",
        "sha256",
        "94ba357acac23d01474084c4b00098dc0f7bc70ce13f34c777459254a5f718e5",
    ),
    "aarch64": Download(
        "https://github.com/pulumi/pulumi/releases/download/v3.259.0/pulumi-v3.259.0-linux-arm64.tar.gz",
        "sha256",
        "edc8327463a72160bb36cf82cf5062da9c8a244290a706d9980988e7bf486853",
    ),
}

# Equal to the wheel's version: the plugin's folder carries it, and the SDK asks for exactly this one.
DOCKER_PLUGIN_VERSION = "5.2.0"

SUPABASE_CLI_VERSION = (3, 1, 0)
NPM_REGISTRY = "https://registry.npmjs.org"
# The package of each architecture with its program alone; the digest is the registry's, which gives it in base64.
SUPABASE_CLI_DOWNLOADS = {
    "x86_64": Download(
        f"{NPM_REGISTRY}/@supabase/cli-linux-x64/-/cli-linux-x64-3.1.0.tgz",
        "sha512",
        "67aBVJQ5psQZ5ezM/uby+xjKlF2Er1GLH9EtQWpUkuOpR3uI7fQjQt9fXTfV6/oqLJA3I+X8O5Fhz/pa8lAiqg==",
    ),
}

# The protocol of Terraform providers: its .proto file lies in this module, which the provider depends on.
TERRAFORM_PROTOCOL_MODULE = "github.com/hashicorp/terraform-plugin-go"
TERRAFORM_PROTOCOL_FILE = "tfprotov6/internal/tfplugin6/tfplugin6.proto"


@dataclass(frozen=True)
class GoProgram:
    """A program built from pinned Go modules: ``package`` is its main package, ``gomod/<name>`` holds its pins."""

    name: str
    version: str
    package: str
    tags: str = ""
    ldflags: str = "-s -w"

    @property
    def module_dir(self) -> Path:
        """The folder of its go.mod and go.sum."""
        return TOOLCHAIN_SOURCE / "gomod" / self.name

    def build_arguments(self, output: Path) -> list[str]:
        """Return the arguments of ``go`` that build this program at ``output``."""
        tags = ["-tags", self.tags] if self.tags else []
        return ["build", "-mod=readonly", "-trimpath", *tags, "-ldflags", self.ldflags, "-o", str(output), self.package]

    @property
    def key(self) -> str:
        """The name of exactly these pins."""
        return key_of(
            (self.module_dir / "go.mod").read_text(),
            (self.module_dir / "go.sum").read_text(),
            *self.build_arguments(Path("out")),
        )


PULUMI = GoProgram(
    "pulumi",
    "3.259.0",
    "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    tags="osusergo,grpcnotrace",
    ldflags="-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.259.0",
)
# Later versions of the SDK keep the host in a module of its own that the module proxy refuses.
LANGUAGE_HOST = GoProgram(
    "pulumi-language-python",
    "3.68.0",
    "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
)
DOCKER_PROVIDER = GoProgram(
    "terraform-provider-docker",
    "4.6.0+20260916",
    "github.com/terraform-providers/terraform-provider-docker",
    tags="no_compose",
)
# For the tests alone: a server that speaks S3 and keeps its objects in a folder.
VERSITYGW = GoProgram(
    "versitygw",
    "1.8.0",
    "github.com/versity/versitygw/cmd/versitygw",
    ldflags="-s -w -X main.Version=v1.8.0",
)


@dataclass(frozen=True)
class Wheel:
    """One package of ``requirements/<name>.txt``, pinned with the hashes of its wheels."""

    name: str

    @property
    def requirements(self) -> Path:
        """The file that pins it."""
        return TOOLCHAIN_SOURCE / "requirements" / f"{self.name}.txt"

    @property
    def version(self) -> str:
        """The pinned version."""
        match = re.search(r"^[a-z-]+==(\S+)", self.requirements.read_text(), re.MULTILINE)
        if match is None:
            raise ValueError(f"{self.requirements} pins no version")
        return match.group(1)

    @property
    def key(self) -> str:
        """The name of exactly these pins."""
        return key_of(self.requirements.read_text())


UV = Wheel("uv")
GO = Wheel("go")


def key_of(*contents: str) -> str:
    """Return a short name for what a part is made from; the machine's architecture is always one of its contents."""
    digest = hashlib.sha256()
    for content in (platform.machine(), *contents):
        digest.update(len(content).to_bytes(8, "big") + content.encode())
    return digest.hexdigest()[:16]
