"""The secrets that an operator gives a stack: what does not fit is refused before anything changes, and never shown."""

from __future__ import annotations

import pytest
import yaml
from pyrage import x25519

from aragora_persist.errors import InvalidValueError
from infra.settings import read_settings
from infra.stack import up
from infra.stack.files import StackFiles, state_dir
from infra.stack.given_secrets import check_given_secrets
from infra.toolchain.environment import REPOSITORY as ROOT

MINE, OTHER = (x25519.Identity.generate() for _ in range(2))
PUBLIC = str(MINE.to_public())
BUCKET = {"offsiteUrl": "s3://bucket", "offsiteAccessKeyId": "id"}


def _check(config: dict[str, object], secrets: dict[str, str]) -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    defaults = {key: setting["default"] for key, setting in declared.items()}
    check_given_secrets(read_settings({**defaults, **config}, "dev"), secrets)


@pytest.mark.parametrize(
    ("config", "secrets"),
    [
        ({}, {}),
        ({"backupRecipients": [PUBLIC]}, {"backupIdentity": f"# of this machine\n{OTHER}\n{MINE}\n"}),
        (BUCKET, {"offsiteSecretAccessKey": "secret"}),
        ({"supabase": "none"}, {"supabaseDbUrl": "postgresql://host/postgres"}),
    ],
)
def test_what_fits_is_accepted(config: dict[str, object], secrets: dict[str, str]) -> None:
    """Without recipients or a bucket nothing is asked for; of several identities one is enough."""
    _check(config, secrets)
    with pytest.raises(InvalidValueError, match="backupIdentity"):
        _check({**config, "backupRecipients": [PUBLIC]}, {**secrets, "backupIdentity": "#"})


@pytest.mark.parametrize(
    ("config", "secrets", "problem"),
    [
        ({"backupRecipients": [PUBLIC]}, {}, "backupIdentity: is not set"),
        (
            {"backupRecipients": [PUBLIC]},
            {"backupIdentity": str(MINE)[:-1]},
            "backupIdentity: line 1 is no identity, or is damaged",
        ),
        ({"backupRecipients": [PUBLIC]}, {"backupIdentity": str(OTHER)}, str(OTHER.to_public())),
        (BUCKET, {"offsiteSecretAccessKey": ""}, "offsiteSecretAccessKey: is not set"),
        ({}, {"supabaseDbUrl": "postgresql://host/postgres"}, "Supabase of its own"),
        (
            {"supabase": "none", "memoryMb": 255},
            {"supabaseDbUrl": "postgresql://host/postgres"},
            "memoryMb: is too little.*: 255",
        ),
    ],
    ids=["unset", "damaged", "another", "no key", "two", "memory"],  # the same in every process that collects
)
def test_what_does_not_fit_is_refused_and_never_shown(
    config: dict[str, object], secrets: dict[str, str], problem: str
) -> None:
    """The message has the way out, and no secret."""
    with pytest.raises(InvalidValueError, match=problem) as caught:
        _check(config, secrets)
    assert caught.value.hint
    assert "AGE-SECRET-KEY" not in str(caught.value).replace("AGE-SECRET-KEY-1…", "")


@pytest.mark.engine
def test_a_refused_setting_is_not_kept(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call of `scripts/up` is as if it had never been said."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    files = StackFiles("unit-given", root=up.ROOT, state=state_dir())
    with pytest.raises(InvalidValueError, match="backupIdentity"):
        up.up(files, {"backupRecipients": [PUBLIC], "supabase": "none", "port": 1})
    assert files.configured({})["backupRecipients"] == []
