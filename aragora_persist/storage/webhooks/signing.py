"""Signatures of what is sent to webhooks: HMAC-SHA256 over ``<timestamp>.<body>``. Pure.

Signed are exactly the bytes that are sent, and the time with them, so that a request that was listened to cannot be
sent again later. The key is the secret's text as its owner was given it. Leaves out: keeping secrets, and sending.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.times import from_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

SIGNATURE_HEADER = "X-Aragora-Signature"
TOLERANCE_S = 300
_LONGEST_HEADER = 4096
_VERIFY = "webhook signature"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a body that is sent at ``timestamp`` (seconds since 1970), as 64 hex digits.

    Raises:
        InvalidValueError: the secret is empty, with which anybody could sign, or no text; or the body is not bytes.

    """
    _check(secret, body)
    return hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def signature_header(secrets: Iterable[str], timestamp: int, body: bytes) -> str:
    """Return the header's value: ``t=<timestamp>,v1=<signature>``, with one ``v1`` for each secret."""
    return ",".join((f"t={timestamp}", *(f"v1={sign(secret, timestamp, body)}" for secret in secrets)))


def verify(
    secret: str, header: str, body: bytes, *, tolerance_s: float = TOLERANCE_S, now: datetime | None = None
) -> bool:
    """Tell whether the holder of ``secret`` has signed ``body`` within ``tolerance_s`` of ``now`` (default: the clock).

    One matching signature is enough: while a secret rotates, the header carries one for each. Parts of other names are
    left alone. Whatever the header holds, the answer is a bool, and comparing takes the same time for every signature.

    Raises:
        InvalidValueError: what the receiver's own code gives is wrong: an empty secret, a body that is not bytes, a
            tolerance below zero, a ``now`` without a time zone.

    """
    _check(secret, body)
    tolerance_s = checks.number(_VERIFY, "tolerance_s", tolerance_s, least=0)
    present = from_text(checks.moment(_VERIFY, "now", now or utc_now())).timestamp()
    timestamp, signatures = _parts(header)
    if timestamp is None or abs(present - timestamp) > tolerance_s:
        return False
    expected = sign(secret, timestamp, body).encode()
    return any(hmac.compare_digest(expected, signature.encode("utf-8", "replace")) for signature in signatures)


def _check(secret: object, body: object) -> None:
    """Refuse what nothing can be signed with: an empty secret would be one that everybody knows."""
    checks.text(_VERIFY, "secret", secret, empty=False)
    if not isinstance(body, bytes | bytearray):
        problem = f"is a {type(body).__name__}, not bytes"
        raise InvalidValueError(_VERIFY, "body", problem, hint="take the body of the request as it came in")


def _parts(header: object) -> tuple[int | None, list[str]]:
    """Return time and signatures of a header; no time when it is malformed."""
    if not isinstance(header, str) or len(header) > _LONGEST_HEADER:
        return None, []
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]):
        return None, []
    return int(times[0]), [value for name, _, value in pairs if name == "v1"]
