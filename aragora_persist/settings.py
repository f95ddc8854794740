"""Every environment variable of this package, read in one place.

``Settings.from_env`` is called when an object is made, never at import. Explicit arguments beat the environment.
``VARIABLES`` is the one list of names, defaults and meanings; the table in the documentation is generated from it.
"""

from __future__ import annotations

import math
import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aragora_persist.errors import InvalidValueError
from aragora_persist.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network, IPv6Network


class Durability(Enum):
    """What a write that returned survives."""

    COMMITTED = "committed"
    """A crash of the process (``synchronous=NORMAL``)."""
    DURABLE = "durable"
    """A loss of power too (``synchronous=FULL``)."""


class Compression(Enum):
    """How a backup's file is compressed."""

    NONE = "none"
    ZSTD = "zstd"


class Secret:
    """A string that never shows itself: not in ``repr``, ``str``, a format or a traceback's locals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself; the caller passes it on at once and keeps no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class FileSecret(Secret):
    """A secret that stands in a file, which is read whenever the secret is revealed and not before.

    So a file that cannot be read troubles only what needs the secret, and a key that was changed is taken up.
    """

    __slots__ = ("_variable",)

    def __init__(self, path: Path, variable: str) -> None:
        super().__init__(os.fspath(path))
        self._variable = variable

    def reveal(self) -> str:
        """Return what the file holds, without the spaces and line ends around it.

        Raises:
            InvalidValueError: the file cannot be read or holds no secret; ``target`` is the variable that names it.

        """
        path = Path(self._value)
        try:
            # A pipe or a terminal would be waited for.
            text = path.read_text(encoding="utf-8").strip() if path.is_file() else None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise self._unusable(f"cannot be read: {reason}") from error
        if not text:
            raise self._unusable("is empty" if text is not None else "is not there, or is not a file")
        return text

    def _unusable(self, problem: str) -> InvalidValueError:
        return InvalidValueError(
            "read secret file", self._variable, f"{self._value} {problem}", hint="write the secret into this file"
        )


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: its name, its default as text ('' where there is none) and what it sets."""

    name: str
    default: str
    description: str


VARIABLES: tuple[Variable, ...] = (
    Variable("NOMIC_DIR", "~/.aragora", "Database directory"),
    Variable("SUPABASE_URL", "", "Supabase project URL"),
    Variable("SUPABASE_KEY", "", "Supabase service key"),
    Variable("SUPABASE_KEY_FILE", "", "File that holds the Supabase service key, in place of `SUPABASE_KEY`"),
    Variable("SUPABASE_DB_URL", "", "Address of Supabase's database with its password, where the schema is applied"),
    Variable("SUPABASE_DB_URL_FILE", "", "File that holds that address, in place of `SUPABASE_DB_URL`"),
    Variable("ARAGORA_SLOW_QUERY_MS", "500", "Slow query threshold, in milliseconds"),
    Variable("ARAGORA_AUDIT_RETENTION_DAYS", "90", "Audit log retention, in days"),
    Variable("DB_TIMEOUT", "30", "SQLite connection timeout, in seconds; fractions are allowed"),
    Variable("ARAGORA_DURABILITY", "durable", "What a write survives by default: `durable` or `committed`"),
    Variable(
        "ARAGORA_ENCRYPTION_KEY_FILE",
        "",
        "File with the keys that encrypt secrets in the databases, base64 of 32 bytes, one a line; the first encrypts",
    ),
    Variable("ARAGORA_AUDIT_SIGNING_KEY_FILE", "", "File with the Ed25519 key (PEM) that signs the audit log's heads"),
    Variable(
        "ARAGORA_WEBHOOK_ALLOWED_NETWORKS",
        "",
        "Networks that webhooks may reach though they are not public, with or without TLS, such as `10.1.0.0/16, ::1`",
    ),
    Variable("ARAGORA_BACKUP_DIR", "$NOMIC_DIR/backups", "Where backups and their catalog are written"),
    Variable("ARAGORA_BACKUP_INTERVAL_SECONDS", "3600", "How often the backup sidecar takes a backup"),
    Variable("ARAGORA_BACKUP_RETENTION_DAYS", "7", "How long all backups are kept, in days"),
    Variable("ARAGORA_BACKUP_KEEP_LAST", "1", "How many of the last backups of a database are kept, however old"),
    Variable("ARAGORA_BACKUP_KEEP_HOURLY", "0", "For how many hours with a backup the last one of each is kept"),
    Variable("ARAGORA_BACKUP_KEEP_DAILY", "0", "The same for days (UTC)"),
    Variable("ARAGORA_BACKUP_KEEP_WEEKLY", "0", "The same for weeks (ISO 8601)"),
    Variable("ARAGORA_BACKUP_KEEP_MONTHLY", "0", "The same for months"),
    Variable("ARAGORA_BACKUP_COMPRESSION", "none", "How backups are compressed: `none` or `zstd`"),
    Variable(
        "ARAGORA_BACKUP_RECIPIENTS",
        "",
        "Public keys of age (`age1…`), separated by spaces or commas; backups are encrypted to all of them",
    ),
    Variable("ARAGORA_BACKUP_IDENTITY_FILE", "", "File with age identities, one a line, that read encrypted backups"),
    Variable(
        "ARAGORA_BACKUP_OBJECTIVE_SECONDS",
        "",
        "How old the newest verified backup may be (default: two intervals and two minutes)",
    ),
    Variable(
        "ARAGORA_DRILL_INTERVAL_SECONDS", "86400", "How often the sidecar restores the newest backups to prove them"
    ),
    Variable(
        "ARAGORA_DRILL_OBJECTIVE_SECONDS", "", "How long ago the last good drill may be (default: two of its intervals)"
    ),
    Variable("ARAGORA_OFFSITE_URL", "", "Where backups are shipped: `s3://BUCKET/PREFIX`, or `file:///FOLDER`"),
    Variable("ARAGORA_OFFSITE_ENDPOINT", "", "Address of an S3-compatible server (default: that of AWS)"),
    Variable(
        "ARAGORA_OFFSITE_ALLOW_HTTP", "no", "`yes` where that server is reached over a trusted network without TLS"
    ),
    Variable("ARAGORA_OFFSITE_REGION", "us-east-1", "Its region"),
    Variable("ARAGORA_OFFSITE_ACCESS_KEY_ID", "", "Who writes there"),
    Variable("ARAGORA_OFFSITE_SECRET_ACCESS_KEY", "", "The secret to it"),
    Variable(
        "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE",
        "",
        "File that holds that secret, in place of `ARAGORA_OFFSITE_SECRET_ACCESS_KEY`",
    ),
    Variable(
        "ARAGORA_LITESTREAM_URL",
        "",
        "Where Litestream ships transactions, with a folder for each database; same server and keys as off-site",
    ),
)

_Otherwise = TypeVar("_Otherwise", Path, None)
_Number = TypeVar("_Number", int, float)
_Choice = TypeVar("_Choice", bound=Enum)
_KEY_FILE = "ARAGORA_ENCRYPTION_KEY_FILE"
_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says, validated."""

    nomic_dir: Path
    supabase_url: str
    supabase_key: Secret | None
    supabase_db_url: Secret | None
    slow_query_ms: float
    audit_retention_days: int
    db_timeout_s: float
    durability: Durability
    encryption_key_file: Path | None
    audit_signing_key_file: Path | None
    webhook_allowed_networks: tuple[IPv4Network | IPv6Network, ...]
    backup_dir: Path
    backup_interval_s: float
    backup_retention_days: int
    backup_keep_last: int
    backup_keep_hourly: int
    backup_keep_daily: int
    backup_keep_weekly: int
    backup_keep_monthly: int
    backup_compression: Compression
    backup_recipients: tuple[str, ...]
    backup_identity_file: Path | None
    backup_objective_s: float
    drill_interval_s: float
    drill_objective_s: float
    offsite_url: str
    offsite_endpoint: str
    offsite_allow_http: bool
    offsite_region: str
    offsite_access_key_id: str
    offsite_secret_access_key: Secret | None
    litestream_url: str

    @property
    def supabase_configured(self) -> bool:
        """Whether it is said where Supabase is and which key opens it; not whether that is true."""
        return bool(self.supabase_url) and self.supabase_key is not None

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, nomic_dir: str | os.PathLike[str] | None = None
    ) -> Settings:
        """Return the settings that ``environ`` (default: ``os.environ``) holds.

        An empty variable counts as unset. ``nomic_dir`` takes the place of ``NOMIC_DIR``. A file that holds a secret is
        not opened here, but when the secret is revealed.

        Raises:
            InvalidValueError: a variable's text is not what it should be; ``target`` is the variable's name.

        """
        source = os.environ if environ is None else environ
        if nomic_dir is not None:
            source = {**source, "NOMIC_DIR": os.fspath(nomic_dir)}
        read = _Reader(source)
        nomic_dir = read.path("NOMIC_DIR")
        backup_interval_s = read.number("ARAGORA_BACKUP_INTERVAL_SECONDS", least=1)
        drill_interval_s = read.number("ARAGORA_DRILL_INTERVAL_SECONDS", least=1)
        return cls(
            nomic_dir=nomic_dir,
            supabase_url=read.text("SUPABASE_URL"),
            supabase_key=read.secret("SUPABASE_KEY"),
            supabase_db_url=read.secret("SUPABASE_DB_URL"),
            slow_query_ms=read.number("ARAGORA_SLOW_QUERY_MS", least=0),
            audit_retention_days=read.count("ARAGORA_AUDIT_RETENTION_DAYS"),
            db_timeout_s=read.number("DB_TIMEOUT", least=0),
            durability=read.choice("ARAGORA_DURABILITY", Durability),
            encryption_key_file=read.path_or(_KEY_FILE, None),
            audit_signing_key_file=read.path_or("ARAGORA_AUDIT_SIGNING_KEY_FILE", None),
            webhook_allowed_networks=read.networks("ARAGORA_WEBHOOK_ALLOWED_NETWORKS"),
            backup_dir=read.path_or("ARAGORA_BACKUP_DIR", nomic_dir / "backups"),
            backup_interval_s=backup_interval_s,
            backup_retention_days=read.count("ARAGORA_BACKUP_RETENTION_DAYS", least=1),
            backup_keep_last=read.count("ARAGORA_BACKUP_KEEP_LAST", least=1),
            backup_keep_hourly=read.count("ARAGORA_BACKUP_KEEP_HOURLY"),
            backup_keep_daily=read.count("ARAGORA_BACKUP_KEEP_DAILY"),
            backup_keep_weekly=read.count("ARAGORA_BACKUP_KEEP_WEEKLY"),
            backup_keep_monthly=read.count("ARAGORA_BACKUP_KEEP_MONTHLY"),
            backup_compression=read.choice("ARAGORA_BACKUP_COMPRESSION", Compression),
            backup_recipients=tuple(read.text("ARAGORA_BACKUP_RECIPIENTS").replace(",", " ").split()),
            backup_identity_file=read.path_or("ARAGORA_BACKUP_IDENTITY_FILE", None),
            backup_objective_s=read.number_or("ARAGORA_BACKUP_OBJECTIVE_SECONDS", 2 * backup_interval_s + 120),
            drill_interval_s=drill_interval_s,
            drill_objective_s=read.number_or("ARAGORA_DRILL_OBJECTIVE_SECONDS", 2 * drill_interval_s),
            offsite_url=read.text("ARAGORA_OFFSITE_URL"),
            offsite_endpoint=read.text("ARAGORA_OFFSITE_ENDPOINT"),
            offsite_allow_http=read.flag("ARAGORA_OFFSITE_ALLOW_HTTP"),
            offsite_region=read.text("ARAGORA_OFFSITE_REGION"),
            offsite_access_key_id=read.text("ARAGORA_OFFSITE_ACCESS_KEY_ID"),
            offsite_secret_access_key=read.secret("ARAGORA_OFFSITE_SECRET_ACCESS_KEY"),
            litestream_url=read.text("ARAGORA_LITESTREAM_URL"),
        )


class _Reader:
    """Reads variables with their defaults, and says which one is wrong."""

    def __init__(self, source: Mapping[str, str]) -> None:
        self._source = source

    def text(self, name: str) -> str:
        return self._source.get(name, "").strip() or _DEFAULTS[name]

    def path(self, name: str) -> Path:
        text = self.text(name)
        try:
            return Path(text).expanduser()
        except RuntimeError as error:  # a user without a home, or none of this name
            problem = f"{text!r} is in a home directory that is not known here"
            hint = f"set {name} to an absolute path"
            raise InvalidValueError("read environment", name, problem, hint=hint) from error

    def path_or(self, name: str, otherwise: _Otherwise) -> Path | _Otherwise:
        return self.path(name) if self._source.get(name, "").strip() else otherwise

    def secret(self, name: str) -> Secret | None:
        text, file = self.text(name), f"{name}_FILE"
        if not self.text(file):
            return Secret(text) if text else None
        if text:
            problem = f"is set, and {file} too"
            raise InvalidValueError("read environment", name, problem, hint="unset one of them")
        return FileSecret(self.path(file), file)

    def number(self, name: str, *, least: float) -> float:
        return self._number(name, float, "a number", least)

    def number_or(self, name: str, otherwise: float) -> float:
        return self.number(name, least=0) if self.text(name) else otherwise

    def count(self, name: str, *, least: int = 0) -> int:
        return self._number(name, int, "a whole number", least)

    def _number(self, name: str, parse: Callable[[str], _Number], kind: str, least: float) -> _Number:
        text = self.text(name)
        try:
            value = parse(text)
            usable = math.isfinite(value) and value >= least
        except (ValueError, OverflowError):
            usable = False
        if not usable:
            raise InvalidValueError("read environment", name, f"{text!r} is not {kind} of at least {least}")
        return value

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        if not (text := self.text(name)):
            return ()
        from ipaddress import ip_network  # noqa: PLC0415 - every store imports this module, few processes name networks

        try:
            return tuple(ip_network(part) for part in text.replace(",", " ").split())
        except ValueError:
            problem = f"{text!r} is not a list of networks such as 10.1.0.0/16"
            raise InvalidValueError("read environment", name, problem) from None

    def flag(self, name: str) -> bool:
        text = self.text(name)
        if text not in {"yes", "no"}:
            raise InvalidValueError("read environment", name, f"{text!r} is not 'yes' or 'no'")
        return text == "yes"

    def choice(self, name: str, choices: type[_Choice]) -> _Choice:
        text = self.text(name)
        try:
            return choices(text)
        except ValueError:
            known = " or ".join(repr(choice.value) for choice in choices)
            raise InvalidValueError("read environment", name, f"{text!r} is not {known}") from None
