"""A Supabase of the stack's own: PostgreSQL, PostgREST, and the gateway that knows the keys, each in a container.

Each is healthy when its image says so. The three speak with each other in a network that leads nowhere else.
The gateway is also in the services' network, as ``supabase``; the database is in none that a service is in, and has one
of its own for its loopback port. Deliberately does not make keys and passwords, which a retained volume keeps needing,
and holds no schema: ``SupabaseSchema`` applies it. Of what a hosted project has, this is the database and the REST
interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import Restricted, always_running, replaced_whole, restricted
from infra.components.data_volumes import kept_volume
from infra.components.gateway_keys import keys_conf
from infra.components.networks import stack_network
from infra.components.secret_files import SecretFiles
from infra.naming import SUPABASE
from infra.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import StackSettings, SupabaseSecrets, SupabaseSettings

_GATEWAY_PORT, _DB_PORT = 8000, 5432
URL_IN_NETWORK = f"http://{SUPABASE}:{_GATEWAY_PORT}"
"""Where services find it."""

_DB_SHARED_MB = 256
_DB_READY_S, _DB_STOP_S = 180, 60
"""PostgreSQL may have a log to replay when it starts, and sessions to end and memory to write when it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupabaseImages:
    """The images that it runs from."""

    postgres: pulumi.Input[str]
    postgrest: pulumi.Input[str]
    gateway: pulumi.Input[str]


class SupabaseStack(pulumi.ComponentResource):
    """A running Supabase; ``database`` is the container that ``database_url``, a secret, leads to.

    In the network ``inside`` it is at ``inside_url``.
    """

    database: docker.Container
    database_url: pulumi.Output[str]
    inside: pulumi.Output[str]
    inside_url: pulumi.Output[str]
    data_volume: pulumi.Output[str]

    def __init__(
        self,
        at: SupabaseSettings,
        *,
        settings: StackSettings,
        images: SupabaseImages,
        secrets: SupabaseSecrets,
        network: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aragora:persist:SupabaseStack", SUPABASE, None, opts)
        self._stack, self._memory_mb = settings.stack, settings.memory_mb
        self.inside = stack_network(settings.stack, SUPABASE, "internal", internal=True, parent=self)
        self.data_volume = kept_volume(SUPABASE, "data", stack=settings.stack, parent=self)
        self.database = self._make_database(images.postgres, secrets, at.db_port)
        rest = self._make_rest(images.postgrest, secrets)
        self._make_gateway(images.gateway, secrets, at.port, network, rest)
        self.database_url = secrets.db_password.apply(at.database_url)
        self.inside_url = secrets.db_password.apply(
            lambda password: f"postgresql://postgres:{password}@db:{_DB_PORT}/postgres"
        )
        self.register_outputs({"data_volume": self.data_volume})

    def _make_database(self, image: pulumi.Input[str], secrets: SupabaseSecrets, port: int) -> docker.Container:
        files = self._files(
            "db",
            image,
            {
                "postgres_password": secrets.db_password,
                "supabase_admin_password": secrets.admin_password,
                "authenticator_password": secrets.authenticator_password,
            },
        )
        data = docker.ContainerVolumeArgs(volume_name=self.data_volume, container_path="/var/lib/postgresql")
        return docker.Container(
            f"{SUPABASE}-db",
            **self._restricted("db", image, files),
            **always_running(ready_s=_DB_READY_S, stop_s=_DB_STOP_S),
            volumes=[data, files.mount],
            shm_size=_DB_SHARED_MB,
            ports=[docker.ContainerPortArgs(internal=_DB_PORT, external=port, ip=LOOPBACK)],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=self.inside, aliases=["db"]),
                # A port is published only from a network that leads somewhere.
                docker.ContainerNetworksAdvancedArgs(
                    name=stack_network(self._stack, SUPABASE, "published", parent=self)
                ),
            ],
            opts=replaced_whole(self),
        )

    def _make_rest(self, image: pulumi.Input[str], secrets: SupabaseSecrets) -> docker.Container:
        db_uri = secrets.authenticator_password.apply(
            lambda password: f"postgresql://authenticator:{password}@db:{_DB_PORT}/postgres"
        )
        files = self._files("rest", image, {"db_uri": db_uri, "jwt_secret": secrets.jwt_secret})
        arguments = self._restricted("rest", image, files)
        # Made anew with each new database: left alone, it would look for it less and less often.
        arguments["labels"].append(docker.ContainerLabelArgs(label="io.aragora.database", value=self.database.id))
        return docker.Container(
            f"{SUPABASE}-rest",
            **arguments,
            **always_running(ready_s=120),
            volumes=[files.mount],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=self.inside, aliases=["postgrest"])],
            opts=replaced_whole(self),
        )

    def _make_gateway(
        self,
        image: pulumi.Input[str],
        secrets: SupabaseSecrets,
        port: int,
        network: pulumi.Input[str],
        rest: docker.Container,
    ) -> None:
        keys = pulumi.Output.all(secrets.service_key, secrets.publishable_key, secrets.jwt_secret)
        files = self._files("gateway", image, {"keys.conf": keys.apply(lambda three: keys_conf(*three))})
        docker.Container(
            f"{SUPABASE}-gateway",
            **self._restricted("gateway", image, files),
            **always_running(ready_s=120),
            volumes=[files.mount],
            ports=[docker.ContainerPortArgs(internal=_GATEWAY_PORT, external=port, ip=LOOPBACK)],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=self.inside),
                docker.ContainerNetworksAdvancedArgs(name=network, aliases=[SUPABASE]),
            ],
            opts=replaced_whole(self, rest),
        )

    def _files(self, part: str, image: pulumi.Input[str], files: Mapping[str, pulumi.Input[str]]) -> SecretFiles:
        return SecretFiles(
            f"{SUPABASE}-{part}-secrets",
            stack=self._stack,
            image=image,
            files=files,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _restricted(self, part: str, image: pulumi.Input[str], files: SecretFiles) -> Restricted:
        arguments = restricted(self._stack, (SUPABASE, part), image, self._memory_mb)
        arguments["labels"].append(files.label)
        return arguments
