"""What is pending, and what is refused with its way out: decisions over files and history alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aragora_persist.cloud.schema.folder import MigrationFile
from aragora_persist.cloud.schema.history import Applied
from aragora_persist.cloud.schema.plan import SchemaState, compare
from aragora_persist.cloud.schema.statements import split
from aragora_persist.errors import MigrationError, SchemaTooNewError

SQL = "create table a ();\n\n-- why\ncreate table b ();\n"


def file(number: int, sql: str = SQL) -> MigrationFile:
    """Return the migration of this number."""
    version = str(20300101000000 + number)
    return MigrationFile(version, f"m{number}", Path(f"{version}_m{number}.sql"), split(sql))


def row(number: int, *statements: str) -> Applied:
    """Return its row of the history."""
    stored = statements or tuple(statement.text for statement in split(SQL))
    return Applied(file(number).version, f"m{number}", stored)


FILES = (file(1), file(2), file(3))


def titles(*numbers: int) -> tuple[str, ...]:
    """Return what people call these migrations."""
    return tuple(file(number).title for number in numbers)


def test_what_the_history_has_not_is_pending() -> None:
    """In the order of the files."""
    state = compare("db", FILES, [row(1)])

    assert (state.applied, state.pending) == (titles(1), titles(2, 3))
    assert (state.late, state.edited, state.unknown, state.drift) == ((), (), (), ())
    state.check()


@pytest.mark.parametrize(
    "stored",
    [
        ("create table a ()", "-- why\ncreate table b ()"),
        (SQL,),
        ("create table a ();", "-- why\r\ncreate table b ();"),
        ("  create table a ()  ", "", "-- why\ncreate table b ()\n;\n"),
    ],
)
def test_content_is_the_same_however_it_was_cut_and_trimmed(stored: tuple[str, ...]) -> None:
    """Whether this applier, the Supabase CLI or another checkout stored it."""
    assert compare("db", FILES, [row(1, *stored)]).edited == ()


@pytest.mark.parametrize("stored", ["create table a (x int)", "create table a ();\n\n-- why not\ncreate table b ();"])
def test_an_edited_file_is_refused(stored: str) -> None:
    """A comment is an edit too: what was applied is what stands in the file."""
    state = compare("db", FILES, [row(1), row(2, stored)])

    assert state.edited == titles(2)
    with pytest.raises(MigrationError, match=r"was applied to db, and is another text now .*put the file back"):
        state.check()


def test_a_row_without_content_cannot_be_compared() -> None:
    """Old versions of the Supabase CLI stored the version alone."""
    assert compare("db", FILES, [Applied(file(1).version, "", None)]).edited == ()


def test_a_version_without_a_file_is_named_and_refused() -> None:
    """It may be a newer release's, or somebody else's."""
    state = compare("db", FILES[:1], [row(1), row(2), Applied("20990101000000", "", None)])

    assert state.unknown == (*titles(2), "20990101000000")
    with pytest.raises(
        SchemaTooNewError, match=r"db: has migrations .*_m2, 20990101000000 .*supabase migration repair"
    ):
        state.check()


def test_a_pending_file_that_is_older_than_an_applied_one_is_refused() -> None:
    """Its tables would be made over those of a later one."""
    state = compare("db", FILES, [row(1), row(3)])

    assert (state.pending, state.late) == (titles(2), titles(2))
    with pytest.raises(MigrationError, match=r"_m2: is older than 20300101000003_m3, .*give its file a version above"):
        state.check()


def test_drift_stops_what_is_pending_and_nothing_else() -> None:
    """Where nothing is to be done, there is nothing to refuse."""
    drifted = replace(compare("db", FILES, [row(1)]), drift=("public.a: column x integer is there",))

    with pytest.raises(MigrationError, match=r"public.a: column x integer is there .*undo it by hand"):
        drifted.check()
    replace(drifted, pending=()).check()
    assert isinstance(drifted, SchemaState)
