"""Inclusion proofs: that one entry is in the log that a head describes, shown without the rest of the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError, NotFoundError
from aragora_persist.storage import checks
from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.append import read_state
from aragora_persist.storage.audit.entries import AuditEntry, entry_of, row_of
from aragora_persist.storage.audit.heads import TreeHead
from aragora_persist.storage.audit.leaf import COLUMNS, AuditRow, content_of, leaf_of
from aragora_persist.storage.audit.nodes import NodeSource
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    from aragora_persist.storage.port import Reader

_OPERATION = "audit.prove"
_BY_ID = f"SELECT {COLUMNS} FROM audit_log WHERE id = ?"  # noqa: S608 - constants of this package


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry is at this position of a tree of ``size`` entries: the hashes beside its way up to the root.

    The salts (or, of what was erased, the hashes) open what the leaf holds of the personal fields: give a proof only to
    whom the entry may be given.
    """

    position: int
    size: int
    path: tuple[bytes, ...]
    actor_salt: bytes | None
    actor_hash: bytes | None
    subject_salt: bytes | None
    subject_hash: bytes | None


def check_inclusion(entry: AuditEntry, proof: InclusionProof, head: TreeHead) -> bool:
    """Tell whether the proof shows that exactly this entry is in the log that the head describes.

    Pure, in O(log n). The head's own signature is another matter: ``TreeHead.signature_problem``.
    """
    if proof.size != head.size:
        return False
    row = row_of(entry)._replace(
        position=proof.position,
        actor_salt=proof.actor_salt,
        actor_hash=proof.actor_hash,
        subject_salt=proof.subject_salt,
        subject_hash=proof.subject_hash,
    )
    root = tree.root_of_path(leaf_of(row.id, row.position, content_of(row)), proof.position, proof.size, proof.path)
    return root is not None and root.hex() == head.root


def prove(view: Reader, ident: int, size: int | None) -> InclusionProof:
    """Return the proof for an entry in the log of its first ``size`` entries; see ``AuditStore.prove``."""
    found = view.one(_BY_ID, (ident,))
    if found is None:
        raise NotFoundError(_OPERATION, f"audit entry {ident}", "there is no such entry")
    row, state = AuditRow(*found), read_state(view)
    position = row.position
    if not isinstance(position, int):
        raise _unprovable(ident, "was not written by the log")
    size = checks.whole(_OPERATION, "size", state.size if size is None else size, least=position + 1, most=state.size)
    above = tree.complete_nodes(0, size)
    node = NodeSource(view, _OPERATION, [*tree.path_nodes(position, size), *above])
    salts_and_hashes = (row.actor_salt, row.actor_hash, row.subject_salt, row.subject_hash)
    proof = InclusionProof(
        position,
        size,
        tree.inclusion_path(position, size, node),
        *(part if isinstance(part, bytes) else None for part in salts_and_hashes),
    )
    root = tree.fold([node(*name) for name in above]).hex()
    if not check_inclusion(entry_of(row), proof, TreeHead(size, root, utc_now())):
        raise _unprovable(ident, "is not as it was logged, or was logged before there was a tree")
    return proof


def _unprovable(ident: int, problem: str) -> DamagedError:
    return DamagedError(_OPERATION, f"audit entry {ident}", problem, hint="run verify")
