"""The tier's images through Testcontainers, as a CI starts them: the database alone, and everything at once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import ExecWaitStrategy

from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.schema.apply import apply_schema
from aragora_persist.settings import Secret
from infra.components.gateway_keys import keys_conf
from infra.components.secret_files import MOUNT
from tests.built_images import RESTRICTED, built_image
from tests.supabase_stack import DATABASE_FOLDER, ROLES_WITH_PASSWORDS, Engine, password_files
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest_plugins = ("tests.image_fixtures", "tests.integration.container_fixtures")
pytestmark = pytest.mark.engine

SERVICE_KEY = f"sb_secret_{secrets.token_urlsafe(24)}"
_EVERY_S = 0.05


@pytest.fixture
def engine(docker_engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Give what makes volumes and a network, and takes away all that carries its label."""
    monkeypatch.setattr(testcontainers_config, "sleep_time", _EVERY_S)
    monkeypatch.setattr(testcontainers_config, "max_tries", int(PATIENCE_S / _EVERY_S))
    with Engine(docker_engine) as made:
        yield made


class _Parts:
    """The parts of the whole, each started when the ones before it are ready."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._network = engine.network()
        self._passwords = {role: secrets.token_urlsafe(24) for role in ROLES_WITH_PASSWORDS}
        self._jwt_secret = secrets.token_urlsafe(48)

    def database(self) -> str:
        """Start the database; return its address."""
        files, data = password_files(self._passwords), {self._engine.volume("data"): DATABASE_FOLDER}
        ready = ("pg_isready", "--host=127.0.0.1")
        started = self._part("db", "postgres", files, data).with_exposed_ports(5432).waiting_for(_runs(*ready)).start()
        at = f"{started.get_container_host_ip()}:{started.get_exposed_port(5432)}"
        return f"postgresql://postgres:{self._passwords['postgres']}@{at}/postgres"

    def rest(self) -> None:
        """Start PostgREST."""
        db_uri = f"postgresql://authenticator:{self._passwords['authenticator']}@db:5432/postgres"
        part = self._part("postgrest", "postgrest", {"db_uri": db_uri, "jwt_secret": self._jwt_secret})
        part.waiting_for(_runs("wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3001/ready")).start()

    def gateway(self) -> None:
        """Start the gateway."""
        files = {"keys.conf": keys_conf(SERVICE_KEY, f"sb_publishable_{secrets.token_urlsafe(24)}", self._jwt_secret)}
        self._part("gateway", "gateway", files).waiting_for(_runs("healthy")).start()

    def service(self) -> DockerContainer:
        """Start the service of the SQLite databases, which sends to the gateway what waits in the outbox."""
        files, data = {"supabase_key": SERVICE_KEY}, {self._engine.volume("sqlite"): "/data"}
        part = self._part("sqlite", "persist", files, data).with_command(cast("str", ["serve"]))
        part.with_envs(SUPABASE_URL="http://gateway:8000", SUPABASE_KEY_FILE=f"{MOUNT}/supabase_key")
        return part.waiting_for(_runs("aragora-persist", "serve", "--probe")).start()

    def _part(
        self, name: str, image: str, files: dict[str, str], volumes: dict[str, str] | None = None
    ) -> DockerContainer:
        part = DockerContainer(built_image(self._engine.client, image))
        alias = self._engine.client.api.create_endpoint_config(aliases=[name])
        part.with_kwargs(
            **RESTRICTED, labels=self._engine.labels, network=self._network, networking_config={self._network: alias}
        )
        part.with_tmpfs_mount("/tmp", "rw,noexec,nosuid,nodev,size=64m")  # noqa: S108 - the container's own
        part.with_volume_mapping(self._engine.secret_files(name, image, files), MOUNT, "ro")
        for volume, folder in (volumes or {}).items():
            part.with_volume_mapping(volume, folder, cast("Any", "rw"))
        return part


def _runs(*command: str) -> ExecWaitStrategy:
    """Wait until a command in the container succeeds."""
    strategy = ExecWaitStrategy(list(command))
    strategy.with_poll_interval(_EVERY_S)
    return strategy


@pytest.mark.parametrize(
    ("user", "password", "database"), [(None, None, None), ("Owner", "it's-a-\\-secret", "orders")]
)
def test_the_database_is_a_postgres_container_as_any_other(
    engine: Engine, user: str | None, password: str | None, database: str | None
) -> None:
    """Testcontainers' own class starts it with a user, a password and a database of its choice."""
    image = built_image(engine.client, "postgres")
    container = PostgresContainer(
        image, username=user, password=password, dbname=database, driver=None, labels=engine.labels
    )
    with container as postgres, psycopg.connect(postgres.get_connection_url()) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == (
            user or "test",
            database or "test",
        )
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        connection.execute("CREATE EXTENSION pgtap")
        roles = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname IN ('anon', 'service_role')")
        assert roles.fetchone() == (2,)


def test_the_whole_of_it(engine: Engine) -> None:
    """A record that a service lets wait arrives in Supabase: outbox, worker, gateway, PostgREST, table."""
    parts = _Parts(engine)
    db_url = parts.database()
    apply_schema(Secret(db_url))
    parts.rest()
    parts.gateway()
    service = parts.service()
    enqueue = (
        "from datetime import datetime, UTC\n"
        "from aragora_persist.cloud.models import StreamEvent\n"
        "from aragora_persist.cloud.outbox import Outbox\n"
        "event = StreamEvent('loop', 1, 'note', {'text': 'zeile ü'}, timestamp=datetime(2026, 1, 2, tzinfo=UTC))\n"
        "with Outbox() as outbox: outbox.enqueue([event.to_record()])"
    )
    done = service.exec(["python3", "-c", enqueue])
    assert done.exit_code == 0, done.output

    with psycopg.connect(db_url, autocommit=True) as connection:
        arrived = "SELECT loop_id, event_data->>'text' FROM stream_events"
        wait_until(lambda: connection.execute(arrived).fetchall() == [("loop", "zeile ü")], "the record to arrive")
        counts = [connection.execute(f"SELECT count(*) FROM {model.TABLE}").fetchone() for model in MODELS]
    assert sum(row[0] for row in counts if row) == 1
