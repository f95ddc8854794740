"""What a stack has on the container engine, looked at and removed by its labels: the part that Pulumi does not see.

Leaves out: creating anything. Volumes are removed by one function only, which nobody calls but `scripts/down
--delete-data`.
"""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import docker
from docker.errors import APIError, DockerException, NotFound

from aragora_persist.errors import ConflictError, PersistError
from infra.build_context import IMAGES
from infra.naming import IMAGE_LABEL, STACK_LABEL, image_repository
from infra.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from docker.models.containers import Container

    from infra.settings import StackSettings

_REACH_LOOPBACK = {LOOPBACK, "0.0.0.0", "::", ""}  # noqa: S104 - what others are published on, nothing of ours
_LOG_LINES = 8
_ANOTHER_OF_SEVERAL = "services=… takes another, which its entry in the setting `services` names"


class StackOnEngine:
    """One stack's containers, networks, volumes and images."""

    def __init__(self, client: docker.DockerClient, stack: str) -> None:
        self._client = client
        self._stack = stack
        self._mine: dict[str, str | list[str] | bool] = {"label": f"{STACK_LABEL}={stack}"}

    def check_ports(self, settings: StackSettings) -> None:
        """Find out that a port is taken before anything is created.

        Raises:
            ConflictError: it is, and not by this stack itself; names the port, its holder and the setting.

        """
        holders = {
            int(binding["HostPort"]): container
            for container in self._client.containers.list(ignore_removed=True)
            for port, bindings in container.ports.items()
            for binding in bindings or ()
            if port.endswith("/tcp") and binding["HostIp"] in _REACH_LOOPBACK
        }
        mine = self._own_ports()
        for port, what, way_out in _wanted_ports(settings):
            holder = holders.get(port)
            if port in mine:
                continue
            by = f"container {holder.name}" if holder is not None else "another program"
            if holder is not None or (self._is_local() and not is_free(port)):
                raise ConflictError(
                    "up",
                    f"{LOOPBACK}:{port}",
                    f"the port of {what} is in use by {by}",
                    hint=f"scripts/up {self._stack} --config {way_out}",
                )

    def _own_ports(self) -> set[int]:
        """Return the ports of this stack's own containers.

        One that the engine is just starting counts: its port is taken before it is said to run.
        """
        return {
            int(binding["HostPort"])
            for container in self._containers()
            if container.status in {"created", "running", "restarting"}
            for bindings in (container.attrs["HostConfig"]["PortBindings"] or {}).values()
            for binding in bindings or ()
        }

    def remove_leftovers(self, recorded: Collection[str]) -> list[str]:
        """Remove containers and networks that no state knows, and jobs that failed; return their names.

        A command that was killed leaves them, and their names would be in the way of the next one. ``recorded`` are
        the ids in the state.
        """
        removed = []
        for container in self._containers():
            failed = container.attrs["State"]["Status"] == "exited" and container.attrs["State"]["ExitCode"] != 0
            is_job = container.attrs["HostConfig"]["RestartPolicy"]["Name"] in {"", "no"}
            if container.id not in recorded or (is_job and failed):
                container.remove(force=True)
                removed.append(str(container.name))
        for network in self._client.networks.list(filters=self._mine):
            if network.id not in recorded:
                network.remove()
                removed.append(str(network.name))
        return removed

    def remove_everything(self) -> list[str]:
        """Remove what still carries the stack's label, its data included; return the names."""
        removed = self.remove_leftovers(())
        for name in self.volumes():
            try:
                self._client.api.remove_volume(name)
            except APIError as error:
                raise ConflictError(
                    "remove", f"volume {name}", str(error.explanation), hint="remove what uses it, then repeat"
                ) from error
            removed.append(name)
        for tag in self.image_tags():
            # Only the name goes while another stack has one for the same image.
            self._client.images.remove(tag)
            removed.append(tag)
        self._remove_untagged()
        return removed

    def volumes(self) -> list[str]:
        """Return the names of the stack's volumes."""
        return sorted(str(volume.name) for volume in self._client.volumes.list(filters=self._mine))

    def image_tags(self) -> list[str]:
        """Return the names that the stack gave to its builds."""
        repositories = tuple(image_repository(self._stack, image) for image in IMAGES)
        return sorted(
            tag
            for repository in repositories
            for image in self._client.images.list(name=repository)
            for tag in image.tags
            if tag.startswith(f"{repository}:")
        )

    def sick(self) -> Iterator[tuple[str, str]]:
        """Yield the containers that should run and are not healthy, with the last lines that they wrote."""
        for container in self._containers():
            state = container.attrs["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            restarts = container.attrs["HostConfig"]["RestartPolicy"]["Name"] not in {"", "no"}
            if restarts and (state["Status"] != "running" or health != "healthy"):
                yield str(container.name), container.logs(tail=_LOG_LINES).decode(errors="replace").strip()

    def run(self, container: str, *command: str) -> str:
        """Run a command in a running container and return its output.

        Raises:
            PersistError: there is no such container, or the command failed.

        """
        try:
            code, output = self._client.containers.get(container).exec_run(list(command))
        except DockerException as error:
            raise PersistError("look at", container, str(error)) from error
        text = b"".join([output] if isinstance(output, bytes) else output).decode(errors="replace")
        if code:
            raise PersistError("look at", container, text.strip() or f"exit code {code}")
        return text

    def _containers(self) -> list[Container]:
        return self._client.containers.list(all=True, filters=self._mine, ignore_removed=True)

    def _remove_untagged(self) -> None:
        """Remove the nameless images of builds, once no stack has an image left that they would speed up."""
        images = self._client.images.list(all=True, filters={"label": IMAGE_LABEL})
        if any(image.tags for image in images):
            return
        for image in images:
            # Some are the parents of others and go with them.
            with suppress(NotFound, APIError):
                self._client.images.remove(str(image.id))

    def _is_local(self) -> bool:
        return str(self._client.api.base_url).startswith("http+docker:")


def _wanted_ports(settings: StackSettings) -> Iterator[tuple[int, str, str]]:
    """Yield every port that the stack publishes: its number, whose it is, and how another one is taken."""
    one = len(settings.services) == 1
    for service in settings.services:
        way_out = _another("port", service.port) if one else _ANOTHER_OF_SEVERAL
        yield service.port, f"service {service.name}", way_out
    if settings.supabase is not None:
        port, db_port = settings.supabase.port, settings.supabase.db_port
        yield port, "Supabase", _another("supabasePort", port)
        yield db_port, "Supabase's database", _another("supabaseDbPort", db_port)


def _another(key: str, port: int) -> str:
    return f"{key}={port + 100} takes another (setting `{key}`)"


@contextmanager
def engine(stack: str) -> Iterator[StackOnEngine]:
    """Connect to the engine that the environment names.

    Raises:
        PersistError: it does not answer, or refuses.

    """
    try:
        client = docker.from_env(timeout=60)
        try:
            client.ping()
            yield StackOnEngine(client, stack)
        finally:
            client.close()
    except DockerException as error:
        raise PersistError("use the container engine", stack, str(error), hint="scripts/bootstrap") from error


def is_free(port: int) -> bool:
    """Say whether no program of this machine listens on a loopback port, as far as this user can tell."""
    with socket.socket() as probe:
        # As the engine does: a connection that has just ended does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # the engine may have ports that this user may not
    return True
