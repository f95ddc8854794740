"""The files that a stack has on this machine, below the user's state directory.

``backend/`` is Pulumi's state. ``<stack>/`` holds what a retained volume keeps needing and what is therefore made once
and removed by nothing here, the passphrase and the secrets; a copy of the project's files with this stack's
configuration: secrets are written into it, so it cannot be the one in the tree; and the environment of services that
use the stack's Supabase. Leaves out: running anything.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aragora_persist.backup.files import clean_partials, make_directory, partial
from aragora_persist.errors import BusyError, DamagedError, InvalidValueError
from aragora_persist.storage.audit.signing import new_signing_key
from infra.naming import PROJECT
from infra.settings import check_stack_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.settings import SupabaseSettings

_DEFAULT_STACK = "dev"


def _password() -> str:
    """Make a secret that stands in a URL, a header or a file as it is."""
    return secrets.token_urlsafe(32)


def _signing_key() -> str:
    """Make a key, without the line break at its end: Pulumi takes it off, and would be told it anew each time."""
    return new_signing_key()[0].strip()


_ENCRYPTION_KEY = "encryptionKey"
_SIGNING_KEY = "auditSigningKey"
_KEY_KINDS = {"supabaseServiceKey": "sb_secret_", "supabasePublishableKey": "sb_publishable_"}
_PEM = re.compile(r"-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/]{64}\n-----END PRIVATE KEY-----")
"""An Ed25519 key."""

SECRETS: Mapping[str, Callable[[], str]] = {
    _ENCRYPTION_KEY: lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    _SIGNING_KEY: _signing_key,
    "supabaseServiceKey": lambda: _KEY_KINDS["supabaseServiceKey"] + _password(),
    "supabasePublishableKey": lambda: _KEY_KINDS["supabasePublishableKey"] + _password(),
    "supabaseJwtSecret": _password,
    "supabaseDbPassword": _password,
    "supabaseAdminPassword": _password,
    "supabaseAuthenticatorPassword": _password,
}
"""Every secret of a stack, and how it is made."""


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of all stacks of this user; it may not exist yet."""
    env = os.environ if environ is None else environ
    base = env.get("XDG_STATE_HOME") or Path(env.get("HOME") or Path.home(), ".local", "state")
    return Path(base, PROJECT).absolute()


class StackFiles:
    """The files of one stack; ``root`` is the tree whose program it runs, ``state`` the folder of all stacks.

    Raises:
        InvalidValueError: ``name`` cannot be a stack's name.

    """

    def __init__(self, name: str, *, root: Path, state: Path) -> None:
        check_stack_name(name)
        self.name = name
        self.root = root
        self.backend = state / "backend"
        if name == self.backend.name:
            raise InvalidValueError("name", f"stack {name}", "that is the folder of Pulumi's state; take another name")
        self.folder = state / name
        self.passphrase = self.folder / "passphrase"
        self.secrets = self.folder / "secrets.json"
        self.supabase_env = self.folder / "supabase.env"
        self._overrides = self.folder / "overrides.json"
        self._project = self.folder / "Pulumi.yaml"
        self._config = self.folder / f"Pulumi.{name}.yaml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folders, and keep other commands of this stack out.

        Raises:
            BusyError: another one runs.

        """
        for folder in (self.backend, self.folder):
            make_directory(folder)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BusyError("lock", f"stack {self.name}", "scripts/up or scripts/down is running") from error
            clean_partials(self.folder)
            yield

    def configured(self, overrides: Mapping[str, object]) -> dict[str, object]:
        """Return the stack's plain configuration with ``overrides``, defaults included; changes nothing.

        Raises:
            InvalidValueError: there is no such setting.

        """
        declared = self._declared()["config"]
        kept = self._kept(overrides)
        if unknown := sorted(set(kept) - set(declared)):
            known = ", ".join(sorted(declared))
            raise InvalidValueError("configure", unknown[0], "is not a setting", hint=f"one of: {known}")
        committed = {key.removeprefix(f"{PROJECT}:"): value for key, value in self._committed().items()}
        return {**{key: one["default"] for key, one in declared.items()}, **committed, **kept}

    def write(self, overrides: Mapping[str, object]) -> None:
        """Write what Pulumi reads.

        The tree's `Pulumi.<stack>.yaml`, or that of `dev` where a stack has none, says what a stack is like;
        ``overrides`` are added to it now and on every later call: only those that were found to be right.
        """
        if not self.passphrase.exists() and "encryptionsalt" in self._configured():
            state = self.backend / ".pulumi" / "stacks" / PROJECT / f"{self.name}.json"
            hint = (
                f"put back a copy of it; without one, remove {self._config} and {state}: scripts/up takes over the data"
            )
            raise DamagedError("read passphrase", self.passphrase, "is gone", hint=hint)
        _make_once(self.passphrase, lambda: secrets.token_urlsafe(32))
        self._complete_secrets()
        kept = self._kept(overrides)
        _replace(self._overrides, json.dumps(kept))
        project = self._declared()
        # The program runs from the tree, with the tree's own environment.
        project["main"] = str(self.root / project["main"])
        project["runtime"]["options"]["virtualenv"] = str(self.root / project["runtime"]["options"]["virtualenv"])
        _replace(self._project, yaml.safe_dump(project, sort_keys=False))
        plain = {**self._committed(), **{f"{PROJECT}:{key}": value for key, value in kept.items()}}
        whole = {**self._configured(), "config": {**plain, **self._configured_secrets()}}
        _replace(self._config, yaml.safe_dump(whole, sort_keys=False))

    def write_supabase_env(self, supabase: SupabaseSettings | None) -> None:
        """Write what a program on this machine needs to use the stack's Supabase, or remove it where there is none.

        A shell reads it with ``set -a; . FILE``.
        """
        if supabase is None:
            self.supabase_env.unlink(missing_ok=True)
            return
        values = self.secret_config()
        variables = {
            "SUPABASE_URL": supabase.url,
            "SUPABASE_KEY": values["supabaseServiceKey"],
            "SUPABASE_DB_URL": supabase.database_url(values["supabaseDbPassword"]),
        }
        _replace(self.supabase_env, "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))

    def forget(self) -> None:
        """Remove what says something about a stack that is gone: its settings and where its Supabase was.

        The next stack of this name starts from the tree's configuration, with the same secrets.
        """
        for path in (self._overrides, self.supabase_env):
            path.unlink(missing_ok=True)

    def secret_config(self) -> dict[str, str]:
        """Return the secrets that the stack is configured with, by key.

        Raises:
            DamagedError: their file is not what was written.

        """
        try:
            values = json.loads(self.secrets.read_text())
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise self._damaged("is not what was written")
        # Containers would be made anew with what is wrong, and the data stay closed.
        if wrong := [key for key in SECRETS if key in values and not _is_whole(key, values[key])]:
            raise self._damaged(f"{', '.join(wrong)} is not what was written")
        if _ENCRYPTION_KEY not in values:
            raise self._damaged(f"has lost {_ENCRYPTION_KEY}")
        return {key: str(value) for key, value in values.items()}

    def _configured(self) -> dict[str, Any]:
        """Return the stack's configuration as it was written last, by this or by Pulumi."""
        found: dict[str, Any] = yaml.safe_load(self._config.read_text()) if self._config.exists() else {}
        return found

    def _configured_secrets(self) -> dict[str, object]:
        """Return the secrets that Pulumi was given, encrypted."""
        return {key: value for key, value in self._configured().get("config", {}).items() if _is_secure(value)}

    def _damaged(self, problem: str) -> DamagedError:
        hint = "put back a copy of it: the stack's data need these secrets"
        return DamagedError("read secrets", self.secrets, problem, hint=hint)

    def _complete_secrets(self) -> None:
        """Make the secrets that are not there yet; those that are never change."""
        if not self.secrets.exists() and self._configured_secrets():
            raise self._damaged("is gone")
        present = self.secret_config() if self.secrets.exists() else {}
        complete = present | {key: make() for key, make in SECRETS.items() if key not in present}
        if complete != present:
            _replace(self.secrets, json.dumps(complete, indent=2))

    def _declared(self) -> dict[str, Any]:
        project: dict[str, Any] = yaml.safe_load((self.root / "Pulumi.yaml").read_text())
        return project

    def _kept(self, overrides: Mapping[str, object]) -> dict[str, object]:
        return {**(json.loads(self._overrides.read_text()) if self._overrides.exists() else {}), **overrides}

    def _committed(self) -> dict[str, Any]:
        for name in (self.name, _DEFAULT_STACK):
            path = self.root / f"Pulumi.{name}.yaml"
            if path.exists():
                config: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}).get("config") or {}
                return config
        return {}


def _is_whole(key: str, value: object) -> bool:
    """Say whether a secret can be one of those that are made here, or at least as long."""
    if not isinstance(value, str):
        return False
    if key == _SIGNING_KEY:
        return _PEM.fullmatch(value) is not None
    # While an encryption key is being changed, there are several, one a line.
    parts = value.split("\n") if key == _ENCRYPTION_KEY else [value]
    return all(re.fullmatch(rf"{_KEY_KINDS.get(key, '')}[A-Za-z0-9+/=_-]{{43,}}", part) for part in parts)


def _is_secure(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _make_once(path: Path, content: Callable[[], str]) -> None:
    """Write a file that does not exist yet; an existing one is never touched."""
    if not path.exists():
        with partial(path) as file:
            file.path.write_text(content())
            file.publish(path, operation="make stack files")


def _replace(path: Path, content: str) -> None:
    """Write a file so that it is there as a whole or as it was."""
    if not path.exists() or path.read_text() != content:
        with partial(path) as file:
            file.path.write_text(content)
            file.replace(path)
