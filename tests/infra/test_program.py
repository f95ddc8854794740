"""What the program declares, without an engine: every container is restricted, every volume with data is kept."""

from __future__ import annotations

import contextvars
import json
import runpy
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from google.protobuf import json_format
from pulumi.runtime import mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack

from aragora_persist.databases import DATABASES
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

# The SDK's mocks ask for the thread's current event loop, which newer Pythons make with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")

_CARRIER = "sqlite-secrets-carrier"
"""Is made and never started, so nothing in it has to be restricted."""


class _Engine(mocks.Mocks):
    """Answers as the engine would, with what the program reads back."""

    def __init__(self, exit_code: int) -> None:
        self._exit_code = exit_code

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        job = {"exitCode": self._exit_code, "containerLogs": "/library/releases/abc\n"}
        return f"{args.name}-id", {**args.inputs, "imageId": "sha256:abc", **job}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(args.token)


class _Recorder(mocks.MockMonitor):
    """Keeps the requests themselves: they hold the options that mocks do not see."""

    def __init__(self, engine: _Engine) -> None:
        super().__init__(engine)
        self.requests: dict[tuple[str, str], Any] = {}
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: ANN401, N802 - the protocol's name and untyped stubs
        self.requests[request.type.rsplit(":", 1)[-1], request.name] = request
        return super().RegisterResource(request)  # type: ignore[no-untyped-call] # the SDK's mocks are untyped

    def of(self, kind: str) -> dict[str, Any]:
        """Return the requests for one type, by resource name."""
        return {name: request for (type_, name), request in self.requests.items() if type_ == kind}


def _run(*, exit_code: int = 0, config: Mapping[str, str] | None = None) -> _Recorder:
    """Run the program itself under mocks and return what it asked for; Pulumi keeps its state in context variables."""
    return contextvars.Context().run(_run_here, exit_code, config or {})


def _run_here(exit_code: int, config: Mapping[str, str]) -> _Recorder:
    recorder = _Recorder(_Engine(exit_code))
    defaults = {"port": "8787", "services": "{}", "memoryMb": "768", "baseImage": "debian:trixie-slim"}
    values = {
        **defaults,
        "backupIntervalSeconds": "3600",
        "backupRetentionDays": "7",
        "encryptionKey": "k",
        **(config or {}),
    }
    pulumi.runtime.set_mocks(_Engine(exit_code), project="aragora-persist", stack="dev", monitor=recorder)
    pulumi.runtime.set_all_config(
        {f"aragora-persist:{key}": value for key, value in values.items()}, ["aragora-persist:encryptionKey"]
    )

    def program() -> pulumi.Output[None]:
        # As Pulumi's own host starts a program: the folder is run, and is alone on the path.
        runpy.run_path(str(ROOT / "infra"), run_name="__main__")
        stack = get_root_resource()
        assert isinstance(stack, Stack)
        return pulumi.Output.from_input(stack.outputs).apply(recorder.outputs.update)

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call] # the SDK's test helpers are untyped
    return recorder


def _inputs(request: Any) -> dict[str, Any]:  # noqa: ANN401 - untyped stubs
    inputs: dict[str, Any] = json_format.MessageToDict(request.object)
    return inputs


def test_every_container_is_restricted_named_and_labelled() -> None:
    """No container can write its root file system, gain rights, or use more than its share."""
    containers = _run(config={"memoryMb": "300"}).of("Container")
    assert sorted(containers) == ["library-publish", "sqlite", "sqlite-backup", _CARRIER]
    for name, request in containers.items():
        inputs = _inputs(request)
        assert inputs["name"] == f"aragora-dev-{name}"
        labels = {each["label"]: each["value"] for each in inputs["labels"]}
        assert labels["io.aragora.stack"] == "dev"
        # Names are fixed, so the old one has to go before the new one comes.
        assert request.deleteBeforeReplace
        if name != _CARRIER:
            assert inputs["user"] == "10001:10001"
            assert inputs["readOnly"] is True
            assert inputs["capabilities"] == {"drops": ["ALL"]}
            assert inputs["securityOpts"] == ["no-new-privileges:true"]
            assert inputs["memory"] == inputs["memorySwap"] == 300
            assert inputs["ulimits"][0]["name"] == "nproc"
            assert set(inputs["logOpts"]) == {"max-size", "max-file"}
    assert _inputs(containers[_CARRIER])["start"] is False


def test_data_volumes_are_protected_kept_and_never_replaced() -> None:
    """The volumes with databases and backups, and only those, outlive every command but one."""
    volumes = _run().of("Volume")
    kept = {name for name, request in volumes.items() if request.protect and request.retainOnDelete}
    assert kept == {"sqlite-data", "sqlite-backups"}
    for name in kept:
        assert set(volumes[name].ignoreChanges) == {"name", "labels", "driver", "driverOpts"}
    assert set(volumes) - kept == {"library", "sqlite-secrets"}


def test_services_listen_on_loopback_and_are_waited_for() -> None:
    """A page is reachable from this machine only, and `up` ends when services and sidecars are healthy."""
    containers = _run(config={"port": "9000"}).of("Container")
    (port,) = _inputs(containers["sqlite"])["ports"]
    assert (port["ip"], port["external"], port["internal"]) == ("127.0.0.1", 9000, 8787)
    for name in ("sqlite", "sqlite-backup"):
        inputs = _inputs(containers[name])
        assert inputs["wait"] is True
        assert inputs["restart"] == "unless-stopped"
        assert inputs["healthcheck"]["interval"] == "3s"
        assert list(containers[name].replaceOnChanges) == ["healthcheck"]
    assert not [name for name in containers if name != "sqlite" and "ports" in _inputs(containers[name])]


def test_splitting_databases_over_services_is_configuration() -> None:
    """Each service has its own containers, volumes, secrets and port; a database is in exactly one."""
    names = [database.name for database in DATABASES]
    split = {"hot": {"port": 9000, "databases": names[:2]}, "cold": {"port": 9001, "databases": names[2:]}}
    recorder = _run(config={"services": json.dumps(split)})
    containers = recorder.of("Container")
    for service, databases, port in (("hot", names[:2], 9000), ("cold", names[2:], 9001)):
        inputs = _inputs(containers[service])
        assert [inputs["command"][at + 1] for at, word in enumerate(inputs["command"]) if word == "--db"] == databases
        assert inputs["ports"][0]["external"] == port
        mounted = {each["containerPath"]: each["volumeName"] for each in inputs["volumes"]}
        assert mounted["/data"] == f"aragora-dev-{service}-data"
        assert f"{service}-backup" in containers
    assert {name for name, request in recorder.of("Volume").items() if request.protect} == {
        f"{service}-{content}" for service in ("hot", "cold") for content in ("data", "backups")
    }


def test_the_key_is_a_file_and_never_in_an_environment() -> None:
    """A secret reaches containers as an uploaded file, and nothing but a digest of it shows."""
    recorder = _run(config={"encryptionKey": "the-key-itself"})
    for name, request in recorder.of("Container").items():
        text = json.dumps(_inputs(request))
        assert ("the-key-itself" in text) == (name == _CARRIER)
    assert "the-key-itself" not in json.dumps(recorder.outputs)
    (upload,) = _inputs(recorder.of("Container")[_CARRIER])["uploads"]
    assert upload["file"] == "/run/secrets/aragora/encryption_key"


def test_a_changed_key_replaces_the_service_that_reads_it() -> None:
    """The service carries a digest of its secrets as a label."""

    def labels(key: str) -> object:
        return _inputs(_run(config={"encryptionKey": key}).of("Container")["sqlite"])["labels"]

    assert labels("one") == labels("one") != labels("two")


def test_what_runs_where_is_exported() -> None:
    """The outputs name every page, volume and container, and the library's release."""
    outputs = _run().outputs
    assert outputs["library"] == {"volume": "aragora-dev-library", "release": "/library/releases/abc"}
    assert outputs["services"]["sqlite"]["url"] == "http://127.0.0.1:8787/"
    assert outputs["services"]["sqlite"]["sidecar"] == "aragora-dev-sqlite-backup"


def test_a_failed_job_fails_the_program() -> None:
    """A library that was not published is an error, whatever the engine thinks of the job's container."""
    with pytest.raises(pulumi.RunError, match=r"publish library: aragora-dev-library-publish ended with exit code 3"):
        _run(exit_code=3)


@pytest.mark.parametrize(("key", "value"), [("memoryMb", "1"), ("services", "[]"), ("port", "x")])
def test_a_wrong_setting_is_one_line(key: str, value: str) -> None:
    """Pulumi shows a RunError without a traceback; it names the key."""
    with pytest.raises(pulumi.RunError, match=f"aragora-persist:{key}"):
        _run(config={key: value})
