"""Takes credentials out of text that a person or a log will see.

A second line of defence: errors of this package hold no secret in the first place, but the text of another library's
error may quote a URL or a header.
"""

from __future__ import annotations

import re

_MARK = "[redacted]"
_PATTERNS = (
    # user:password@ in a URL: the user stays, since it tells which account failed
    (re.compile(r"(://[^\s/:@]*:)[^\s/]*(?=@)"), rf"\g<1>{_MARK}"),
    (re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\g<1>{_MARK}"),
    (
        re.compile(
            r"""(\b(?:password|passwd|secret|token|api_?key|apikey)\b["']?\s*[=:]\s*["']?)[^\s"'&,;]+""", re.IGNORECASE
        ),
        rf"\g<1>{_MARK}",
    ),
    # Not after a bare colon: errors of this package begin with the variable that they are about.
    (re.compile(r"""(\bsupabase_key(?:["']?\s*=|["']\s*:)\s*["']?)[^\s"'&,;]+""", re.IGNORECASE), rf"\g<1>{_MARK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _MARK),  # a JSON web token, such as Supabase's older keys
    (re.compile(r"\bsb_(?:secret|publishable)_[\w-]+"), _MARK),
    (re.compile(r"\bara_[\w-]{20,}"), _MARK),
)


def redact(text: str) -> str:
    """Return ``text`` with everything that looks like a credential replaced."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
