"""What the program declares, without an engine: every container is restricted, every volume with data is kept."""

from __future__ import annotations

import asyncio
import contextvars
import json
import runpy
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack

from aragora_persist.databases import DATABASES
from aragora_persist.settings import Compression, Settings
from infra.stack.files import SECRETS
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

# The SDK's mocks ask for the thread's current event loop, which newer Pythons make with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")

_SUPABASE = ("supabase-db", "supabase-rest", "supabase-gateway", "supabase-backup")
_CARRIERS = {f"{each}-secrets-carrier" for each in ("sqlite", *_SUPABASE)}
"""Are made and never started, so nothing in them has to be restricted."""

_SECRETS = {key: make() for key, make in SECRETS.items()}

_GIVEN_SECRETS = ("backupIdentity", "offsiteSecretAccessKey")
"""Those that nobody makes for a stack."""

_DATABASE_SECRETS = {"encryptionKey", "auditSigningKey"}

_RUNNING = {"sqlite", "sqlite-backup", *_SUPABASE}


_loops: list[asyncio.AbstractEventLoop] = []


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


@pytest.fixture(autouse=True, scope="module")
def _event_loop() -> None:
    """Give the thread an event loop, which Pulumi takes as given: a test before may have taken it away.

    It stays until the process ends: what Pulumi left behind would make others after it.
    """
    _loops.append(asyncio.new_event_loop())
    asyncio.set_event_loop(_loops[-1])


def _run(*, exit_code: int = 0, config: Mapping[str, str | None] | None = None) -> _Recorder:
    """Run the program itself under mocks and return what it asked for; Pulumi keeps its state in context variables."""
    return contextvars.Context().run(_run_here, exit_code, config or {})


def _run_here(exit_code: int, config: Mapping[str, str | None]) -> _Recorder:
    recorder = _Recorder(_Engine(exit_code))
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    defaults = {key: _as_text(one["default"]) for key, one in declared.items()}
    values = {**defaults, **_SECRETS, **(config or {})}
    pulumi.runtime.set_mocks(_Engine(exit_code), project="aragora-persist", stack="dev", monitor=recorder)
    pulumi.runtime.set_all_config(
        {f"aragora-persist:{key}": value for key, value in values.items() if value is not None},
        [f"aragora-persist:{key}" for key in (*_SECRETS, *_GIVEN_SECRETS)],
    )

    def program() -> pulumi.Output[None]:
        # As Pulumi's own host starts a program: the folder is run, and is alone on the path.
        runpy.run_path(str(ROOT / "infra"), run_name="__main__")
        stack = get_root_resource()
        assert isinstance(stack, Stack)
        return pulumi.Output.from_input(stack.outputs).apply(recorder.outputs.update)

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call] # the SDK's test helpers are untyped
    return recorder


def _as_text(value: object) -> str:
    """Return a setting as Pulumi hands it over."""
    return value if isinstance(value, str) else json.dumps(value)


def _inputs(request: Any) -> dict[str, Any]:  # noqa: ANN401 - untyped stubs
    inputs: dict[str, Any] = json_format.MessageToDict(request.object)
    return inputs


def test_every_container_is_restricted_named_and_labelled() -> None:
    """No container can write its root file system, gain rights, or use more than its share."""
    containers = _run(config={"memoryMb": "300"}).of("Container")
    assert set(containers) == {"library-publish", *_RUNNING, *_CARRIERS}
    for name, request in containers.items():
        inputs = _inputs(request)
        assert inputs["name"] == f"aragora-dev-{name}"
        labels = {each["label"]: each["value"] for each in inputs["labels"]}
        assert labels["io.aragora.stack"] == "dev"
        # Names are fixed, so the old one has to go before the new one comes.
        assert request.deleteBeforeReplace
        if name not in _CARRIERS:
            assert inputs["user"] == "10001:10001"
            assert inputs["readOnly"] is True
            assert inputs["capabilities"] == {"drops": ["ALL"]}
            assert inputs["securityOpts"] == ["no-new-privileges:true"]
            assert inputs["memory"] == inputs["memorySwap"] == 300
            assert inputs["ulimits"][0]["name"] == "nproc"
            assert set(inputs["logOpts"]) == {"max-size", "max-file"}
    assert not any(_inputs(containers[name])["start"] for name in _CARRIERS)


def test_data_volumes_are_protected_kept_and_never_replaced() -> None:
    """The volumes with databases and backups, and only those, outlive every command but one."""
    volumes = _run().of("Volume")
    kept = {name for name, request in volumes.items() if request.protect and request.retainOnDelete}
    assert kept == {"sqlite-data", "sqlite-backups", "supabase-data", "supabase-backups"}
    for name in kept:
        assert set(volumes[name].ignoreChanges) == {"name", "labels", "driver", "driverOpts"}
    assert set(volumes) - kept == {
        "library",
        "sqlite-backup-scratch",
        "supabase-backup-scratch",
        *(name.removesuffix("-carrier") for name in _CARRIERS),
    }


def test_what_is_published_is_on_loopback_and_what_runs_is_waited_for() -> None:
    """Everything is reachable from this machine only, and `up` ends when all of it is healthy."""
    containers = _run(config={"port": "9000"}).of("Container")
    published = {
        name: [(port["ip"], port["external"], port["internal"]) for port in _inputs(request).get("ports", ())]
        for name, request in containers.items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "sqlite": [("127.0.0.1", 9000, 8787)],
        "supabase-gateway": [("127.0.0.1", 54321, 8000)],
        "supabase-db": [("127.0.0.1", 54322, 5432)],
    }
    for name in _RUNNING:
        inputs = _inputs(containers[name])
        assert inputs["wait"] is True
        assert inputs["restart"] == "unless-stopped"
        assert inputs["stopTimeout"] == inputs["destroyGraceSeconds"] == (60 if name == "supabase-db" else 30)
        assert list(containers[name].replaceOnChanges) == ["healthcheck"]


def test_only_the_gateway_is_where_services_are() -> None:
    """The database and what asks it share a network that leads nowhere; no service is in one with the database."""
    recorder = _run()
    networks = recorder.of("Network")
    assert {name for name, request in networks.items() if _inputs(request)["internal"]} == {"supabase-internal"}
    members: dict[str, dict[str, list[str]]] = {}
    for name, request in recorder.of("Container").items():
        for joined in _inputs(request).get("networksAdvanced", ()):
            members.setdefault(joined["name"], {})[name] = joined.get("aliases", [])
    assert members == {
        "aragora-dev": {"sqlite": ["sqlite"], "supabase-gateway": ["supabase"]},
        "aragora-dev-supabase-internal": {
            "supabase-db": ["db"],
            "supabase-rest": ["postgrest"],
            "supabase-gateway": [],
            "supabase-backup": [],
        },
        "aragora-dev-supabase-published": {"supabase-db": []},
    }


def test_a_stack_without_a_supabase_has_nothing_of_it() -> None:
    """Neither a part of its own nor a word to the service, nor secrets that nobody uses."""
    none: dict[str, str | None] = {"supabase": "none", **dict.fromkeys(set(_SECRETS) - _DATABASE_SECRETS)}
    recorder = _run(config=none)
    assert not [name for _, name in recorder.requests if name.startswith("supabase")]
    assert "SUPABASE" not in json.dumps(_inputs(recorder.of("Container")["sqlite"]))
    assert "supabase" not in recorder.outputs


def test_the_stack_s_own_supabase_is_backed_up() -> None:
    """By default, once its schema is there, by an image that is made of the two that it needs."""
    recorder = _run(config={"supabaseBackupIntervalSeconds": "7200"})
    inputs = _inputs(recorder.of("Container")["supabase-backup"])
    mounted = {each["containerPath"]: each["volumeName"] for each in inputs["volumes"]}
    waits_for = {urn.rsplit("::", 1)[-1] for urn in recorder.of("Container")["supabase-backup"].dependencies}
    build = _inputs(recorder.of("RemoteImage")["supabase_backup"])["build"]
    assert inputs["command"] == ["backup", "--every", "--db", "supabase"]
    assert "ARAGORA_BACKUP_INTERVAL_SECONDS=7200" in inputs["envs"]
    assert mounted["/backups"] == "aragora-dev-supabase-backups"
    assert mounted["/scratch"] == "aragora-dev-supabase-backup-scratch"
    assert {"SUPABASE_DB_URL_FILE=/run/secrets/aragora/supabase_db_url", "TMPDIR=/scratch"} <= set(inputs["envs"])
    url = f"postgresql://postgres:{_SECRETS['supabaseDbPassword']}@db:5432/postgres"
    assert _uploads(recorder.of("Container")["supabase-backup-secrets-carrier"]) == {"supabase_db_url": url}
    assert "supabase-schema" in waits_for
    assert build["buildArgs"]["PERSIST_IMAGE"].startswith("aragora-dev-persist:")
    assert build["buildArgs"]["POSTGRES_IMAGE"].startswith("aragora-dev-postgres:")


def test_a_hosted_supabase_is_backed_up_when_its_address_is_given() -> None:
    """From a network that leads out, with nothing else of that half; beside a Supabase of the stack it is refused."""
    url = "postgresql://postgres:word@db.example.supabase.co:5432/postgres"
    none: dict[str, str | None] = {"supabase": "none", **dict.fromkeys(set(_SECRETS) - _DATABASE_SECRETS)}
    recorder = _run(config={**none, "supabaseDbUrl": url})
    containers = recorder.of("Container")
    assert {name for name in containers if name.startswith("supabase")} == {
        *("supabase-backup", "supabase-backup-secrets-carrier")
    }
    assert _uploads(containers["supabase-backup-secrets-carrier"]) == {"supabase_db_url": url}
    assert _inputs(containers["supabase-backup"])["networksAdvanced"] == [{"name": "aragora-dev-supabase-hosted"}]
    assert not _inputs(recorder.of("Network")["supabase-hosted"])["internal"]
    assert recorder.outputs["supabase"]["sidecar"] == "aragora-dev-supabase-backup"
    with pytest.raises(pulumi.RunError, match="supabaseDbUrl: is set, and the stack has a Supabase of its own"):
        _run(config={"supabaseDbUrl": url})


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
        *("supabase-data", "supabase-backups"),
        *(f"{service}-{content}" for service in ("hot", "cold") for content in ("data", "backups")),
    }


def test_litestream_is_off_unless_it_is_asked_for() -> None:
    """Then each service has one, with the rights of the others, its databases and room to restore; and no network."""
    assert not [name for _, name in _run().requests if "litestream" in name]
    recorder = _run(config={"litestream": "true", "backupRetentionDays": "3"})
    request = recorder.of("Container")["sqlite-litestream"]
    inputs, backup = _inputs(request), _inputs(recorder.of("Container")["sqlite-backup"])
    alike = ("user", "readOnly", "capabilities", "securityOpts", "memory", "networkMode", "restart", "wait")
    assert {key: inputs[key] for key in alike} == {key: backup[key] for key in alike}
    assert inputs["command"] == ["replicate", *(word for each in DATABASES for word in ("--db", each.name))]
    assert {"ARAGORA_LITESTREAM_URL=file:///backups/litestream", "ARAGORA_BACKUP_RETENTION_DAYS=3"} <= {*inputs["envs"]}
    assert inputs["healthcheck"]["tests"][:4] == ["CMD", "aragora-persist", "replicate", "--max-lag"]
    assert inputs["stopTimeout"] == 40
    mounts = {each["containerPath"]: each["volumeName"] for each in inputs["volumes"]}
    assert mounts == {
        "/data": "aragora-dev-sqlite-data",
        "/backups": "aragora-dev-sqlite-backups",
        "/scratch": "aragora-dev-sqlite-litestream-scratch",
    }
    assert not recorder.of("Volume")["sqlite-litestream-scratch"].protect
    assert recorder.outputs["services"]["sqlite"]["litestream"] == "aragora-dev-sqlite-litestream"


def _envs(request: Any) -> dict[str, str]:  # noqa: ANN401 - untyped stubs
    return dict(env.split("=", 1) for env in _inputs(request)["envs"])


def _mounts(request: Any) -> dict[str, str]:  # noqa: ANN401 - untyped stubs
    return {each["containerPath"]: each.get("volumeName", each.get("hostPath")) for each in _inputs(request)["volumes"]}


def test_a_sidecar_is_told_the_rules_and_has_room_to_prove_what_it_took() -> None:
    """By default: compressed, nothing shipped, no network, no secret; its health is that of backups and drills."""
    request = _run(config={"backupIntervalSeconds": "600", "backupKeepWeekly": "5"}).of("Container")["sqlite-backup"]
    inputs = _inputs(request)
    assert inputs["command"] == ["backup", "--every", *(word for each in DATABASES for word in ("--db", each.name))]
    assert inputs["healthcheck"]["tests"][:4] == ["CMD", "aragora-persist", "backups", "--health"]
    # So long may the first backups and drills of large databases take.
    assert (inputs["healthcheck"]["startPeriod"], inputs["waitTimeout"]) == ("10m0s", 600)
    assert (inputs["networkMode"], inputs.get("networksAdvanced")) == ("none", None)
    assert _mounts(request) == {
        "/data": "aragora-dev-sqlite-data",
        "/backups": "aragora-dev-sqlite-backups",
        "/scratch": "aragora-dev-sqlite-backup-scratch",
    }
    told = Settings.from_env(_envs(request))
    assert _envs(request)["TMPDIR"] == "/scratch"
    assert (told.backup_interval_s, told.backup_keep_weekly, told.backup_compression) == (600, 5, Compression.ZSTD)
    assert (told.backup_objective_s, told.drill_objective_s) == (2 * 600 + 120, 2 * 86400)
    assert (told.offsite_url, told.backup_identity_file) == ("", None)


_RECIPIENT = "age1" + "q" * 58
_IDENTITY = "AGE-SECRET-KEY-1WORD"


def test_backups_are_encrypted_and_shipped_to_a_bucket() -> None:
    """Those who ship, and no other, are in the network that leads out; keys are files, and in nothing else."""
    recorder = _run(
        config={
            "backupRecipients": json.dumps([_RECIPIENT, _RECIPIENT]),
            "backupIdentity": _IDENTITY,
            "offsiteUrl": "s3://bucket/here",
            "offsiteEndpoint": "http://s3.example:9000",
            "offsiteAllowHttp": "true",
            "offsiteAccessKeyId": "key-id",
            "offsiteSecretAccessKey": "the secret key",
            "litestream": "true",
            "litestreamUrl": "s3://bucket/transactions",
            "backupObjectiveSeconds": "100",
        }
    )
    containers = recorder.of("Container")
    outside = {name for name in containers if "aragora-dev-offsite" in json.dumps(_inputs(containers[name]))}
    assert outside == {"sqlite-backup", "sqlite-litestream", "supabase-backup"}
    assert not _inputs(recorder.of("Network")["offsite"])["internal"]
    for name in ("sqlite-backup", "supabase-backup"):
        told = Settings.from_env(_envs(containers[name]))
        assert told.backup_recipients == (_RECIPIENT, _RECIPIENT)
        assert str(told.backup_identity_file) == "/run/secrets/aragora/backup_identity"
        assert (told.offsite_url, told.offsite_endpoint) == ("s3://bucket/here", "http://s3.example:9000")
        assert (told.offsite_access_key_id, told.offsite_allow_http) == ("key-id", True)
        assert told.offsite_secret_access_key is not None
        uploads = _uploads(containers[f"{name}-secrets-carrier"])
        assert (uploads["backup_identity"], uploads["offsite_secret_access_key"]) == (_IDENTITY, "the secret key")
        assert _mounts(containers[name])["/run/secrets/aragora"] == f"aragora-dev-{name}-secrets"
    assert Settings.from_env(_envs(containers["sqlite-backup"])).backup_objective_s == 100
    assert _uploads(containers["sqlite-litestream-secrets-carrier"]) == {"offsite_secret_access_key": "the secret key"}
    assert _envs(containers["sqlite-litestream"])["ARAGORA_OFFSITE_ENDPOINT"] == "http://s3.example:9000"
    # The page tells what is not there yet, and could not bring it there.
    assert {name: value for name, value in _envs(containers["sqlite"]).items() if "OFFSITE" in name} == {
        "ARAGORA_OFFSITE_URL": "s3://bucket/here"
    }
    knowing = {name for name in containers if "the secret key" in json.dumps(_inputs(containers[name]))}
    assert knowing == {f"{name}-secrets-carrier" for name in outside}


def test_backups_are_shipped_to_a_folder_of_the_host() -> None:
    """It is mounted where they are told; nobody gets a network for it."""
    recorder = _run(config={"offsiteUrl": "file:///srv/far away"})
    containers = recorder.of("Container")
    assert _inputs(containers["sqlite-backup"])["networkMode"] == "none"
    assert "offsite" not in recorder.of("Network")
    for name in ("sqlite-backup", "supabase-backup"):
        assert _mounts(containers[name])["/offsite"] == "/srv/far away"
        assert _envs(containers[name])["ARAGORA_OFFSITE_URL"] == "file:///offsite"


def test_only_the_service_with_the_outbox_sends() -> None:
    """It is told where, and has the key as a file; another service has neither."""
    names = [database.name for database in DATABASES]
    sends, other = ["outbox"], [name for name in names if name != "outbox"]
    split = {"sends": {"port": 9000, "databases": sends}, "other": {"port": 9001, "databases": other}}
    containers = _run(config={"services": json.dumps(split)}).of("Container")
    told = [env for env in _inputs(containers["sends"])["envs"] if env.startswith("SUPABASE")]
    assert told == ["SUPABASE_URL=http://supabase:8000", "SUPABASE_KEY_FILE=/run/secrets/aragora/supabase_key"]
    assert not [env for env in _inputs(containers["other"])["envs"] if env.startswith("SUPABASE")]
    assert _uploads(containers["sends-secrets-carrier"])["supabase_key"] == _SECRETS["supabaseServiceKey"]
    assert "supabase_key" not in _uploads(containers["other-secrets-carrier"])


def test_only_the_service_with_the_audit_log_signs() -> None:
    """It has the key as a file, and is told where; another service has neither, and no sidecar has any secret."""
    names = [database.name for database in DATABASES]
    signs, other = ["users"], [name for name in names if name != "users"]
    split = {"signs": {"port": 9000, "databases": signs}, "other": {"port": 9001, "databases": other}}
    containers = _run(config={"services": json.dumps(split)}).of("Container")
    variable = "ARAGORA_AUDIT_SIGNING_KEY_FILE=/run/secrets/aragora/audit_signing_key"
    told = {name for name, request in containers.items() if variable in _inputs(request).get("envs", ())}
    assert told == {"signs"}
    assert _uploads(containers["signs-secrets-carrier"])["audit_signing_key"] == _SECRETS["auditSigningKey"]
    assert "audit_signing_key" not in _uploads(containers["other-secrets-carrier"])
    mounts = [each["containerPath"] for each in _inputs(containers["signs-backup"])["volumes"]]
    assert "/run/secrets/aragora" not in mounts


def _uploads(carrier: Any) -> dict[str, str]:  # noqa: ANN401 - untyped stubs
    folder = "/run/secrets/aragora/"
    uploads = _inputs(carrier)["uploads"]
    assert all(each["file"].startswith(folder) for each in uploads)
    # The protocol wraps what is secret; a value that is not wrapped would stand in the state as plain text.
    return {each["file"].removeprefix(folder): each["content"]["value"] for each in uploads}


def _in_json(secret: str) -> str:
    """Return what of a secret would be seen in JSON, where a line break is written in another way."""
    return max(secret.splitlines(), key=len)


def test_each_container_gets_its_own_secrets_as_files() -> None:
    """No secret is in an environment, an argument or an output, and no container gets what another one needs."""
    recorder = _run()
    containers = recorder.of("Container")
    found = {
        name: {key for key, secret in _SECRETS.items() if _in_json(secret) in json.dumps(_inputs(containers[name]))}
        for name in containers
    }
    assert {name: keys for name, keys in found.items() if keys} == {
        "sqlite-secrets-carrier": {"encryptionKey", "auditSigningKey", "supabaseServiceKey"},
        "supabase-db-secrets-carrier": {
            "supabaseDbPassword",
            "supabaseAdminPassword",
            "supabaseAuthenticatorPassword",
        },
        "supabase-rest-secrets-carrier": {"supabaseAuthenticatorPassword", "supabaseJwtSecret"},
        "supabase-gateway-secrets-carrier": {"supabaseServiceKey", "supabasePublishableKey"},
        "supabase-backup-secrets-carrier": {"supabaseDbPassword"},
    }
    assert not [key for key, secret in _SECRETS.items() if _in_json(secret) in json.dumps(recorder.outputs)]
    rest = _uploads(containers["supabase-rest-secrets-carrier"])
    assert rest["jwt_secret"] == _SECRETS["supabaseJwtSecret"]
    password = _SECRETS["supabaseAuthenticatorPassword"]
    assert rest["db_uri"] == f"postgresql://authenticator:{password}@db:5432/postgres"


def test_a_changed_secret_replaces_exactly_who_reads_it() -> None:
    """A container carries a digest of its secrets as a label."""

    def labels(**config: str) -> dict[str, object]:
        containers = _run(config=config).of("Container")
        return {name: _inputs(containers[name])["labels"] for name in _RUNNING}

    before = labels()
    for key, readers in (
        ("encryptionKey", {"sqlite"}),
        ("auditSigningKey", {"sqlite"}),
        ("supabaseServiceKey", {"sqlite", "supabase-gateway"}),
        ("supabaseAuthenticatorPassword", {"supabase-db", "supabase-rest"}),
    ):
        after = labels(**{key: SECRETS[key]()})
        assert {name for name in _RUNNING if after[name] != before[name]} == readers


def test_what_runs_where_is_exported() -> None:
    """The outputs name every page, port, volume and container, and the library's release."""
    outputs = _run().outputs
    assert outputs["library"] == {"volume": "aragora-dev-library", "release": "/library/releases/abc"}
    assert outputs["services"]["sqlite"]["url"] == "http://127.0.0.1:8787/"
    assert outputs["services"]["sqlite"]["sidecar"] == "aragora-dev-sqlite-backup"
    assert outputs["supabase"]["url"] == "http://127.0.0.1:54321"
    assert outputs["supabase"]["database_port"] == 54322
    assert outputs["supabase"]["data_volume"] == "aragora-dev-supabase-data"
    assert outputs["supabase"]["sidecar"] == "aragora-dev-supabase-backup"
    assert outputs["supabase"]["backups_volume"] == "aragora-dev-supabase-backups"
    assert outputs["supabase"]["migrations"] == sorted(
        file.stem for file in (ROOT / "supabase/migrations").glob("*.sql")
    )


def test_the_schema_waits_for_the_database_alone() -> None:
    """It is applied over the loopback port, whatever the REST interface does, and the address is kept a secret."""
    recorder = _run(config={"supabaseDbPort": "7"})
    [schema] = recorder.of("SupabaseSchema").values()
    assert {urn.rsplit("::", 1)[-1] for urn in schema.dependencies if "Container" in urn} == {"supabase-db"}
    password = _SECRETS["supabaseDbPassword"]
    assert _inputs(schema)["db_url"]["value"] == f"postgresql://postgres:{password}@127.0.0.1:7/postgres"


def test_a_failed_job_fails_the_program() -> None:
    """A library that was not published is an error, whatever the engine thinks of the job's container."""
    with pytest.raises(pulumi.RunError, match=r"publish library: aragora-dev-library-publish ended with exit code 3"):
        _run(exit_code=3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memoryMb", "1"),
        ("services", "[]"),
        ("port", "x"),
        ("supabase", "x"),
        ("supabaseJwtSecret", None),
        ("auditSigningKey", None),
        ("backupCompression", "x"),
    ],
)
def test_a_wrong_setting_is_one_line(key: str, value: str | None) -> None:
    """Pulumi shows a RunError without a traceback; it names the key."""
    with pytest.raises(pulumi.RunError, match=f"aragora-persist:{key}"):
        _run(config={key: value})


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"backupRecipients": json.dumps([_RECIPIENT])}, "backupIdentity"),
        ({"offsiteUrl": "s3://bucket", "offsiteAccessKeyId": "x"}, "offsiteSecretAccessKey"),
        ({"offsiteUrl": "s3://bucket", "offsiteSecretAccessKey": "x"}, "offsiteAccessKeyId"),
        ({"litestream": "true", "litestreamUrl": "s3://bucket", "offsiteAccessKeyId": "x"}, "offsiteSecretAccessKey"),
    ],
)
def test_what_belongs_together_is_asked_for(config: dict[str, str | None], key: str) -> None:
    """Backups that nobody here could prove, and a bucket without its key, are refused before anything changes."""
    with pytest.raises(pulumi.RunError, match=f"aragora-persist:{key}: is "):
        _run(config=config)
