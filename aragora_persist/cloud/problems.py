"""Errors with one way out, told as one: a project without the schema is one problem, not one for each table. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aragora_persist.errors import PersistError


def tell_alike(errors: Iterable[PersistError]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what, and the way out or ''; without credentials.

    Of errors of one kind and with one way out the first says what is wrong, with the targets of all.
    """
    alike: dict[tuple[type[PersistError], str], list[PersistError]] = {}
    for error in errors:
        alike.setdefault((type(error), error.hint), []).append(error)
    for (_, hint), group in alike.items():
        targets = ", ".join(dict.fromkeys(error.target for error in group))
        yield redact(f"{targets}: {group[0].problem}"), redact(hint)
