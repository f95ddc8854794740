"""Tree heads, to be kept off the machine: what the log was at a time. Pure but for the library that signs.

Leaves out: where they are kept, which must be where whoever may write the database may not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.audit import tree
from aragora_persist.times import from_text, to_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.audit.signing import PublicKeys, SigningKey

_PURPOSE = "head"
_SIZE_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The first ``size`` entries of the log have this root (hex); ``key`` and ``signature`` are '' when unsigned."""

    size: int
    root: str
    timestamp: datetime
    key: str = ""
    signature: str = ""

    def to_text(self) -> str:
        """Return the head as one line of JSON."""
        statement = {"size": self.size, "root": self.root, "timestamp": to_text(self.timestamp)}
        if self.signature:
            statement |= {"key": self.key, "signature": self.signature}
        return json.dumps(statement)

    @classmethod
    def from_text(cls, text: str) -> TreeHead:
        """Return the head of a text that ``to_text`` wrote.

        Raises:
            InvalidValueError: the text is no head.

        """
        try:
            found: dict[str, Any] = json.loads(text)
            head = cls(
                found["size"],
                bytes.fromhex(found["root"]).hex(),
                from_text(found["timestamp"]),
                str(found.get("key", "")),
                str(found.get("signature", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidValueError) as error:
            raise _no_head() from error
        if type(head.size) is not int or not 0 <= head.size < _SIZE_LIMIT or len(head.root) != 2 * tree.HASH_BYTES:
            raise _no_head()
        return head

    def signed(self, key: SigningKey) -> TreeHead:
        """Return the head with a signature."""
        statement = key.sign(_PURPOSE, to_text(self.timestamp), {"size": self.size, "root": self.root})
        return TreeHead(self.size, self.root, self.timestamp, statement["key"], statement["signature"])

    def signature_problem(self, keys: PublicKeys) -> str | None:
        """Return what is wrong with the signature, or None."""
        statement = {"size": self.size, "root": self.root}
        signed = {"key": self.key, "signature": self.signature} if self.signature else {}
        return keys.problem(_PURPOSE, to_text(self.timestamp), statement | signed)


def _no_head() -> InvalidValueError:
    return InvalidValueError("read audit head", "text", "is not a tree head", hint="pass what TreeHead.to_text gave")
