"""The arguments of `scripts/up` and `scripts/down`, and what they refuse before they touch anything."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from aragora_persist.cloud.schema import inspect_schema
from aragora_persist.errors import ConflictError, PersistError, UnreachableError
from aragora_persist.settings import Secret
from infra.backup_settings import read_backup_settings
from infra.settings import ServiceSettings, StackSettings, SupabaseSettings
from infra.stack import down, up
from infra.stack.engine import engine, is_free
from infra.stack.files import StackFiles, state_dir
from infra.stack.pulumi import Pulumi
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import docker

pytest_plugins = ("tests.image_fixtures",)
_NOBODY = 65534
SUPABASE = SupabaseSettings(port=2, db_port=3)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("arguments", [[], ["--yes", "other"]])
def test_data_is_deleted_only_by_its_stack_s_name(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, nothing but the right name goes on; nothing was even looked at."""
    assert down.main(["dev", "--delete-data", *arguments]) == 1
    assert "--delete-data --yes dev" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Whoever starts the tests in the background of a shell has them, and what they start, ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(("interrupted", "code"), [(False, 1), (True, 130)])
def test_a_question_that_is_not_answered_ends_in_a_sentence(*, interrupted: bool, code: int, tmp_path: Path) -> None:
    """Neither the end of the input nor an interrupt shows a traceback, and nothing was looked at."""
    terminal, its_stdin = os.openpty()
    command = [sys.executable, "-m", "infra.stack.down", "dev", "--delete-data"]
    with subprocess.Popen(
        command, cwd=up.ROOT, stdin=its_stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as asking:
        os.close(its_stdin)
        assert asking.stdout is not None
        assert asking.stdout.read(12) == b"This deletes"
        if interrupted:
            asking.send_signal(signal.SIGINT)
            os.write(terminal, b"\n")  # one that comes before it reads is seen when the reading ends
        else:
            os.write(terminal, b"\x04")
        said = asking.communicate(timeout=60)[1].decode()
    os.close(terminal)
    assert asking.returncode == code
    assert said.strip()
    assert "Traceback" not in said
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupted_command_never_counts_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi's exit code is 0 where it was interrupted before it began."""
    command = tmp_path / "tools" / "bin" / "pulumi"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\nsleep 1\nkill -INT $PPID\nsleep 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("ARAGORA_TOOLCHAIN_DIR", str(tmp_path / "tools"))
    files = StackFiles("unit-interrupted", root=up.ROOT, state=state_dir())
    with pytest.raises(PersistError, match="was interrupted"):
        Pulumi(files).show("up")


def test_a_checkout_without_its_environment_says_what_makes_it(tmp_path: Path) -> None:
    """`scripts/down` from a fresh clone is told the way out, instead of a file that the shell does not find."""
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(up.ROOT / "scripts" / "down", tmp_path / "scripts")
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "scripts/bootstrap" in done.stderr


@pytest.mark.parametrize("setting", ["port", "services={"])
def test_a_setting_is_a_key_and_a_value(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no KEY=VALUE is a usage error."""
    with pytest.raises(SystemExit) as caught:
        up.main(["dev", "--config", setting])
    assert caught.value.code == 2
    assert "--config" in capsys.readouterr().err


@pytest.mark.engine
def test_an_invalid_setting_creates_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong value is an error that names its key, before Pulumi runs, and is not kept for the next call."""
    assert up.main(["unit-refused", "--config", "memoryMb=1"]) == 1
    assert "aragora-persist:memoryMb" in capsys.readouterr().err
    files = StackFiles("unit-refused", root=up.ROOT, state=state_dir())
    assert files.configured({})["memoryMb"] != 1


def test_a_service_that_has_data_is_not_left_out() -> None:
    """Refused before Pulumi begins: it would have removed the service's containers by the time it refuses."""
    names = [f"aragora-unit-ports-sqlite-{content}" for content in ("data", "backups")]
    volumes = [{"protect": True, "outputs": {"name": name}} for name in names]
    state = {"resources": [*volumes, {"outputs": {"name": "aragora-unit-ports-library"}}, {"type": "component"}]}
    up.check_data_stays(state, _settings(sqlite=1, more=2))
    up.check_data_stays({}, _settings(other=1))
    with pytest.raises(ConflictError, match=f"{names[1]}, {names[0]}"):
        up.check_data_stays(state, _settings(other=1))


def test_a_supabase_that_has_data_is_not_left_out() -> None:
    """Its volume would stay, but nobody would hold the records in it; other protected volumes are no reason."""
    volume = {"protect": True, "outputs": {"name": "aragora-unit-ports-supabase-data"}}
    up.check_data_stays({"resources": [volume]}, _settings(sqlite=1, supabase=SUPABASE))
    up.check_data_stays({}, _settings(sqlite=1))
    with pytest.raises(ConflictError, match=r"aragora-persist:supabase: .*aragora-unit-ports-supabase-data.*=local"):
        up.check_data_stays({"resources": [volume]}, _settings(sqlite=1))


def test_the_backups_of_a_supabase_are_not_left_out() -> None:
    """Whoever takes them may be of the stack or a hosted one; without either they are nobody's."""
    volume = {"protect": True, "outputs": {"name": "aragora-unit-ports-supabase-backups"}}
    up.check_data_stays({"resources": [volume]}, _settings(sqlite=1, supabase=SUPABASE))
    up.check_data_stays({"resources": [volume]}, _settings(sqlite=1), hosted=True)
    with pytest.raises(ConflictError, match=r"aragora-persist:supabaseDbUrl: .*aragora-unit-ports-supabase-backups"):
        up.check_data_stays({"resources": [volume]}, _settings(sqlite=1))


def test_a_database_that_does_not_run_refuses_nothing() -> None:
    """The first `up` of a stack makes it; one that was stopped is started."""
    files = StackFiles("unit-ports", root=up.ROOT, state=state_dir())
    with files.locked(), socket.socket() as nobody:
        files.write({})
        nobody.bind(("127.0.0.1", 0))
        supabase = SupabaseSettings(port=1, db_port=nobody.getsockname()[1])
        with pytest.raises(UnreachableError):
            inspect_schema(Secret(supabase.database_url("any")))
        up.check_schema(files, _settings(supabase=supabase))
        up.check_schema(files, _settings())


@pytest.mark.parametrize("command", [up.main, down.main])
def test_a_name_that_no_stack_can_have_is_one_line(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a traceback, nor files in a place that the name leads to."""
    assert command(["../../outside"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stack_that_never_was_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Taking down a name that was mistyped makes no passphrase for it."""
    assert down.main(["unit-mistyped"]) == 0
    assert "There is no stack unit-mistyped" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()


@pytest.mark.engine
def test_a_port_that_another_program_holds_is_named() -> None:
    """The error says which port, of which service, and which setting takes another."""
    with socket.socket() as holder, engine("unit-ports") as on_engine:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        settings = _settings(sqlite=port)
        with pytest.raises(ConflictError, match=f"127.0.0.1:{port}.*sqlite.*another program.*`port`"):
            on_engine.check_ports(settings)
        with pytest.raises(ConflictError, match=r"of service b is in use.*`services`"):
            on_engine.check_ports(_settings(a=1, b=port))
        with pytest.raises(ConflictError, match=r"of Supabase is in use.*`supabasePort`"):
            on_engine.check_ports(_settings(supabase=SupabaseSettings(port=port, db_port=1)))
        with pytest.raises(ConflictError, match=r"of Supabase's database is in use.*`supabaseDbPort`"):
            on_engine.check_ports(_settings(supabase=SupabaseSettings(port=1, db_port=port)))
    with engine("unit-ports") as on_engine:
        on_engine.check_ports(settings)


@pytest.mark.engine
def test_only_what_is_published_on_loopback_over_tcp_holds_a_port(
    docker_engine: docker.DockerClient, python_image: str
) -> None:
    """A container's port of the same number over UDP, or on another address, is in nobody's way."""
    (port,) = free_ports(1)
    container = docker_engine.containers.run(
        python_image,
        ["sleep", "60"],
        ports={"9/udp": ("127.0.0.1", port), "9/tcp": ("127.0.0.2", port)},
        detach=True,
        init=True,
        auto_remove=True,
    )
    try:
        with engine("unit-ports") as on_engine:
            on_engine.check_ports(_settings(sqlite=port))
    finally:
        container.kill()


def test_a_port_that_only_root_may_take_is_not_called_in_use() -> None:
    """The engine runs as root: what this user may not bind says nothing of who listens."""
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(_NOBODY)
        os._exit(0 if is_free(1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _settings(*, supabase: SupabaseSettings | None = None, **ports: int) -> StackSettings:
    declared = yaml.safe_load((up.ROOT / "Pulumi.yaml").read_text())["config"]
    return StackSettings(
        stack="unit-ports",
        base_image="none",
        services=tuple(ServiceSettings(name=name, port=port, databases=()) for name, port in ports.items()),
        supabase=supabase,
        memory_mb=64,
        backups=read_backup_settings({key: one["default"] for key, one in declared.items()}),
    )
