"""A whole Supabase in containers: the images that `up` deploys, as restricted as there, with the schema applied.

Started part by part in the order in which they need each other, and taken away again to the last volume, whatever
happened in between.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx
import psycopg

from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.schema.apply import apply_schema
from aragora_persist.settings import Secret
from infra.components.gateway_keys import keys_conf
from infra.components.secret_files import MOUNT
from tests.built_images import RESTRICTED, built_image
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker
    from docker.models.containers import Container

LABEL = "io.aragora.test"
DATABASE_FOLDER = "/var/lib/postgresql"
ROLES_WITH_PASSWORDS = ("postgres", "supabase_admin", "authenticator")
_EVERY_S = 0.02
_TMPFS = {"/tmp": "rw,noexec,nosuid,nodev,size=256m"}  # noqa: S108 - the containers' own


class Engine:
    """Makes containers, volumes and networks of one test, and removes exactly those at the end, by their label."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self.prefix = f"aragora-persist-test-{secrets.token_hex(4)}"
        self.labels = {LABEL: self.prefix}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={self.prefix}"}
        for container in self.client.containers.list(all=True, filters=mine, ignore_removed=True):
            container.remove(force=True, v=True)
        for network in self.client.networks.list(filters=mine):
            network.remove()
        for volume in self.client.volumes.list(filters=mine):
            volume.remove()

    def network(self) -> str:
        """Make a network; return its name."""
        return str(self.client.networks.create(self.prefix, labels=self.labels).name)

    def volume(self, part: str) -> str:
        """Make an empty volume; return its name."""
        return str(self.client.volumes.create(f"{self.prefix}-{part}", labels=self.labels).name)

    def container(self, part: str, image: str, **more: Any) -> Container:  # noqa: ANN401 - docker-py's own arguments
        """Make a container of one of the tier's images, restricted as `up` restricts it; it does not run yet."""
        return self.client.containers.create(
            built_image(self.client, image),
            name=f"{self.prefix}-{part}",
            labels=self.labels,
            **{**RESTRICTED, "tmpfs": _TMPFS, **more},
        )

    def secret_files(self, part: str, image: str, files: Mapping[str, str]) -> str:
        """Make a volume with files, as `up` does: through a container that never runs; return its name."""
        volume = self.volume(f"{part}-secrets")
        self.write_secret_files(volume, image, files)
        return volume

    def write_secret_files(self, volume: str, image: str, files: Mapping[str, str]) -> None:
        """Write files into a volume; those of the same names are replaced."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content.encode()), 0o444
                tar.addfile(entry, io.BytesIO(content.encode()))
        carrier = self.client.containers.create(
            built_image(self.client, image),
            labels=self.labels,
            volumes={volume: {"bind": MOUNT, "mode": "rw"}},
        )
        try:
            carrier.put_archive(MOUNT, archive.getvalue())
        finally:
            carrier.remove()


class LocalSupabase:
    """A running Supabase with the schema applied and no rows."""

    db: Container
    rest: Container
    gateway: Container

    def __init__(self, client: docker.DockerClient) -> None:
        self._engine = Engine(client)
        self.service_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(24)}"
        self.jwt_secret = secrets.token_urlsafe(48)
        self.passwords = {role: secrets.token_urlsafe(24) for role in ROLES_WITH_PASSWORDS}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._engine.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.__exit__()

    @property
    def url(self) -> str:
        """The gateway's root."""
        return f"http://127.0.0.1:{published_port(self.gateway, 8000)}"

    @property
    def db_url(self) -> str:
        """The database as ``postgres``, the role that owns the schema and is no superuser."""
        return database_url(self.db, "postgres", self.passwords["postgres"])

    @property
    def admin_db_url(self) -> str:
        """The database as its superuser."""
        return database_url(self.db, "supabase_admin", self.passwords["supabase_admin"])

    def stop_rest(self) -> None:
        """Stop PostgREST; the gateway stays."""
        self.rest.stop(timeout=5)

    def start_rest(self) -> None:
        """Start PostgREST and wait until requests go through."""
        self.rest.start()
        wait_until(self._passes_on, "the gateway to pass a request on", every_s=_EVERY_S)

    def replace_rest(self) -> None:
        """Put another PostgREST in place of this one, at another address, and wait until requests go through."""
        old = self.rest
        self.rest = self._make_rest()
        self.rest.start()
        old.remove(force=True)
        self.start_rest()

    def empty(self) -> None:
        """Take every row out of every table."""
        tables = ", ".join(f"public.{model.TABLE}" for model in MODELS)
        with psycopg.connect(self.admin_db_url) as connection:
            connection.execute(f"TRUNCATE {tables}".encode())

    def _start(self) -> None:
        self._network = self._engine.network()
        self.db = self._make_database()
        self.db.start()
        db_uri = f"postgresql://authenticator:{self.passwords['authenticator']}@{self.db.name}:5432/postgres"
        files = {"db_uri": db_uri, "jwt_secret": self.jwt_secret}
        self._rest_files = self._engine.secret_files("rest", "postgrest", files)
        self.rest = self._make_rest()
        self.gateway = self._make_gateway()
        self.gateway.start()
        wait_until(lambda: connects(self.db_url), "the database to answer", every_s=_EVERY_S)
        apply_schema(Secret(self.db_url))
        self.start_rest()

    def _make_database(self) -> Container:
        files = self._engine.secret_files("db", "postgres", password_files(self.passwords))
        return self._engine.container(
            "db",
            "postgres",
            network=self._network,
            ports={"5432/tcp": ("127.0.0.1", None)},
            volumes={**mounted(files), **data_mounted(self._engine.volume("data"))},
        )

    def _make_rest(self) -> Container:
        alias = self._engine.client.api.create_endpoint_config(aliases=["postgrest"])
        return self._engine.container(
            f"rest-{secrets.token_hex(2)}",
            "postgrest",
            network=self._network,
            networking_config={self._network: alias},
            volumes=mounted(self._rest_files),
        )

    def _make_gateway(self) -> Container:
        files = {"keys.conf": keys_conf(self.service_key, self.publishable_key, self.jwt_secret)}
        return self._engine.container(
            "gateway",
            "gateway",
            network=self._network,
            ports={"8000/tcp": ("127.0.0.1", None)},
            volumes=mounted(self._engine.secret_files("gateway", "gateway", files)),
        )

    def _passes_on(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/rest/v1/", headers={"apikey": self.service_key}).is_success
        return False


def password_files(passwords: Mapping[str, str]) -> dict[str, str]:
    """Return the secret files of the database for the passwords of its roles."""
    return {f"{role}_password": password for role, password in passwords.items()}


def mounted(secret_files: str) -> dict[str, dict[str, str]]:
    """Return how a container mounts a volume of secret files."""
    return {secret_files: {"bind": MOUNT, "mode": "ro"}}


def data_mounted(volume: str) -> dict[str, dict[str, str]]:
    """Return how the database mounts its volume."""
    return {volume: {"bind": DATABASE_FOLDER, "mode": "rw"}}


def published_port(container: Container, inside: int) -> int:
    """Return where a container's port is on loopback; each start may move it."""
    container.reload()
    bindings = container.ports[f"{inside}/tcp"]
    assert bindings, f"{container.name} does not run"
    return int(bindings[0]["HostPort"])


def database_url(container: Container, role: str, password: str) -> str:
    """Return the address of a running database for a role."""
    return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{published_port(container, 5432)}/postgres"


def connects(db_url: str) -> bool:
    """Tell whether the database lets this role in."""
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(db_url, connect_timeout=5).close()
        return True
    return False
