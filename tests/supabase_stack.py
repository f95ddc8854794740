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

import httpx
import psycopg
from docker.errors import NotFound

from aragora_persist.cloud.models import MODELS
from infra.components.gateway_keys import keys_conf
from infra.components.secret_files import MOUNT
from infra.toolchain.environment import REPOSITORY as ROOT
from tests.image_fixtures import built_image
from tests.integration.container_fixtures import RESTRICTED
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker
    from docker.models.containers import Container

LABEL = "io.aragora.test"
_EVERY_S = 0.02
_TMPFS = {"/tmp": "rw,noexec,nosuid,nodev,size=256m"}  # noqa: S108 - the containers' own


class Engine:
    """Makes containers, volumes and networks of one test, and removes exactly those at the end."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self.prefix = f"aragora-persist-test-{secrets.token_hex(4)}"
        self._made = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def network(self) -> str:
        """Make a network; return its name."""
        network = self.client.networks.create(self.prefix, labels={LABEL: self.prefix})
        self._made.callback(network.remove)
        return self.prefix

    def volume(self, part: str) -> str:
        """Make an empty volume; return its name."""
        volume = self.client.volumes.create(f"{self.prefix}-{part}", labels={LABEL: self.prefix})
        self._made.callback(volume.remove)
        return str(volume.name)

    def container(self, part: str, image: str, **more: Any) -> Container:  # noqa: ANN401 - docker-py's own arguments
        """Make a container of one of the tier's images, restricted as `up` restricts it; it does not run yet."""
        container = self.client.containers.create(
            built_image(self.client, image),
            name=f"{self.prefix}-{part}",
            labels={LABEL: self.prefix},
            tmpfs=_TMPFS,
            **{**RESTRICTED, **more},
        )
        self._made.callback(_remove, container)
        return container

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
            labels={LABEL: self.prefix},
            volumes={volume: {"bind": MOUNT, "mode": "rw"}},
        )
        try:
            carrier.put_archive(MOUNT, archive.getvalue())
        finally:
            carrier.remove()


class LocalSupabase:
    """A running Supabase with the schema applied and no rows."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._engine = Engine(client)
        self.service_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(24)}"
        self.jwt_secret = secrets.token_urlsafe(48)
        self.passwords = {role: secrets.token_urlsafe(24) for role in ("postgres", "supabase_admin", "authenticator")}

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
        return f"http://127.0.0.1:{_port(self.gateway, 8000)}"

    @property
    def db_url(self) -> str:
        """The database as ``postgres``, the role that owns the schema and is no superuser."""
        return self._db_url("postgres")

    @property
    def admin_db_url(self) -> str:
        """The database as its superuser."""
        return self._db_url("supabase_admin")

    def stop_rest(self) -> None:
        """Stop PostgREST; the gateway stays."""
        self.rest.stop(timeout=5)

    def start_rest(self) -> None:
        """Start PostgREST and wait until requests go through."""
        self.rest.start()
        self.wait_ready()

    def empty(self) -> None:
        """Take every row out of every table."""
        tables = ", ".join(f"public.{kind.TABLE}" for kind in MODELS)
        with psycopg.connect(self.admin_db_url) as connection:
            connection.execute(f"TRUNCATE {tables}".encode())

    def wait_ready(self) -> None:
        """Wait until a request goes all the way."""

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/rest/v1/", headers={"apikey": self.service_key}).is_success
            return False

        wait_until(answers, "the gateway to pass a request on", every_s=_EVERY_S)

    def _start(self) -> None:
        make, network = self._engine.container, self._engine.network()
        self.db = make(
            "db",
            "postgres",
            network=network,
            ports={"5432/tcp": ("127.0.0.1", None)},
            volumes=_mounted(
                self._engine.secret_files(
                    "db", "postgres", {f"{role}_password": word for role, word in self.passwords.items()}
                ),
                **{self._engine.volume("data"): "/var/lib/postgresql"},
            ),
        )
        self.db.start()
        db_uri = f"postgresql://authenticator:{self.passwords['authenticator']}@{self.db.name}:5432/postgres"
        files = {"db_uri": db_uri, "jwt_secret": self.jwt_secret}
        volumes = _mounted(self._engine.secret_files("rest", "postgrest", files))
        alias = self._engine.client.api.create_endpoint_config(aliases=["postgrest"])
        self.rest = make("rest", "postgrest", network=network, networking_config={network: alias}, volumes=volumes)
        files = {"keys.conf": keys_conf(self.service_key, self.publishable_key, self.jwt_secret)}
        volumes = _mounted(self._engine.secret_files("gateway", "gateway", files))
        ports = {"8000/tcp": ("127.0.0.1", None)}
        self.gateway = make("gateway", "gateway", network=network, ports=ports, volumes=volumes)
        self.gateway.start()
        wait_until(self._database_answers, "the database to answer", every_s=_EVERY_S)
        self._apply_migrations()
        self.rest.start()
        self.wait_ready()

    def _apply_migrations(self) -> None:
        with psycopg.connect(self.db_url) as connection:
            for file in sorted((ROOT / "supabase" / "migrations").glob("*.sql")):
                connection.execute(file.read_bytes())

    def _database_answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.db_url, connect_timeout=5).close()
            return True
        return False

    def _db_url(self, role: str) -> str:
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{_port(self.db, 5432)}/postgres"


def _mounted(secret_files: str, **volumes: str) -> dict[str, dict[str, str]]:
    return {secret_files: {"bind": MOUNT, "mode": "ro"}} | {
        name: {"bind": folder, "mode": "rw"} for name, folder in volumes.items()
    }


def _port(container: Container, inside: int) -> int:
    """Return where a container's port is on loopback; a restart may move it."""
    container.reload()
    bindings = container.ports[f"{inside}/tcp"]
    assert bindings
    return int(bindings[0]["HostPort"])


def _remove(container: Container) -> None:
    with contextlib.suppress(NotFound):
        container.remove(force=True, v=True)
