"""Imports the history of a git repository: each commit becomes a cycle, on its way to Supabase.

A commit becomes a cycle in phase ``commit``, its evolution, one file change for each path, and a rollback for each
commit that it says it reverts. A commit has its cycle number for ever; a later import appends what is new. Each batch
is one transaction with its numbers, so that an import that was killed is completed by the next one.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from aragora_persist.cloud.models import CycleEvolution, CycleFileChange, NomicCycle, NomicRollback
from aragora_persist.importers import ledger
from aragora_persist.importers.git_history import GitHistory

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from aragora_persist.cloud.models import CloudModel
    from aragora_persist.cloud.outbox import Outbox
    from aragora_persist.importers.git_listing import Commit

_BATCH_COMMITS = 1_000
_BATCH_CHANGES = 20_000
_REVERTED = re.compile(r"\bThis reverts commit ([0-9a-f]{7,64})\b")


@dataclass(frozen=True, slots=True)
class GitImport:
    """What an import did. ``commits`` is what the revision reaches; the other counts are what was new."""

    loop_id: str
    commits: int
    cycles: int
    evolutions: int
    file_changes: int
    rollbacks: int


def import_git(
    repository: str | os.PathLike[str],
    outbox: Outbox,
    *,
    ref: str = "HEAD",
    loop_id: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GitImport:
    """Enqueue every commit that ``ref`` reaches and that was not imported before.

    ``loop_id`` None names the loop after the history's first commit (``git:<sha>``), so that every clone, wherever it
    lies, is the same loop. ``progress`` is called with the commits done and all of them, when each batch is durable.

    Raises:
        NotFoundError: there is no such folder, revision or commit.
        InvalidValueError: it is no git repository, or a shallow clone.
        UnsupportedError: git is not installed.

    """
    history = GitHistory(repository, ref)
    loop = loop_id or f"git:{history.root()}"
    total, done = history.count(), 0
    counts: Counter[type[CloudModel]] = Counter()
    with closing(history.shas()) as shas:
        while chunk := list(islice(shas, _BATCH_COMMITS)):
            with outbox.read("import git") as view:
                new = ledger.new_commits(view, loop, chunk)
            with closing(history.read(new)) as commits:
                for batch in _batches(commits):
                    counts += _write(outbox, loop, batch)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    return GitImport(
        loop,
        total,
        counts[NomicCycle],
        counts[CycleEvolution],
        counts[CycleFileChange],
        counts[NomicRollback],
    )


def _batches(commits: Iterable[Commit]) -> Iterator[list[Commit]]:
    """Group commits so that a batch fits in memory; only a single commit may be larger."""
    batch: list[Commit] = []
    changes = 0
    for commit in commits:
        if batch and changes + len(commit.changes) > _BATCH_CHANGES:
            yield batch
            batch, changes = [], 0
        batch.append(commit)
        changes += len(commit.changes)
    if batch:
        yield batch


def _write(outbox: Outbox, loop_id: str, batch: list[Commit]) -> Counter[type[CloudModel]]:
    """Give the commits their numbers and enqueue their records, both or neither."""
    with outbox.transaction("import git") as tx:
        # Another import may have taken some of them since they were read: it has numbered them, so they are left out.
        numbers = ledger.number_commits(tx, loop_id, [commit.sha for commit in batch])
        models = [
            model
            for commit in batch
            if commit.sha in numbers
            for model in _models(loop_id, numbers[commit.sha], commit)
        ]
        outbox.enqueue((model.to_record() for model in models), tx=tx)
    return Counter(type(model) for model in models)


def _models(loop_id: str, number: int, commit: Commit) -> Iterator[CloudModel]:
    paths = [change.path for change in commit.changes]
    yield NomicCycle(
        loop_id=loop_id,
        cycle_number=number,
        phase="commit",
        stage="executing",
        started_at=commit.authored_at,
        completed_at=commit.committed_at,
        success=True,
        git_commit=commit.sha,
        task_description=commit.subject,
    )
    # A body may name one commit twice; one rollback is enough.
    rollbacks = [
        NomicRollback(
            id=None,
            loop_id=loop_id,
            cycle_number=number,
            phase="commit",
            reason="revert",
            severity="medium",
            rolled_back_commit=sha,
            files_affected=paths,
            created_at=commit.committed_at,
        )
        for sha in dict.fromkeys(_REVERTED.findall(commit.body))
    ]
    yield from rollbacks
    yield CycleEvolution(
        id=None,
        loop_id=loop_id,
        cycle_number=number,
        winning_proposal_summary=commit.subject,
        files_changed=paths,
        git_commit=commit.sha,
        rollback_id=rollbacks[0].id if rollbacks else None,
        created_at=commit.committed_at,
    )
    for change in commit.changes:
        yield CycleFileChange(loop_id, number, change.path, change.change_type, change.insertions, change.deletions)
