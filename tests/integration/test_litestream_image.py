"""The image with Litestream, in a container as restricted as `up` makes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aragora_persist.times import from_text, to_text, utc_now
from tests.built_images import built_image
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker
    from testcontainers.core.container import DockerContainer

pytest_plugins = ("tests.image_fixtures", "tests.integration.container_fixtures")
pytestmark = pytest.mark.engine

ADD = """
import sys
from aragora_persist.storage.sqlite.engine import open_engine
with open_engine(None, "tokens") as engine:
    add = "INSERT OR REPLACE INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, 'x', hex(randomblob(9)))"
    engine.write("add", lambda tx: tx.execute(add, (sys.argv[1],)))
"""
LIST = """
import sqlite3, sys
print(*(row[0] for row in sqlite3.connect(sys.argv[1]).execute("SELECT jti FROM token_blacklist ORDER BY jti")))
"""


def run(container: DockerContainer, *command: str) -> str:
    """Run a command in a container; it has to succeed."""
    code, output = container.exec(list(command))
    assert isinstance(output, bytes)
    assert code == 0, output.decode()
    return output.decode()


def test_a_moment_is_restored_in_the_sidecar_and_the_rest_is_shipped_at_its_stop(
    docker_engine: docker.DockerClient, start: Callable[..., DockerContainer], volume: Callable[[], str]
) -> None:
    """It is healthy by what it ships, needs no network and no right, and ends with nothing left to ship."""
    more = {
        "image": built_image(docker_engine, "litestream"),
        "volumes": {volume(): "/data", volume(): "/backups", volume(): "/scratch"},
        "environment": {
            "ARAGORA_BACKUP_DIR": "/backups",
            "ARAGORA_LITESTREAM_URL": "file:///backups/litestream",
            "TMPDIR": "/scratch",
        },
        "network_mode": "none",
    }
    sidecar = start("replicate", "--db", "tokens", **more)
    run(sidecar, "python3", "-c", ADD, "a")
    written = utc_now()

    def is_shipped() -> bool:
        run(sidecar, "python3", "-c", ADD, "a")  # what was taken over before may be without it: this is later
        told = json.loads(run(sidecar, "aragora-persist", "status", "--json"))["litestream"]
        newest = told and told["databases"].get("tokens", {}).get("newest_shipped_at")
        return bool(newest) and from_text(newest) > written

    wait_until(is_shipped, "the first row to be shipped")
    run(sidecar, "aragora-persist", "replicate", "--max-lag", "60", "--db", "tokens")
    moment = to_text(utc_now())
    run(sidecar, "python3", "-c", ADD, "b")
    sidecar.get_wrapped_container().stop(timeout=60)
    assert sidecar.get_wrapped_container().wait()["StatusCode"] == 0
    sidecar = start("replicate", "--db", "tokens", **more)
    for at, rows in ((moment, "a\n"), (to_text(utc_now()), "a b\n")):
        target = f"/scratch/{rows.strip()}.db"
        run(sidecar, "aragora-persist", "restore", "tokens", "--at", at, "--to", target)
        assert run(sidecar, "python3", "-c", LIST, target) == rows
