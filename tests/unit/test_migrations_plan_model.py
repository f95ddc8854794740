"""Any history of files and ledger rows gives a plan, or a refusal with its reason: held against a plain model.

The model says what is right about a whole history at once, where the planner walks through it step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import InvalidValueError, MigrationError, PersistError, SchemaTooNewError
from aragora_persist.migrations.ledger import readable_by
from aragora_persist.migrations.plan import Applied, Migration, check_sequence, owner, pending, to_undo

SLUGS = ("first", "second", "third")
CONTENTS = ("one", "two", "three", "four", "five")


@dataclass(frozen=True)
class File:
    """A file of a migration, or the memory of one in a ledger."""

    version: int
    slug: str
    content: str

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"{self.version:03d}_{self.slug}"

    @property
    def checksum(self) -> str:
        """What the ledger knows of its content."""
        return sha256(self.content.encode()).hexdigest()

    def migration(self) -> Migration:
        """Return it as a folder holds it."""
        return Migration(self.version, self.name, self.checksum, Path(f"{self.name}.py"), self.content.encode())

    def applied(self, min_reader: str = "0.1.0") -> Applied:
        """Return it as a ledger holds it."""
        return Applied(self.version, self.name, self.checksum, "", 0.0, "0.1.0", min_reader)


@dataclass(frozen=True)
class History:
    """A folder, in the order of its files' names, and a ledger, in the order of its versions, each of them once."""

    files: tuple[File, ...]
    rows: tuple[File, ...]

    @property
    def folder(self) -> list[Migration]:
        """The files as migrations."""
        return [file.migration() for file in self.files]

    @property
    def ledger(self) -> list[Applied]:
        """The rows as they are read."""
        return [row.applied() for row in self.rows]


any_file = st.builds(File, st.integers(0, 6), st.sampled_from(SLUGS), st.sampled_from(CONTENTS))


def in_order(files: list[File]) -> tuple[File, ...]:
    """Return files as a folder lists them: each name once."""
    return tuple(sorted({file.name: file for file in files}.values(), key=lambda file: file.name))


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a database that followed its folder, to which then a few things happened."""
    right = [File(version, draw(st.sampled_from(SLUGS)), f"{version}") for version in range(1, draw(st.integers(1, 6)))]
    files, rows = list(right), right[: draw(st.integers(0, len(right)))]
    for _ in range(draw(st.integers(0, 2))):
        in_the_folder, takes_away, adds, known_content = (draw(st.booleans()) for _ in range(4))
        changed = files if in_the_folder else rows
        if changed and takes_away:
            changed.pop(draw(st.integers(0, len(changed) - 1)))
        if adds:
            other = draw(any_file)
            content = draw(st.sampled_from(right)).content if right and known_content else other.content
            changed.append(File(other.version, other.slug, content))
    by_version = {row.version: row for row in rows if row.version > 0}
    return History(in_order(files), tuple(by_version[version] for version in sorted(by_version)))


def wrong_versions(files: tuple[File, ...]) -> set[int]:
    """Return the versions that a folder has more than once, lacks below its highest, or should not have at all."""
    versions = [file.version for file in files]
    lacking = set(range(1, max(versions, default=0))) - set(versions)
    return lacking | {version for version in versions if versions.count(version) > 1 or version < 1}


@settings(max_examples=300)
@given(st.lists(any_file, max_size=7).map(in_order))
def test_a_folder_is_a_sequence_or_is_refused_for_its_first_wrong_version(files: tuple[File, ...]) -> None:
    """Whether it is there twice or missing is said of the very version."""
    wrong = wrong_versions(files)
    migrations = [file.migration() for file in files]
    if not wrong:
        check_sequence(migrations, "folder")
        return
    with pytest.raises(MigrationError) as refused:
        check_sequence(migrations, "folder")
    version = min(wrong)
    there = [file for file in files if file.version == version]
    reason = "is missing" if not there else "is there twice" if version else "is not one"
    assert refused.value.problem.startswith(f"version {version:03d} {reason}")


def refusal(history: History) -> tuple[type[PersistError], str] | None:
    """Return how the model refuses a ledger beside a folder that is in sequence; None where it does not."""
    versions = [row.version for row in history.rows]
    if versions != list(range(1, len(versions) + 1)):
        missing = min(set(range(1, max(versions))) - set(versions))
        return MigrationError, f"has no version {missing:03d}"
    different = [pair for pair in zip(history.rows, history.files, strict=False) if pair[0] != pair[1]]
    if different:
        row, file = different[0]
        places = [other.name for other in history.files if other.checksum == row.checksum]
        if row.name == file.name:
            what = "its file was edited since"
        elif not places:
            what = f"its file is gone ({file.name} is in its place)"
        elif places[0] == file.name:
            what = f"its file is called {file.name} now"
        else:
            what = f"its file is {places[0]} now: the migrations were reordered"
        return MigrationError, f"{row.name} was applied, and {what}"
    if len(history.rows) > len(history.files):
        return SchemaTooNewError, ", ".join(row.name for row in history.rows[len(history.files) :])
    return None


@settings(max_examples=300)
@given(histories())
def test_a_history_gives_what_is_pending_or_a_reason(history: History) -> None:
    """The plan is the files after those that were applied, and only where these are as they were."""
    if wrong_versions(history.files):
        with pytest.raises(MigrationError):
            check_sequence(history.folder, "folder")
        return
    expected = refusal(history)
    if expected is None:
        assert pending(history.folder, history.ledger, "x") == tuple(history.folder[len(history.rows) :])
        return
    with pytest.raises(PersistError) as refused:
        pending(history.folder, history.ledger, "x")
    assert type(refused.value) is expected[0]
    assert expected[1] in refused.value.problem
    assert refused.value.hint


@settings(max_examples=150)
@given(histories(), st.none() | st.integers(-2, 8))
def test_a_history_gives_what_is_undone_or_a_reason(history: History, to: int | None) -> None:
    """The newest first, down to a version below the present one; whatever forbids applying forbids undoing."""
    if wrong_versions(history.files):
        return
    present = len(history.rows)
    goal = present - 1 if to is None else to
    if refusal(history) is None and goal in range(present):
        undone = to_undo(history.folder, history.ledger, to, "x")
        assert [migration.version for migration in undone] == list(range(present, goal, -1))
        assert set(undone) <= set(history.folder)
        return
    expected = refusal(history) or (InvalidValueError, "")
    with pytest.raises(PersistError) as refused:
        to_undo(history.folder, history.ledger, to, "x")
    assert type(refused.value) is expected[0]
    assert expected[1] in refused.value.problem


@settings(max_examples=100)
@given(histories(), st.integers(0, 5))
def test_applying_a_plan_leaves_nothing_pending(history: History, count: int) -> None:
    """So much of a plan as was done is what the next plan no longer has; a kill in between changes nothing."""
    if wrong_versions(history.files) or refusal(history) is not None:
        return
    plan = pending(history.folder, history.ledger, "x")
    now = History(history.files, history.files[: len(history.rows) + len(plan[:count])])
    assert pending(now.folder, now.ledger, "x") == plan[count:]


@settings(max_examples=100)
@given(histories(), st.lists(any_file, max_size=4).map(in_order))
def test_a_ledger_belongs_to_the_folder_whose_content_it_tells_of(history: History, others: tuple[File, ...]) -> None:
    """One file that was applied says it, whatever became of the others; of none, nobody is said to be the owner."""
    folders = {"other": [file.migration() for file in others], "own": history.folder}
    applied = {row.checksum for row in history.rows}
    owners = [name for name, folder in folders.items() if applied & {migration.checksum for migration in folder}]
    assert owner(history.ledger, folders) == (owners[0] if owners else None)


releases = st.tuples(*[st.integers(0, 12)] * 3)


@given(st.lists(releases, max_size=4), releases)
def test_a_release_reads_what_asks_for_no_newer_one(
    asked: list[tuple[int, int, int]], release: tuple[int, int, int]
) -> None:
    """Numbers are compared as numbers: 0.10.0 is newer than 0.9.0."""
    rows = [File(1, "step", "").applied(".".join(map(str, numbers))) for numbers in asked]
    assert readable_by(rows, ".".join(map(str, release))) == all(numbers <= release for numbers in asked)
