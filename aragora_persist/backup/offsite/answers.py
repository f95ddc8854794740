"""What obstore says went wrong, as an error of ours: its kind decides whether trying again may help.

``UnreachableError`` is the kind that may be tried again. An S3 server's answer is known by its status and its code; the
rest of its body, in which some servers repeat what was signed, is not taken over. Pure.
"""

from __future__ import annotations

import re

from aragora_persist.errors import (
    AccessDeniedError,
    NotFoundError,
    PersistError,
    StorageError,
    UnreachableError,
    UnsupportedError,
)

_OPERATION = "off-site"
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SYSTEM_SAYS = re.compile(r'message: "([^"]+)"|lookup address information: ([^"]+)"|(?:: )?([^:\n]+) \(os error \d+\)')
_DENIED = {401, 403}
_MISSING = 404
_ABSENT = {"", "NoSuchKey", "NoSuchBucket"}
"""What such an answer says of what was asked for; some servers give it of a key that they do not know."""
_UNKNOWN_METHOD = 501
_BUSY = {408, 409, 425, 429}
_FIRST_OF_SERVER_FAULTS = 500
_WRONG_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
# Refusals of what arrived, when it is not what was sent.
_DAMAGED_ON_THE_WAY = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_LATER = "nothing is lost: repeat it later"
_KEYS = "look at ARAGORA_OFFSITE_ACCESS_KEY_ID and its secret, and at what this key may do there"


def translated(error: Exception, target: str, server: str) -> PersistError:
    """Return our error for one that obstore, or the system under it, has raised about ``target`` at ``server``."""
    if isinstance(error, PersistError):
        return error
    text = str(error)
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = found[1] if (found := _CODE.search(text)) else ""
    if status:
        return _of_answer(status, code, target)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(_OPERATION, target, "is not there")
    if isinstance(error, OSError) or "LocalFileSystem" in text:
        return StorageError(_OPERATION, target, _system_says(text) or "cannot be read or written")
    return UnreachableError(_OPERATION, target, _of_connection(text, server), hint=_LATER)


def _of_answer(status: int, code: str, target: str) -> PersistError:
    said = f"the server answers {status} {code}".rstrip()
    if status == _MISSING and code in _ABSENT:
        bucket = code == "NoSuchBucket"
        hint = "make it, or correct ARAGORA_OFFSITE_URL" if bucket else ""
        return NotFoundError(_OPERATION, target, "there is no such bucket" if bucket else "is not there", hint=hint)
    busy = status in _BUSY or status >= _FIRST_OF_SERVER_FAULTS or code in _DAMAGED_ON_THE_WAY
    meanings: tuple[tuple[bool, type[PersistError], str], ...] = (
        (code == "RequestTimeTooSkewed", AccessDeniedError, "set this machine's clock"),
        (code in _WRONG_REGION, AccessDeniedError, "set ARAGORA_OFFSITE_REGION to the region of the bucket"),
        (status in _DENIED or status == _MISSING, AccessDeniedError, _KEYS),
        (status == _UNKNOWN_METHOD, UnsupportedError, "the server must know conditional writes (If-None-Match)"),
        (busy, UnreachableError, _LATER),
        (True, StorageError, ""),
    )
    kind, hint = next((kind, hint) for applies, kind, hint in meanings if applies)
    return kind(_OPERATION, target, said, hint=hint)


def _of_connection(text: str, server: str) -> str:
    if "kind: Timeout" in text:
        return f"{server} did not answer in time"
    if says := _system_says(text):
        return f"{server} cannot be reached: {says}"
    return f"the connection to {server} broke, or what answers there is no S3 server"


def _system_says(text: str) -> str:
    found = _SYSTEM_SAYS.search(text)
    return next((group.strip() for group in found.groups() if group), "") if found else ""
