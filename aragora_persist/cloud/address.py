"""Where a project is and with which key it is entered: what could never work is refused before it is tried. Pure.

Libraries further on would refuse it too, in words that quote it.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Secret

_OPERATION = "supabase.connect"
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_PRINTABLE = re.compile(r"[!-~]+")


def checked_address(url: str) -> tuple[str, str]:
    """Return the URL of a project and its host, with the port where it names one.

    Raises:
        InvalidValueError: it is no URL, or more than the address of a project.

    """
    problem = ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
        if re.fullmatch(r"[0-9.]+", host):
            ip_address(host)
    except ValueError:
        problem = "is no URL"
    else:
        if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or not _PRINTABLE.fullmatch(url):
            problem = "is no URL of the web"
        elif parts.username is not None or parts.query or parts.fragment:
            problem = "holds more than an address"
        elif re.search(r"/rest/v1/?$", parts.path):
            problem = "names the REST interface"
    if problem:
        hint = "give the project's address alone, such as https://yourproject.supabase.co"
        raise InvalidValueError(_OPERATION, "SUPABASE_URL", problem, hint=hint)
    return url.rstrip("/"), place


def checked_key(key: Secret) -> Secret:
    """Return the key as it is now.

    Raises:
        InvalidValueError: no request could carry it, or the file that holds it cannot be read.

    """
    text = Secret(key.reveal())
    if not _PRINTABLE.fullmatch(text.reveal()):
        problem = "holds spaces or characters that no key has"
        raise InvalidValueError(_OPERATION, "SUPABASE_KEY", problem, hint="copy the service key once more")
    return text
