"""The version of this package, also where it is mounted rather than installed, so that it has no metadata."""

import re

VERSION = "0.2.0"


def order(release: str) -> tuple[int, ...]:
    """Return what releases are compared by: 0.10.0 comes after 0.9.0."""
    return tuple(map(int, re.findall(r"\d+", release)))
