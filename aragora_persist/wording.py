"""How sizes and spans of time read to a person, on the terminal and on the status page alike. Pure."""

from __future__ import annotations

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def size_text(size_bytes: int) -> str:
    """Return a size with at most one decimal: ``0 bytes``, ``1.5 KiB``, ``120 MiB``."""
    size = float(size_bytes)
    unit = 0
    while size >= 1024 and unit < len(_SIZES) - 1:  # noqa: PLR2004 - the units are powers of 1024
        size /= 1024
        unit += 1
    decimals = 1 if unit and size < 10 else 0  # noqa: PLR2004 - one digit before the point leaves room for one after
    return f"{size:.{decimals}f} {_SIZES[unit]}"


def span_text(seconds: float) -> str:
    """Return a span of time in its largest fitting unit, rounded down: ``3 minutes``, ``1 day``."""
    whole = max(0, int(seconds))
    for length, unit in _SPANS:
        if whole >= length:
            count = whole // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def count_text(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 migration``, ``1,200 records``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
