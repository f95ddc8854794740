"""The base image of every image of ours: pulled, or made of the same Debian's packages where no registry answers.

What is made carries a label that says so. The slim image of the registry leaves out documentation; so does this one.
"""

from __future__ import annotations

from infra.toolchain import apt, pins
from infra.toolchain.engine_api import Engine, EngineError
from infra.toolchain.step import Context, Found, Origin, Step, UnavailableError

REPOSITORY, TAG = pins.BASE_IMAGE.split(":")
LABEL = "io.aragora-persist.origin"
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/groff/*", "/usr/share/doc/*")
KEPT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")


def find(context: Context) -> Found | None:
    """Find the image on the engine."""
    engine = Engine.of(context.environment)
    try:
        image = engine.image(pins.BASE_IMAGE)
    except EngineError:
        return None
    if image is None:
        return None
    labels = (image.get("Config") or {}).get("Labels") or {}
    origin = labels.get(LABEL) or ("a registry" if image.get("RepoDigests") else "was on the engine")
    return Found(str(image["Id"]).removeprefix("sha256:")[:12], origin)


def pull(context: Context) -> None:
    """Have the engine pull it."""
    try:
        Engine.of(context.environment).pull(REPOSITORY, TAG)
    except (EngineError, FileNotFoundError) as error:
        raise UnavailableError(str(error)) from error


def build(context: Context) -> None:
    """Make the root file system of Debian's packages, whole, and only then give it to the engine."""
    apt.install(context, "mmdebstrap", "debian-archive-keyring", "ca-certificates")
    with context.store.scratch() as scratch:
        archive = scratch / "root.tar"
        filters = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        filters += [f"--dpkgopt=path-include={path}" for path in KEPT]
        command = ("mmdebstrap", "--variant=minbase", *filters, pins.BASE_IMAGE_RELEASE, str(archive))
        context.run(*apt.as_root(context, *command), label=f"making {pins.BASE_IMAGE} of Debian's packages")
        context.run(*apt.as_root(context, "chmod", "0644", str(archive)))
        try:
            Engine.of(context.environment).load(
                archive, REPOSITORY, TAG, ('CMD ["bash"]', f'LABEL {LABEL}="Debian\'s packages"')
            )
        except EngineError as error:
            raise UnavailableError(str(error)) from error


STEP = Step(
    "base image",
    find,
    (Origin("registry", pull), Origin("Debian's packages", build)),
    f"load an image called {pins.BASE_IMAGE} into the engine (docker load), or repeat where a registry answers",
)
