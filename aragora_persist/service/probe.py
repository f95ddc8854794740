"""One readiness probe from outside the service's process: what a container's health check runs."""

from __future__ import annotations

import http.client

from aragora_persist.errors import PersistError

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - replaced, not bound


def probe(host: str, port: int, *, timeout_s: float = 2.0) -> None:
    """Return when the service at ``host`` and ``port`` is ready; an address that means "all" is asked over loopback.

    Raises:
        PersistError: nothing answers, or the service is not ready; the problem holds its reasons.

    """
    connection = http.client.HTTPConnection(_WILDCARDS.get(host, host), port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(4096).decode(errors="replace")
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise PersistError(
            "probe", f"{host}:{port}", f"does not answer: {error}", hint="is `aragora-persist serve` running there?"
        ) from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise PersistError("probe", f"{host}:{port}", "; ".join(body.splitlines()) or f"HTTP {response.status}")
