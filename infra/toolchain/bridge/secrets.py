"""Secrets that passed through this process, and the texts that must not show them.

Pulumi marks what is secret on its way in; Terraform does not know the notion. So the bridge remembers the texts: it
takes them out of every error and log line, and marks an output secret when its input was, or when a secret text turns
up in it (the log of a container that prints its environment).
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Final

from .values import encode, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf import struct_pb2

    from .values import Properties, Value

PLACEHOLDER: Final = "[secret]"
# Shorter ones are only looked for as whole words: "a" is in every sentence, and says nothing there.
_SHORT: Final = 8


def variants(secret: str) -> Iterator[str]:
    """Find the forms in which a secret may turn up: itself, quoted, without its variable's name, its single lines."""
    _, has_name, value = secret.partition("=")
    for form in {secret, value} if has_name and re.match(r"\w+=", secret) else {secret}:
        yield form
        yield json.dumps(form)[1:-1]
        yield json.dumps(form, ensure_ascii=False)[1:-1]
        yield from (line for line in form.splitlines() if len(line) >= _SHORT)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in variants(secret) if form.strip()}
    parts = (
        re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
    )
    source = "|".join(parts)
    return re.compile(source) if source else None


class Redactor:
    """Remembers secret texts for the life of the process and takes them out of what is about to be shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._compiled: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def remember(self, secrets: Iterable[str]) -> None:
        """Take in more texts; ones that are known cost nothing."""
        with self._lock:
            added = self._secrets.union(secrets)
            if added != self._secrets:
                self._secrets, self._compiled = added, _pattern(added)

    def redact(self, text: str) -> str:
        """Return the text with a placeholder for every secret."""
        pattern = self._compiled
        return text if pattern is None else pattern.sub(PLACEHOLDER, text)


def sealed(outputs: Mapping[str, Value], *inputs: Properties) -> struct_pb2.Struct:
    """Write outputs in Pulumi's form, those that must stay secret marked so."""
    return encode(outputs, secret_outputs(outputs, *inputs))


def secret_outputs(outputs: Mapping[str, Value], *inputs: Properties) -> set[str]:
    """Choose the outputs to mark secret: secret among the inputs, or holding the text of a secret input."""
    keys = {key for one in inputs for key in one.secret_keys if key in outputs}
    pattern = _pattern(text for one in inputs for text in one.secret_texts)
    if pattern is not None:
        keys.update(key for key, value in outputs.items() if any(pattern.search(text) for text in texts(value)))
    return keys
