"""The gateway and PostgREST by themselves: what they say without their secrets, and when there is no room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from infra.components.gateway_keys import keys_conf
from tests.supabase_stack import Engine, mounted, published_port
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest_plugins = ("tests.image_fixtures",)
pytestmark = pytest.mark.engine

_KEY = "sb_secret_" + "s" * 24
_KEYS = keys_conf(_KEY, "sb_publishable_" + "p" * 24, "j" * 32)


@pytest.fixture
def engine(docker_engine: docker.DockerClient) -> Iterator[Engine]:
    """Give what makes containers and volumes, and takes them away."""
    with Engine(docker_engine) as made:
        yield made


@pytest.mark.parametrize(
    ("image", "files", "missing"),
    [
        ("gateway", {}, "keys.conf"),
        ("postgrest", {}, "db_uri"),
        ("postgrest", {"db_uri": "postgresql://authenticator:a-password@db:5432/postgres"}, "jwt_secret"),
    ],
)
def test_a_start_without_its_secrets_names_the_file(
    engine: Engine, image: str, files: dict[str, str], missing: str
) -> None:
    """It ends at once, so that it is not taken for one that runs, and shows nothing of the secrets it has."""
    container = engine.container("part", image, volumes=mounted(engine.secret_files("part", image, files)))
    container.start()
    assert container.wait(timeout=PATIENCE_S)["StatusCode"] == 1
    said = container.logs().decode()
    assert f"/run/secrets/aragora/{missing}" in said
    assert "a-password" not in said


def test_a_body_that_finds_no_room_may_be_sent_again(engine: Engine) -> None:
    """Bodies wait in memory of a fixed size: when it is full, the caller is told to try later, and others go on."""
    container = engine.container(
        "gateway",
        "gateway",
        ports={"8000/tcp": ("127.0.0.1", None)},
        volumes=mounted(engine.secret_files("gateway", "gateway", {"keys.conf": _KEYS})),
        tmpfs={"/tmp": "rw,noexec,nosuid,nodev,size=4m"},  # noqa: S108 - the container's own
    )
    container.start()
    wait_until(lambda: container.exec_run(["healthy"]).exit_code == 0, "the gateway to answer")
    with httpx.Client(base_url=f"http://127.0.0.1:{published_port(container, 8000)}", timeout=PATIENCE_S) as client:
        answer = client.post("/rest/v1/stream_events", headers={"apikey": _KEY}, content=b" " * (8 * 2**20))
        assert (answer.status_code, answer.json()["hint"]) == (503, "try again in a few seconds")
        assert client.get("/").status_code == 404
    assert _KEY not in container.logs().decode()
