"""What Pulumi is told of a stack, over the real CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from infra.stack.files import SECRETS, StackFiles
from infra.stack.pulumi import Pulumi
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_are_configured_encrypted_and_once(tmp_path: Path) -> None:
    """An unchanged one is left as it is, one that is missing or differs is set, and none is readable in a file."""
    files = StackFiles("unit-secrets", root=ROOT, state=tmp_path)
    configured = files.folder / f"Pulumi.{files.name}.yaml"
    pulumi = Pulumi(files)

    def encrypted() -> dict[str, object]:
        config: dict[str, object] = yaml.safe_load(configured.read_text())["config"]
        return {key.removeprefix("aragora-persist:"): config[key] for key in config if isinstance(config[key], dict)}

    with files.locked():
        files.write({})
        pulumi.ask("stack", "init", files.name)
        pulumi.set_secrets()
        first = encrypted()
        pulumi.ask("config", "set", "--secret", "encryptionKey", "--stack", files.name, stdin="another")
        pulumi.ask("config", "rm", "supabaseJwtSecret", "--stack", files.name)
        pulumi.set_secrets()
    again = encrypted()
    assert set(first) == set(again) == set(SECRETS)
    assert {key for key in SECRETS if first[key] != again[key]} == {"encryptionKey", "supabaseJwtSecret"}
    longest = [max(value.splitlines(), key=len) for value in files.secret_config().values()]
    assert not [value for value in longest if value in configured.read_text()]
    assert (
        pulumi.ask("config", "get", "encryptionKey", "--stack", files.name).strip()
        == (files.secret_config()["encryptionKey"])
    )
