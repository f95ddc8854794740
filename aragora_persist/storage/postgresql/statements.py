"""The port's statements in PostgreSQL's form. Pure; each text is translated once.

Leaves out: anything but parameters. What is not in the subset that both databases share, the server refuses.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count

_CACHED = 1024
# What a question mark may stand in without being a parameter: texts, quoted names, comments.
_PARTS = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\?""", re.DOTALL)


@lru_cache(_CACHED)
def numbered(sql: str) -> bytes:
    """Return a statement with ``$1``, ``$2``, … in place of its ``?``."""
    numbers = count(1)
    return _PARTS.sub(lambda part: f"${next(numbers)}" if part[0] == "?" else part[0], sql).encode()
