"""A stack's files on this machine: secrets made once, configuration written anew, nobody else's business."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from aragora_persist.errors import BusyError, DamagedError, InvalidValueError
from aragora_persist.storage.audit.signing import SigningKey
from infra.settings import SupabaseSettings
from infra.stack.files import SECRETS, StackFiles, state_dir
from infra.toolchain.environment import REPOSITORY as ROOT

_KEY = "a" * 43 + "="


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a tree with nothing but the project's files."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for path in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(path, tree)
    return tree


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state folder that does not exist yet."""
    return tmp_path / "home" / "state"


def _config(files: StackFiles) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((files.folder / f"Pulumi.{files.name}.yaml").read_text())["config"]
    return loaded


def test_secrets_are_made_once_for_their_owner_alone(root: Path, state: Path) -> None:
    """A second call finds the same passphrase and the same key, which a retained volume needs."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({})
        first = (files.passphrase.read_text(), files.secret_config())
    with files.locked():
        files.write({})
    assert (files.passphrase.read_text(), files.secret_config()) == first
    assert len(first[1]["encryptionKey"]) == 44
    key_file = state / "key.pem"
    key_file.write_text(first[1]["auditSigningKey"])
    assert SigningKey(key_file).public_pem.startswith("-----BEGIN PUBLIC KEY-----")
    key_file.unlink()
    assert StackFiles("other", root=root, state=state).folder != files.folder
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files.folder.iterdir() if path.name != "lock"}
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700


def test_a_stack_of_an_earlier_release_gets_what_is_missing_and_keeps_its_own(root: Path, state: Path) -> None:
    """What is missing is made; what is there never changes, as a volume was written with it."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.secrets.write_text(json.dumps({"encryptionKey": _KEY, "of a later release": "x"}))
        files.write({})
        complete = files.secret_config()
        files.write({})
    assert files.secret_config() == complete
    assert (complete.pop("encryptionKey"), complete.pop("of a later release")) == (_KEY, "x")
    assert set(complete) == set(SECRETS) - {"encryptionKey"}
    assert complete["supabaseServiceKey"].startswith("sb_secret_")
    assert complete["supabasePublishableKey"].startswith("sb_publishable_")
    assert len(set(complete.values())) == len(complete)
    assert min(map(len, complete.values())) >= 43


@pytest.mark.parametrize(
    "damaged",
    [
        *("", "[]", '{"encryptionKey": "cut o', "{}"),
        *(
            json.dumps({"encryptionKey": _KEY, **wrong})
            for wrong in ({"supabaseDbPassword": None}, {"supabaseJwtSecret": "x"})
        ),
        *(json.dumps({"encryptionKey": key}) for key in (5, _KEY[:-4])),
        json.dumps({"encryptionKey": _KEY, "supabaseServiceKey": f"sb_publishable_{_KEY}"}),
        json.dumps({"encryptionKey": _KEY, "auditSigningKey": _KEY}),
    ],
)
def test_damaged_secrets_are_told_and_left_as_they_are(damaged: str, root: Path, state: Path) -> None:
    """New ones would not open the data; whoever has a copy can put it back."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.secrets.write_text(damaged)
        with pytest.raises(DamagedError, match=r"secrets\.json.*copy"):
            files.write({})
    assert files.secrets.read_text() == damaged


def test_an_encryption_key_can_be_changed(root: Path, state: Path) -> None:
    """The new one stands in front of the old one, on a line of its own; a line that was cut off is damage."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({})
        old = files.secret_config()
        for keys in ((_KEY, old["encryptionKey"]), (_KEY,)):
            files.secrets.write_text(json.dumps({**old, "encryptionKey": "\n".join(keys)}))
            files.write({})
            assert files.secret_config()["encryptionKey"] == "\n".join(keys)
        files.secrets.write_text(json.dumps({**old, "encryptionKey": f"{_KEY}\n{_KEY[:-4]}"}))
        with pytest.raises(DamagedError, match="encryptionKey"):
            files.write({})


def test_secrets_that_are_gone_are_not_made_anew(root: Path, state: Path) -> None:
    """Pulumi's configuration has them, encrypted: there was a stack with data that were written under the old ones."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({})
        config = files.folder / "Pulumi.dev.yaml"
        config.write_text(yaml.safe_dump({"config": {"aragora-persist:encryptionKey": {"secure": "v1:abc"}}}))
        files.secrets.unlink()
        with pytest.raises(DamagedError, match=r"secrets\.json: is gone.*copy"):
            files.write({})
    assert not files.secrets.exists()


def test_a_passphrase_that_is_gone_is_not_made_anew(root: Path, state: Path) -> None:
    """Another one would not open what was encrypted under it; the way out names what to put back or to give up."""
    files = StackFiles("dev", root=root, state=state)
    config = files.folder / "Pulumi.dev.yaml"
    with files.locked():
        files.write({})
        config.write_text(yaml.safe_dump({"encryptionsalt": "v1:salt", "config": {}}))
        files.passphrase.unlink()
        with pytest.raises(DamagedError, match=r"passphrase: is gone.*Pulumi\.dev\.yaml and .*/dev\.json"):
            files.write({})
        assert not files.passphrase.exists()
        config.unlink()
        files.write({})
    assert files.passphrase.exists()


def test_a_shell_reads_where_the_supabase_is(root: Path, state: Path) -> None:
    """The file is its owner's alone, follows the ports, and goes when there is nothing that it tells of."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({})
        for port in (1, 3):
            files.write_supabase_env(SupabaseSettings(port=port, db_port=port + 1))
        command = (
            f'set -a; . {files.supabase_env}; printf "%s %s %s" "$SUPABASE_URL" "$SUPABASE_KEY" "$SUPABASE_DB_URL"'
        )
        said = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
        secret = files.secret_config()
        assert said.split() == [
            "http://127.0.0.1:3",
            secret["supabaseServiceKey"],
            f"postgresql://postgres:{secret['supabaseDbPassword']}@127.0.0.1:4/postgres",
        ]
        assert stat.S_IMODE(files.supabase_env.stat().st_mode) == 0o600
        files.write_supabase_env(None)
        assert not files.supabase_env.exists()


def test_what_told_of_a_stack_that_is_gone_goes_too(root: Path, state: Path) -> None:
    """Its secrets stay."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({"port": 9999})
        files.write_supabase_env(SupabaseSettings(port=1, db_port=2))
        files.forget()
        files.forget()
    assert not files.supabase_env.exists()
    assert files.configured({})["port"] == 8787
    assert files.secrets.exists()


def test_one_command_at_a_time(root: Path, state: Path) -> None:
    """A second command of the same stack is told, one of another stack goes on."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        with pytest.raises(BusyError, match="is running"), StackFiles("dev", root=root, state=state).locked():
            pass
        with StackFiles("other", root=root, state=state).locked():
            pass
    with files.locked():
        pass


def test_configuration_is_the_tree_s_with_what_was_said_on_the_command_line(root: Path, state: Path) -> None:
    """Overrides are kept for later calls, an edit of the tree's file gets through, and defaults fill the rest."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({"port": 9999})
        (root / "Pulumi.dev.yaml").write_text(json.dumps({"config": {"aragora-persist:memoryMb": 99}}))
        files.write({})
        plain = files.configured({})
        assert (plain["port"], plain["memoryMb"], plain["baseImage"]) == (9999, 99, "debian:trixie-slim")
        assert _config(files) == {"aragora-persist:port": 9999, "aragora-persist:memoryMb": 99}


def test_a_stack_without_a_file_of_its_own_is_like_dev(root: Path, state: Path) -> None:
    """A second stack needs nothing but a name and a port."""
    (root / "Pulumi.dev.yaml").write_text(json.dumps({"config": {"aragora-persist:memoryMb": 99}}))
    (root / "Pulumi.own.yaml").write_text("")
    for name, expected in (("other", 99), ("own", 768)):
        files = StackFiles(name, root=root, state=state)
        with files.locked():
            assert files.configured({})["memoryMb"] == expected


def test_an_unknown_setting_is_refused_and_not_kept(root: Path, state: Path) -> None:
    """A typing error is named at once, and is gone the next time."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        with pytest.raises(InvalidValueError, match="prot: is not a setting"):
            files.configured({"prot": 1})
        assert "prot" not in files.configured({})


@pytest.mark.parametrize("name", ["", "Upper", "../outside", "backend"])
def test_a_name_that_cannot_be_a_stack_s_makes_no_file(name: str, root: Path, state: Path) -> None:
    """A name that leads to another folder, or to that of Pulumi's state, is refused before anything is written."""
    with pytest.raises(InvalidValueError, match="name"):
        StackFiles(name, root=root, state=state)
    assert not state.exists()


def test_encrypted_values_and_the_salt_stay(root: Path, state: Path) -> None:
    """What Pulumi wrote into its file outlives the next writing of the plain configuration."""
    files = StackFiles("dev", root=root, state=state)
    path = files.folder / "Pulumi.dev.yaml"
    with files.locked():
        files.write({})
        secret = {"secure": "v1:abc"}
        path.write_text(
            yaml.safe_dump({"encryptionsalt": "v1:salt", "config": {"aragora-persist:encryptionKey": secret}})
        )
        files.write({"port": 1})
    written = yaml.safe_load(path.read_text())
    assert written["encryptionsalt"] == "v1:salt"
    assert written["config"]["aragora-persist:encryptionKey"] == secret
    assert written["config"]["aragora-persist:port"] == 1


def test_the_program_runs_from_the_tree(root: Path, state: Path) -> None:
    """The copy of the project file names the tree's program and environment by absolute paths."""
    files = StackFiles("dev", root=root, state=state)
    with files.locked():
        files.write({})
    project = yaml.safe_load((files.folder / "Pulumi.yaml").read_text())
    assert project["main"] == str(root / "infra")
    assert project["runtime"]["options"]["virtualenv"] == str(root / ".venv")
    assert project["options"]["refresh"] == "always"


def test_the_state_folder_follows_the_user_s_environment(tmp_path: Path) -> None:
    """XDG_STATE_HOME is obeyed; without it, the state is where the standard says."""
    assert state_dir({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "aragora-persist"
    assert state_dir({"HOME": "/home/x"}) == Path("/home/x/.local/state/aragora-persist")
