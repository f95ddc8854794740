"""Files of vendors: fetched over the machine's own trust, kept only with the pinned digest."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
import urllib.request
from typing import TYPE_CHECKING

from infra.toolchain.parts import certificates
from infra.toolchain.step import Context, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from infra.toolchain.pins import Download

TIMEOUT_S = 15.0
CHUNK_BYTES = 1 << 20


def download_pinned(context: Context, pinned: Download, target: Path) -> None:
    """Write the file to ``target``.

    Raises UnavailableError when it cannot be fetched, or is not the pinned one.
    """
    trust = ssl.create_default_context(cafile=certificates.variables(context).get("SSL_CERT_FILE"))
    digest = hashlib.new(pinned.algorithm)
    try:
        with urllib.request.urlopen(pinned.url, timeout=TIMEOUT_S, context=trust) as answer, target.open("wb") as file:  # noqa: S310 - a pinned address, or a mirror that the user has chosen
            while chunk := answer.read(CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last: a mirror's address that is none
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"{pinned.url}: {getattr(reason, 'strerror', None) or reason}") from error
    actual = (digest.hexdigest(), base64.b64encode(digest.digest()).decode())
    if pinned.digest not in actual:
        raise UnavailableError(f"{pinned.url} has the {pinned.algorithm} digest {actual[0]}, pinned is {pinned.digest}")
