"""From nothing to a running stack and back, over the real CLI, the real engine and real records."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from pulumi import automation
from pyrage import x25519

from aragora_persist.databases import DATABASES
from infra.build_context import IGNORE_FILE, sent_files
from infra.naming import resource_name
from infra.toolchain.environment import REPOSITORY as ROOT
from tests.e2e import records
from tests.e2e.arrivals import check_imports, check_strangers, wait_delivered
from tests.e2e.kills import kill_the_sender
from tests.e2e.running_stack import RunningStack, changes, succeeds, wait_for

if TYPE_CHECKING:
    import docker

pytest_plugins = ("tests.image_fixtures", "tests.e2e.stack_fixtures")
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

_EVERY_S = 5
"""The backup interval of the test's stacks."""


def test_a_stack_from_up_to_delete_data(
    stack: RunningStack, docker_engine: docker.DockerClient, python_image: str, tmp_path: Path
) -> None:
    """Records survive everything that happens to a stack, every change concerns only what it must, nothing is left."""
    release = _up(stack)
    clone = _import_records(stack, tmp_path)
    wait_delivered(stack)
    check_imports(stack, clone)
    check_strangers(stack)
    _compare_newest_backup(stack)
    _kill_first_process(stack, python_image)
    kill_the_sender(stack, python_image)
    _remove_container(stack)
    tree = _copy_of_tree(tmp_path)
    _edit_applied_migration(stack, tree)
    _add_column_by_hand(stack, tree)
    _break_image(stack, tree)
    assert _edit_image(stack, tree) != release
    _down_and_up(stack)
    check_imports(stack, clone)
    check_strangers(stack)
    _read_as_service(stack, docker_engine, python_image, release)
    _delete_data(stack)


def _up(stack: RunningStack) -> str:
    """Bring the stack up as an operator does; return the release of the library."""
    settings = (f"backupIntervalSeconds={_EVERY_S}", f"backupRecipients=[{_add_identity(stack)}]")
    arguments = [argument for setting in settings for argument in ("--config", setting)]
    said = succeeds(stack.script("up", *stack.ports(), *arguments))
    assert f"http://127.0.0.1:{stack.port}/" in said
    assert f"supabase: http://127.0.0.1:{stack.supabase_port}" in said
    assert f"database on port {stack.db_port}" in said
    assert f"schema {max((ROOT / 'supabase' / 'migrations').glob('*.sql')).stem}" in said
    assert str(stack.files.supabase_env) in said
    assert not [key for key in stack.files.secret_config().values() if max(key.splitlines(), key=len) in said]
    for database in DATABASES:
        assert re.search(rf"{database.name} +schema [1-9]\d* +backup verified .* ago", said)
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/", timeout=10) as page:
        assert page.status == 200
        assert b"aragora" in page.read().lower()
    stack.run("sqlite", "python3", "-c", records.MAKE_USER)
    return _release(stack)


def _add_identity(stack: RunningStack) -> str:
    """Write the identity that reads encrypted backups into the stack's secrets, by hand; return its public key."""
    with stack.files.locked():
        stack.files.write({})
    identity = x25519.Identity.generate()
    stack.files.secrets.write_text(json.dumps({**stack.files.secret_config(), "backupIdentity": str(identity)}))
    return str(identity.to_public())


def _release(stack: RunningStack) -> str:
    release = stack.container("library", "publish").logs().decode().strip()
    assert re.fullmatch(r"/library/releases/[0-9a-f]{64}", release)
    return release


def _import_records(stack: RunningStack, tmp_path: Path) -> Path:
    """Import this repository's history and a replay inside the service's container; return what was imported."""
    clone = tmp_path / "history.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(clone)], check=True, timeout=60)
    stack.send("sqlite", "/tmp", records.archive(clone, records.trace()))  # noqa: S108 - the container's own
    imported = stack.ask("sqlite", "import", "git", "/tmp/history.git")  # noqa: S108 - as above
    assert imported["commits"] == imported["cycles"] == int(records.git(clone, "rev-list", "--count", "HEAD"))
    again = stack.ask("sqlite", "import", "git", "/tmp/history.git")  # noqa: S108 - as above
    assert (again["commits"], again["cycles"], again["file_changes"]) == (imported["commits"], 0, 0)
    assert stack.ask("sqlite", "import", "replay", "/tmp/trace.json")["is_new"] is True  # noqa: S108 - as above
    return clone


def _compare_newest_backup(stack: RunningStack) -> None:
    """Restore the newest backups into scratch, once they hold the import, and compare every row with the live ones."""
    taken = _newest_backups(stack)

    def all_newer() -> bool:
        newest = _newest_backups(stack)
        return all(newest[name] != taken[name] for name in taken)

    stack.run("supabase/backup", "aragora-persist", "backup", "--db", "supabase")
    stack.run("supabase/backup", "aragora-persist", "drill", "--db", "supabase")
    wait_for(all_newer, "the sidecar's next backups")  # which it has taken meanwhile
    for name in ("outbox", "replay", "users"):
        scratch = f"/tmp/{name}.db"  # noqa: S108 - the container's own
        stack.run("sqlite/backup", "aragora-persist", "restore", name, "--to", scratch)
        rows = stack.run("sqlite/backup", "python3", "-c", records.COMPARE, f"/data/aragora_{name}.db", scratch)
        assert int(rows) > 1
    kept = {name for name in stack.run("sqlite/backup", "ls", "/backups").split() if ".db" in name}
    assert kept
    assert {name for name in kept if not name.endswith(".db.zst.age")} == set()


def _newest_backups(stack: RunningStack) -> dict[str, str]:
    status = stack.ask("sqlite/backup", "status")
    return {one["name"]: one["newest_backup"]["id"] for one in status["databases"]}


def _kill_first_process(stack: RunningStack, python_image: str) -> None:
    """Kill the service's first process from the host; the engine starts it again, and a second `up` changes nothing."""
    service = stack.container("sqlite")
    pid, started = service.attrs["State"]["Pid"], service.attrs["State"]["StartedAt"]
    # Through a container that sees the host's processes: the test's user need not be root.
    stack.client.containers.run(
        python_image, ["python3", "-c", f"import os; os.kill({pid}, 9)"], pid_mode="host", user="0", remove=True
    )
    wait_for(lambda: stack.container("sqlite").attrs["State"]["StartedAt"] != started, "a new start")
    stack.wait_healthy("sqlite")
    with stack.pulumi() as pulumi:
        assert changes(pulumi.up(color="never").summary.resource_changes) == {}


def _remove_container(stack: RunningStack) -> None:
    """Remove the service's container behind Pulumi's back; the next up makes that one container again."""
    before = stack.ids()
    stack.container("sqlite").remove(force=True)
    with stack.pulumi() as pulumi:
        assert changes(pulumi.up(color="never").summary.resource_changes) == {"create": 1}
    after = stack.ids()
    assert {name for name in after if after[name] != before.get(name)} == {resource_name(stack.name, "sqlite")}
    stack.wait_healthy("sqlite")


def _edit_applied_migration(stack: RunningStack, tree: Path) -> None:
    """Edit what was applied: the preview refuses it and names the file, `up` does before it changes anything."""
    before = stack.ids()
    first = min((tree / "supabase" / "migrations").glob("*.sql"))
    whole = first.read_text()
    first.write_text(f"{whole}select 1;\n")
    with stack.pulumi(tree) as pulumi, pytest.raises(automation.CommandError, match=f"{first.stem}: was applied"):
        pulumi.preview(color="never")
    refused = stack.up(root=tree)
    assert (refused.returncode, stack.ids()) == (1, before)
    assert f"{first.stem}: was applied" in refused.stderr
    first.write_text(whole)


def _add_column_by_hand(stack: RunningStack, tree: Path) -> None:
    """Change a table behind everybody's back: the preview names what is different, and changes nothing.

    Nor does one of a tree in which only what is in no image was edited.
    """

    def preview(root: Path) -> str:
        with stack.pulumi(root) as pulumi:
            previewed = pulumi.preview(color="never")
        assert changes(previewed.change_summary) == {}
        return previewed.stdout + previewed.stderr

    drift = "drift: public.nomic_cycles: column by_hand"
    with closing(psycopg.connect(stack.supabase_env()["SUPABASE_DB_URL"], autocommit=True)) as database:
        database.execute("ALTER TABLE nomic_cycles ADD COLUMN by_hand text")
        assert drift in preview(ROOT)
        database.execute("ALTER TABLE nomic_cycles DROP COLUMN by_hand")
    (tree / "README.md").write_text("Not part of the image.")
    assert "drift" not in preview(tree)


def _break_image(stack: RunningStack, tree: Path) -> None:
    """Let a build of one half fail while the other half is updated: that is new, and what ran of this one goes on."""
    before = stack.ids()
    dockerfile = tree / "docker" / "gateway" / "Dockerfile"
    whole = dockerfile.read_text()
    dockerfile.write_text(whole + "RUN sleep 5 && echo this build is broken && false\n")
    _append(tree / "aragora_persist" / "__init__.py", "EDITED = 1")
    failed = stack.up(root=tree)
    dockerfile.write_text(whole)
    assert failed.returncode == 1
    assert "this build is broken" in failed.stdout
    after = stack.ids()
    assert {name for name in after | before if after.get(name) != before.get(name)} == _of_the_image(stack)
    for parts in (("sqlite",), ("sqlite", "backup"), ("supabase", "gateway"), ("supabase", "backup")):
        stack.wait_healthy(*parts)


def _of_the_image(stack: RunningStack) -> set[str]:
    """Return the containers that run from the tier's own image, or from one that is made of it."""
    parts = (("library", "publish"), ("sqlite",), ("sqlite", "backup"), ("supabase", "backup"))
    return {resource_name(stack.name, *each) for each in parts}


def _append(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text()}\n{line}\n")


def _edit_image(stack: RunningStack, tree: Path) -> str:
    """Edit a file of the image; the preview tells what `up` then replaces, and the rest stays. Return the release."""
    before, volumes = stack.ids(), stack.left()["volumes"]
    _append(tree / "aragora_persist" / "__init__.py", "EDITED = 2")
    with stack.pulumi(tree) as pulumi:
        foretold = changes(pulumi.preview(color="never").change_summary)
        assert changes(pulumi.up(color="never").summary.resource_changes) == foretold == {"replace": 6}
    after = stack.ids()
    assert {name for name in after if after[name] != before[name]} == _of_the_image(stack)
    assert stack.left()["volumes"] == volumes
    return _release(stack)


def _copy_of_tree(tmp_path: Path) -> Path:
    """Copy what a program and its image are made of; the environment is this tree's own."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "infra", tree / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    projects = (each.relative_to(ROOT) for each in ROOT.glob("Pulumi*.yaml"))
    for path in (Path(IGNORE_FILE), *sent_files(ROOT), *projects):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tree / path)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    return tree


def _down_and_up(stack: RunningStack) -> None:
    """Take the stack down and up; the volumes stayed, and the service accepts its data with the secrets it is given."""
    parts = [(holder, content) for holder in ("sqlite", "supabase") for content in ("data", "backups")]
    volumes = {resource_name(stack.name, *part) for part in parts}
    files = (stack.files.passphrase, stack.files.secrets, stack.files.supabase_env)
    kept = [path.read_text() for path in files]
    said = succeeds(stack.script("down"))
    assert all(volume in said.splitlines()[-2] for volume in volumes), said
    left = stack.left()
    assert (left["containers"], left["networks"], set(left["volumes"])) == ([], [], volumes)
    succeeds(stack.up())
    assert [path.read_text() for path in files] == kept
    stack.wait_healthy("sqlite")
    keys = json.loads(stack.files.secrets.read_text())
    for file, key in (("encryption_key", "encryptionKey"), ("audit_signing_key", "auditSigningKey")):
        assert stack.run("sqlite", "cat", f"/run/secrets/aragora/{file}") == keys[key]
    stack.run("sqlite", "test", "-s", "/data/encryption-key.check")
    head = "from aragora_persist.storage.audit_store import AuditStore; print(AuditStore().head().to_text())"
    assert '"signature"' in stack.run("sqlite", "python3", "-c", head)


def _read_as_service(stack: RunningStack, docker_engine: docker.DockerClient, image: str, older: str) -> None:
    """Read the data in a container with nothing but Python, through the mounted library; older releases are there."""
    release = _release(stack)
    output = docker_engine.containers.run(
        image,
        ["python3", "-c", records.READ_AS_SERVICE],
        user="10001:10001",
        environment={"PYTHONPATH": release, "NOMIC_DIR": "/data"},
        volumes={
            resource_name(stack.name, "library"): {"bind": "/library", "mode": "ro"},
            resource_name(stack.name, "sqlite", "data"): {"bind": "/data", "mode": "rw"},
        },
        network_mode="none",
        read_only=True,
        remove=True,
    )
    email, replay, module = json.loads(output)
    assert email == records.EMAIL
    assert json.loads(replay) == json.loads(records.trace())
    assert module == f"{release}/aragora_persist/__init__.py"
    docker_engine.containers.run(
        image,
        ["sh", "-c", f'test -d {older} && test "$(readlink -f /library/current)" = {release}'],
        volumes={resource_name(stack.name, "library"): {"bind": "/library", "mode": "ro"}},
        remove=True,
    )


def _delete_data(stack: RunningStack) -> None:
    """Remove everything; without the stack's name, nothing is touched, and the secrets outlive even this."""
    before = stack.left()
    refused = stack.script("down", "--delete-data", "--yes", "another")
    assert (refused.returncode, stack.left()) == (1, before)
    succeeds(stack.script("down", "--delete-data", "--yes", stack.name))
    assert stack.left() == {"containers": [], "volumes": [], "networks": [], "images": []}
    assert stack.files.passphrase.exists()
    assert stack.files.secrets.exists()
    assert not stack.files.supabase_env.exists()
