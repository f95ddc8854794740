"""Where off-site is, and what opens it: what could never work is refused before anything is tried. Pure.

Leaves out: whether anything is there (``objects``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from aragora_persist.settings import Secret, Settings

_OPERATION = "off-site"
_URL = "ARAGORA_OFFSITE_URL"
_ENDPOINT = "ARAGORA_OFFSITE_ENDPOINT"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9-]+")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
# What needs no escape in any URL, header or file name, and no server reads in two ways.
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, such as where another disk or an export of another machine is mounted."""

    path: Path
    server = "this machine"

    def __str__(self) -> str:
        return self.path.as_uri()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of an S3-compatible server, or a prefix in it."""

    name: str
    prefix: str
    """Without slashes around it; '' is the whole bucket."""
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: Secret

    @property
    def server(self) -> str:
        """Return who answers for it."""
        return self.endpoint

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


def location(settings: Settings) -> Folder | Bucket:
    """Return where off-site is; as text it is its URL, without any secret.

    Raises:
        InvalidValueError: a setting is missing or could never work; ``target`` is its variable.

    """
    if not settings.offsite_url:
        raise _refused(_URL, "is not set", "such as s3://BUCKET/PREFIX, or file:///FOLDER")
    url = _split(settings.offsite_url, _URL)
    if url.scheme == "file":
        return _folder(url)
    if url.scheme == "s3":
        return _bucket(url, settings)
    raise _refused(_URL, "begins neither with s3:// nor with file:///", "such as s3://BUCKET/PREFIX, or file:///FOLDER")


def _folder(url: SplitResult) -> Folder:
    path = Path(unquote(url.path))
    if url.netloc or not path.is_absolute() or ".." in path.parts:
        raise _refused(_URL, "is not the whole path of a folder", "write it with three slashes: file:///srv/backups")
    return Folder(path)


def _bucket(url: SplitResult, settings: Settings) -> Bucket:
    prefix = url.path.strip("/")
    if not _BUCKET.fullmatch(url.netloc):
        raise _refused(_URL, "names no bucket", "s3:// and its name, with a prefix or without: s3://BUCKET/PREFIX")
    if prefix and not all(_SEGMENT.fullmatch(segment) for segment in prefix.split("/")):
        raise _refused(_URL, "has a prefix with other characters than letters, digits and -_./", "name another prefix")
    if not _REGION.fullmatch(settings.offsite_region):
        raise _refused("ARAGORA_OFFSITE_REGION", "is no region", "such as eu-central-1")
    if not settings.offsite_access_key_id:
        raise _refused("ARAGORA_OFFSITE_ACCESS_KEY_ID", "is not set", "the id of a key that may create and read there")
    if settings.offsite_secret_access_key is None:
        hint = "name a file that holds the secret of the access key"
        raise _refused("ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE", "is not set", hint)
    return Bucket(
        name=url.netloc,
        prefix=prefix,
        endpoint=_endpoint(settings),
        region=settings.offsite_region,
        access_key_id=settings.offsite_access_key_id,
        secret_access_key=settings.offsite_secret_access_key,
    )


def _endpoint(settings: Settings) -> str:
    if not settings.offsite_endpoint:
        return f"https://s3.{settings.offsite_region}.amazonaws.com"
    url = _split(settings.offsite_endpoint, _ENDPOINT)
    host = url.hostname or ""
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or url.path.strip("/"):
        raise _refused(_ENDPOINT, "is not the address of a server", "such as https://s3.example.com")
    if url.scheme == "http" and not (settings.offsite_allow_http or _is_loopback(host)):
        hint = "use https, or set ARAGORA_OFFSITE_ALLOW_HTTP to yes where the network is trusted"
        raise _refused(_ENDPOINT, "is without TLS and not on this machine", hint)
    return f"{url.scheme}://{url.netloc}"


def _split(text: str, variable: str) -> SplitResult:
    """Take a URL apart; it is never quoted, since what is wrong with it may be that it holds a secret."""
    try:
        url = urlsplit(text)
        usable = url.port != 0 and text.isprintable()
    except ValueError:
        usable = False
    if not usable:
        raise _refused(variable, "is no URL", "such as s3://BUCKET/PREFIX, or https://s3.example.com for the endpoint")
    if "@" in url.netloc or url.query or url.fragment:
        raise _refused(variable, "holds more than an address", "keys have variables of their own")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(variable: str, problem: str, hint: str) -> InvalidValueError:
    return InvalidValueError(_OPERATION, variable, problem, hint=hint)
