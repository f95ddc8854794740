"""Where a webhook may be: rules for its URL, and for the addresses that its name turns out to have. Pure.

A tenant chooses the URL and this machine opens the connection, so that whatever only this machine can reach is refused:
private, loopback and link-local networks, cloud metadata, and the same hidden in IPv6. A name proves nothing about the
addresses behind it, and may have others a moment later: what counts is the address that the connection is made to.
Leaves out: resolving and connecting (``post``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    Networks = Sequence[IPv4Network | IPv6Network]

LONGEST_URL = 2_000
_PRINTABLE = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)
_LONGEST_NAME = 253  # RFC 1035, 2.3.4, without the root's empty label
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
_LOCAL_NAMES = frozenset(("localhost", "local", "internal"))
"""Last labels that never lead to a public address: RFC 6761, RFC 6762, and the one that ICANN reserved in 2024."""

# IANA's registries of special-purpose addresses; not `is_global`, whose answer depends on Python's patch level.
_REFUSED_V4 = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # public by its number, but Azure's host, as each of its machines sees it
    )
)
_GLOBAL_V6 = ip_network("2000::/3")
# Protocol assignments with Teredo, documentation twice, 6to4: the last leads wherever the IPv4 address in it says.
_REFUSED_V6 = tuple(ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in the parts that a request needs; ``path`` is the request's target, with the query."""

    host: str
    port: int
    path: str
    is_tls: bool


def parse_target(operation: str, url: object, allowed: Networks = ()) -> Target:
    """Return the parts of a webhook's URL.

    Refused is what can be seen without asking for addresses: plain HTTP and names of the local network unless networks
    are ``allowed``, addresses that are not public and not in one of them, and anything else than scheme, host, port,
    path and query.

    Raises:
        InvalidValueError: it is refused; the error quotes nothing of it, since URLs of webhooks hold secrets.

    """
    text = checks.text(operation, "url", url, longest=LONGEST_URL, empty=False)
    if not _PRINTABLE.fullmatch(text):
        raise _refused(operation, "holds characters that a URL must escape", "write the host's name in its xn-- form")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise _refused(operation, "is no URL") from None
    if parts.scheme not in {"http", "https"}:
        raise _refused(operation, "is not of the form https://host/path")
    if "[" in parts.netloc and ":" not in host:  # an address of the future (RFC 3986, 3.2.2), not a name
        raise _refused(operation, "is no URL")
    if parts.username is not None or "#" in text or port == 0 or "\\" in text:
        raise _refused(operation, "holds more than scheme, host, port, path and query")
    is_tls = parts.scheme == "https"
    if not is_tls and not allowed:
        raise _refused(operation, "is plain HTTP", "give an https:// address")
    _check_host(operation, host, allowed, is_tls=is_tls)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port or (443 if is_tls else 80), path, is_tls)


def address_problem(text: str, allowed: Networks = (), *, is_tls: bool = True) -> str:
    """Return why no connection may be made to this numeric address, or '' when one may.

    An ``allowed`` network is reached whatever else it is; without TLS nothing but these is.
    """
    try:
        outer = ip_address(text)
    except ValueError:
        return "is no address"
    address = _unwrapped(outer)
    if any(address in network for network in allowed):
        return ""
    if isinstance(address, IPv4Address):
        public = not any(address in network for network in _REFUSED_V4)
    else:
        public = (
            address in _GLOBAL_V6
            and address.scope_id is None
            and not any(address in network for network in _REFUSED_V6)
        )
    if not public:
        return "is not a public address"
    return "" if is_tls else "is a public address, and plain HTTP goes to allowed networks only"


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that a connection to this one reaches, where there is one."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _check_host(operation: str, host: str, allowed: Networks, *, is_tls: bool) -> None:
    if ":" in host or _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
        # Written as a number, in octal or in parts, an address passes for a name here and for an address further on.
        if problem := address_problem(host, allowed, is_tls=is_tls):
            raise _refused(operation, f"its host {problem}", _ALLOW)
        return
    if not _NAME.fullmatch(host) or len(host.rstrip(".")) > _LONGEST_NAME:
        raise _refused(operation, "its host is no name")
    if host.rstrip(".").rpartition(".")[2].lower() in _LOCAL_NAMES and not allowed:
        raise _refused(operation, "its host is a name of the local network", _ALLOW)


_ALLOW = "ARAGORA_WEBHOOK_ALLOWED_NETWORKS names networks that may be reached though they are not public"


def _refused(operation: str, problem: str, hint: str = "") -> InvalidValueError:
    return InvalidValueError(operation, "url", problem, hint=hint)
