"""The arguments of `scripts/up` and `scripts/down`, and what they refuse before they touch anything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from infra.settings import ServiceSettings, StackSettings
from infra.stack import down, up
from infra.stack.engine import engine
from infra.stack.files import StackFiles, state_dir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
        settings = StackSettings(
            stack="unit-ports",
            base_image="none",
            services=(ServiceSettings(name="sqlite", port=port, databases=("users",)),),
            memory_mb=64,
            backup_interval_s=5,
            backup_retention_days=1,
        )
        with pytest.raises(Exception, match=f"127.0.0.1:{port}.*sqlite.*another program.*`port`"):
            on_engine.check_ports(settings)
    with engine("unit-ports") as on_engine:
        on_engine.check_ports(settings)
