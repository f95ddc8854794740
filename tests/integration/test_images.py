"""The image that `up` deploys, in containers as restricted as there."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from aragora_persist.databases import DATABASES
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from testcontainers.core.container import DockerContainer

    Start = Callable[..., DockerContainer]

pytest_plugins = ("tests.image_fixtures", "tests.integration.container_fixtures")
pytestmark = pytest.mark.engine


def _run(container: DockerContainer, *command: str) -> str:
    """Run a command in a running container; it has to succeed."""
    code, output = container.exec(list(command))
    assert isinstance(output, bytes)
    assert code == 0, output.decode()
    return output.decode()


def _finish(container: DockerContainer) -> tuple[int, str]:
    """Wait for a container's own end; return its exit code and what it wrote."""
    wrapped = container.get_wrapped_container()
    code = int(wrapped.wait(timeout=PATIENCE_S)["StatusCode"])
    return code, wrapped.logs().decode()


def _wait_for(container: DockerContainer, *command: str) -> None:
    """Wait until a command in the container succeeds."""
    try:
        wait_until(lambda: container.exec(list(command)).exit_code == 0, f"{command} to succeed")
    except AssertionError as error:
        error.add_note(str(container.get_logs()))
        raise


def test_the_image_holds_what_it_promises_and_nothing_of_its_build(start: Start) -> None:
    """A fixed SQLite, the package and git are there; no pip, no package lists, no authorities of the build host."""
    container = start("sleep 60", entrypoint=["sh", "-c"], volumes={})
    sqlite = _run(container, "python3", "-c", "import sqlite3; print(sqlite3.sqlite_version_info >= (3, 51, 3))")
    assert sqlite.strip() == "True"
    assert _run(container, "id", "-u").strip() == "10001"
    assert _run(container, "stat", "-c", "%u:%g %a", "/data", "/backups", "/library").split("\n")[:3] == [
        "10001:10001 700",
        "10001:10001 700",
        "10001:10001 755",
    ]
    assert _run(container, "aragora-persist", "--version").strip()
    assert _run(container, "git", "--version").startswith("git version")
    gone = "for f in /usr/bin/pip3 /usr/local/share/ca-certificates/*.crt /etc/apt/sources.list.d/sqlite.list"
    assert _run(container, "sh", "-c", f'{gone} /var/lib/apt/lists/*; do [ ! -e "$f" ] || echo "$f"; done') == ""


def test_a_service_migrates_serves_and_stops_cleanly(start: Start, volume: Callable[[], str]) -> None:
    """It runs without any right, is ready with every database migrated, and ends by itself when told to."""
    data = volume()
    service = start("serve", "--host", "0.0.0.0", volumes={data: "/data"}, port=8787)  # noqa: S104 - the container's
    _wait_for(service, "aragora-persist", "serve", "--probe")
    status = json.loads(_run(service, "aragora-persist", "status", "--json"))
    assert [one["name"] for one in status["databases"]] == [database.name for database in DATABASES]
    for one in status["databases"]:
        assert (one["present"], one["schema_pending"], one["problem"]) == (True, 0, None)
        assert one["schema_version"] == one["schema_latest"] > 0
    url = f"http://{service.get_container_host_ip()}:{service.get_exposed_port(8787)}/"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as page:
        assert page.status == 200
    assert _run(service, "sh", "-c", "touch /x 2>&1 || true").endswith("Read-only file system\n")
    wrapped = service.get_wrapped_container()
    wrapped.stop(timeout=10)
    assert _finish(service)[0] == 0
    left = start("ls /data", entrypoint=["sh", "-c"], volumes={data: "/data"})
    assert "-wal" not in _finish(left)[1]


def test_a_sidecar_s_backup_restores_to_the_same_rows(start: Start, volume: Callable[[], str]) -> None:
    """What a service wrote is in the sidecar's backup, which a drill has proved; without one nothing is healthy."""
    data, backups = volume(), volume()
    service = start("serve", volumes={data: "/data"})
    _wait_for(service, "aragora-persist", "serve", "--probe")
    make = (
        "from aragora_persist.storage.user_store import UserStore\nwith UserStore() as users: users.create('{}@b.org')"
    )
    for name in ("ann", "bob"):
        _run(service, "python3", "-c", make.format(name))
    environment = {"ARAGORA_BACKUP_DIR": "/backups"}
    mounted = {data: "/data", backups: "/backups"}
    sidecar = start("backup", "--every", "60", volumes=mounted, environment=environment)
    _wait_for(sidecar, "aragora-persist", "backups", "--health")
    _run(sidecar, "aragora-persist", "restore", "users", "--to", "/tmp/users.db")  # noqa: S108 - the container's own
    count = "import sqlite3; print(sqlite3.connect('/tmp/users.db').execute('SELECT email FROM users').fetchall())"
    assert _run(sidecar, "python3", "-c", count).strip() == "[('ann@b.org',), ('bob@b.org',)]"
    without = {data: "/data", volume(): "/backups"}
    code, said = _finish(start("backups", "--health", volumes=without, environment=environment))
    assert code == 1
    assert "no verified backup" in said


def test_a_service_refuses_data_of_another_key(start: Start, volume: Callable[[], str]) -> None:
    """A volume that was written under one key does not come up under another, and comes up under its own again."""
    data = volume()

    def serve(key: str) -> DockerContainer:
        script = f'printf %s {key} > /tmp/key && ARAGORA_ENCRYPTION_KEY_FILE=/tmp/key exec aragora-persist serve "$@"'
        return start(script, entrypoint=["sh", "-c"], volumes={data: "/data"})

    _wait_for(serve("a" * 44), "aragora-persist", "serve", "--probe")
    code, said = _finish(serve("b" * 44))
    assert code == 1
    assert "another encryption key" in said
    assert "b" * 44 not in said
    _wait_for(serve("a" * 44), "aragora-persist", "serve", "--probe")


def test_a_published_library_is_whole_kept_and_usable(
    start: Start, volume: Callable[[], str], python_image: str
) -> None:
    """Publishing again changes nothing, remains of a killed job go, older releases stay, a bare Python uses it."""
    library = volume()

    def publish(before: str = "true") -> str:
        script = f"{before} && publish-library /opt/aragora/lib /library"
        code, said = _finish(start(script, entrypoint=["sh", "-c"], volumes={library: "/library"}))
        assert code == 0, said
        return said.strip()

    remains = (
        "mkdir -p /library/releases/.unfinished-1/x /library/releases/older && ln -s x /library/.unfinished-current"
    )
    release = publish(remains)
    assert publish("ls -i /library/releases > /tmp/a") == release
    seen = start(
        "ls -A /library /library/releases; readlink -f /library/current",
        entrypoint=["sh", "-c"],
        volumes={library: "/library:ro"},
    )
    name = release.rsplit("/", 1)[1]
    listing = _finish(seen)[1].split()
    assert listing == ["/library:", "current", "releases", "/library/releases:", *sorted([name, "older"]), release]
    script = (
        "import aragora_persist, argon2\n"
        "from aragora_persist.storage.user_store import UserStore\n"
        "with UserStore(':memory:') as users: users.create('a@b.org', 'secret of some length')\n"
        "print(aragora_persist.__file__)"
    )
    bare = start(
        "python3",
        "-c",
        script,
        image=python_image,
        volumes={library: "/library:ro"},
        environment={"PYTHONPATH": release, "NOMIC_DIR": "/tmp"},  # noqa: S108 - the container's own
    )
    assert _finish(bare) == (0, f"{release}/aragora_persist/__init__.py\n")
