"""The certificate authorities that this machine trusts: for the package managers here, and for those in image builds.

Behind a proxy that opens TLS, package managers must trust what the machine's owner added. Those of the machine are
told where its bundle is; for those in builds the added ones are copied to where the Dockerfiles take them from. The
copies are not under version control; on a machine without added authorities there are none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.toolchain import apt
from infra.toolchain.step import Context, Found, Origin, Step

MACHINE_FOLDER = Path("/usr/local/share/ca-certificates")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def variables(context: Context) -> dict[str, str]:
    """Return what makes pip and uv trust the machine's bundle; a user's own choice stands."""
    names = ("SSL_CERT_FILE", "PIP_CERT") if BUNDLE.is_file() else ()
    return {name: str(BUNDLE) for name in names if name not in context.environment}


def build_folder(context: Context) -> Path:
    """Return the folder whose ``*.crt`` files the Dockerfiles take."""
    return context.repository / "docker" / "certs"


def find(context: Context) -> Found | None:
    """Find the bundle, and every added authority, unchanged, among those of the builds."""
    if not BUNDLE.is_file() and shutil.which("apt-get", path=context.environment.get("PATH")):
        return None
    certificates = sorted(MACHINE_FOLDER.glob("*.crt"))
    for certificate in certificates:
        copy = build_folder(context) / certificate.name
        if not copy.is_file() or copy.read_bytes() != certificate.read_bytes():
            return None
    return Found(f"{len(certificates)} added", str(MACHINE_FOLDER) if certificates else "this machine's bundle")


def install(context: Context) -> None:
    """Install the bundle where Debian's is missing, and copy each added authority, whole or not at all."""
    if not BUNDLE.is_file():
        apt.install(context, "ca-certificates")
    folder = build_folder(context)
    for certificate in MACHINE_FOLDER.glob("*.crt"):
        temporary = folder / f".{certificate.name}.unfinished"
        temporary.write_bytes(certificate.read_bytes())
        temporary.replace(folder / certificate.name)


STEP = Step(
    "certificates",
    find,
    (Origin("this machine", install),),
    "install the package ca-certificates, and make docker/certs/ writable",
)
