"""Which migrations are to be done: decided without any database."""

from __future__ import annotations

from pathlib import Path

import pytest

from aragora_persist.errors import InvalidValueError, MigrationError, SchemaTooNewError
from aragora_persist.migrations.ledger import readable_by
from aragora_persist.migrations.plan import Applied, Migration, check_sequence, owner, pending, to_undo


def migration(version: int, checksum: str = "sum") -> Migration:
    """Return a migration of this version."""
    return Migration(version, f"{version:03d}_step", checksum, Path("nowhere"), b"")


def applied(version: int, checksum: str = "sum", min_reader: str = "0.1.0") -> Applied:
    """Return a ledger's row of this version."""
    return Applied(version, f"{version:03d}_step", checksum, "2026-01-01T00:00:00.000000Z", 1.0, "0.1.0", min_reader)


FOUR = [migration(version) for version in (1, 2, 3, 4)]


def test_what_the_ledger_lacks_is_pending() -> None:
    """In order, from the first missing one on; nothing when all are there."""
    assert pending(FOUR, [], "x") == tuple(FOUR)
    assert pending(FOUR, [applied(1), applied(2)], "x") == tuple(FOUR[2:])
    assert pending(FOUR, [applied(version) for version in (1, 2, 3, 4)], "x") == ()


def test_a_newer_database_is_refused() -> None:
    """A ledger with more than the folder has belongs to a newer release."""
    with pytest.raises(SchemaTooNewError, match="upgrade"):
        pending(FOUR[:1], [applied(1), applied(2)], "x")


def test_the_release_that_is_needed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the migrations that are unknown; where this very release applied them, a file of its own is missing."""
    rows = [applied(1), applied(2), applied(3)]
    with pytest.raises(SchemaTooNewError, match=r"not 002_step, 003_step .*put the file back"):
        pending(FOUR[:1], rows, "x")
    monkeypatch.setattr("aragora_persist.migrations.plan.VERSION", "0.0.9")
    with pytest.raises(SchemaTooNewError, match=r"this release \(0.0.9\) .* release 0.1.0 applied it"):
        pending(FOUR[:1], rows, "x")


def test_what_became_of_an_applied_file_is_told() -> None:
    """Edited, renamed, reordered or gone: by its name and its content."""
    rows = [applied(1, "one"), applied(2, "two")]

    def refusal(*files: tuple[str, str]) -> str:
        folder = [
            Migration(number, f"{number:03d}_{name}", checksum, Path("nowhere"), b"")
            for number, (name, checksum) in enumerate(files, start=1)
        ]
        with pytest.raises(MigrationError) as refused:
            pending(folder, rows, "x")
        assert "put the file back" in refused.value.hint
        return refused.value.problem

    assert refusal(("step", "one"), ("step", "changed")) == "002_step was applied, and its file was edited since"
    assert refusal(("other", "one"), ("step", "two")) == "001_step was applied, and its file is called 001_other now"
    assert refusal(("new", "new"), ("step", "one"), ("step", "two")) == (
        "001_step was applied, and its file is 002_step now: the migrations were reordered"
    )
    assert refusal(("step", "one"), ("other", "new")) == (
        "002_step was applied, and its file is gone (002_other is in its place)"
    )


def test_the_owner_of_a_ledger_is_known_by_content() -> None:
    """Every database has a 001_initial: names tell nothing."""
    folders = {"users": [migration(1, "a"), migration(2, "b")], "elo": [migration(1, "c")]}
    assert owner([applied(1, "c")], folders) == "elo"
    assert owner([applied(1, "edited"), applied(2, "b")], folders) == "users"
    assert owner([applied(1)], folders) is None
    assert owner([], folders) is None


def test_a_ledger_with_a_gap_is_refused() -> None:
    """A missing row is no licence to apply the rest."""
    with pytest.raises(MigrationError, match="002"):
        pending(FOUR, [applied(1), applied(3)], "x")


def test_before_the_first_there_is_nothing_to_undo() -> None:
    """Which is said so, and not as arithmetic."""
    for to in (None, 0):
        with pytest.raises(InvalidValueError, match="is at version 0: there is nothing to undo"):
            to_undo(FOUR, [], to, "x")


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ((1, 1, 2), "001 is there twice"),
        ((1, 2, 4), "003 is missing"),
        ((2, 3), "001 is missing"),
        ((1, 2, 2), "002 is there twice"),
        ((0, 1), "000"),
    ],
)
def test_a_folder_must_count_from_one(versions: tuple[int, ...], problem: str) -> None:
    """Duplicates and gaps are refused by their number."""
    with pytest.raises(MigrationError, match=problem):
        check_sequence([migration(version) for version in versions], "folder")


def test_undoing_goes_backwards() -> None:
    """The newest first, one step without a goal, all of them down to zero."""
    three = [applied(version) for version in (1, 2, 3)]
    assert to_undo(FOUR, three, None, "x") == (FOUR[2],)
    assert to_undo(FOUR, three, 1, "x") == (FOUR[2], FOUR[1])
    assert to_undo(FOUR, three, 0, "x") == (FOUR[2], FOUR[1], FOUR[0])


@pytest.mark.parametrize(("count", "to"), [(0, None), (2, 2), (2, 3), (2, -1)])
def test_undoing_to_nowhere_is_refused(count: int, to: int | None) -> None:
    """There must be something above the goal, and the goal must be a version."""
    with pytest.raises(InvalidValueError):
        to_undo(FOUR, [applied(version + 1) for version in range(count)], to, "x")


@pytest.mark.parametrize(
    ("min_readers", "release", "readable"),
    [
        (["0.1.0"], "0.1.0", True),
        (["0.10.0"], "0.9.0", False),
        (["2.0.0", "0.1.0"], "1.9.9", False),
        ([], "0.1.0", True),
    ],
)
def test_the_most_demanding_migration_decides(min_readers: list[str], release: str, readable: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Releases compare as numbers, and one later, milder migration does not lower what an earlier one needs."""
    rows = [applied(version, min_reader=least) for version, least in enumerate(min_readers, start=1)]
    assert readable_by(rows, release) is readable
