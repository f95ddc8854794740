"""Where statements end: as PostgreSQL sees it, and as the Supabase CLI stores them."""

from __future__ import annotations

import pytest

from aragora_persist.cloud.schema.folder import load, shipped_folder
from aragora_persist.cloud.schema.statements import split


def texts(sql: str) -> list[str]:
    """Return the texts of the statements."""
    return [statement.text for statement in split(sql)]


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "select 'a;b''c;'",
        r"select E'a\';b'",
        'create table "odd;name" (a int)',
        "do $$ begin perform 1; end; $$",
        "select $a$ $$x;y$$ $b$; $a$",
        "select $é1$;$é1$",
        "select 1 /* a; /* b; */ c; */ + 1",
        "select 1 -- a; 'b\n + 1",
        "-- first; comment\nselect 1",
        "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
        "select a$1 from (select 1 as a$1) t where a$1::text <> '$1;'",
        "comment on table t is 'one;\n\ntwo  '",
        "create rule r as on insert to t do also (insert into a values (1); insert into b values (2))",
    ],
)
def test_a_semicolon_ends_a_statement_only_outside_of_everything(statement: str) -> None:
    """Strings, names, bodies and comments keep their semicolons."""
    assert texts(f"{statement};\nselect 2;") == [statement, "select 2"]


def test_empty_statements_are_none_and_a_comment_at_the_end_is_one() -> None:
    """As the Supabase CLI stores them."""
    assert texts(" ;; select 1;\n ;\n-- the end;\n") == ["select 1", "-- the end;"]
    assert texts("") == texts("\n ; ;") == []


@pytest.mark.parametrize("broken", ["select 'open; text", "select $$ open;", "select /* open; */ /* here"])
def test_what_is_not_closed_is_left_to_postgresql(broken: str) -> None:
    """No text is lost, whatever it is."""
    assert ";".join(texts(broken)).replace(" ", "") == broken.replace(" ", "").rstrip(";")


def test_lines_are_those_of_the_file() -> None:
    """A statement is where its first word is, and a position in it where that is."""
    first, second = split("-- one\n\nselect\n  1;\n\n/* two\n*/\ncreate\n  table t ()")

    assert (first.start_line, first.line, first.line_at(first.text.index("1"))) == (1, 3, 4)
    assert (second.start_line, second.line, second.line_at(second.text.index("table"))) == (6, 8, 9)


@pytest.mark.parametrize(
    "word", ["BEGIN", "begin work", "Commit", "END", "rollback", "start transaction", "savepoint a"]
)
def test_statements_that_control_the_transaction_are_known(word: str) -> None:
    """Also behind a comment."""
    assert [statement.controls_transaction for statement in split(f"/* a */ {word}; select 1")] == [True, False]


def test_the_shipped_migrations_lose_nothing() -> None:
    """What is between the statements is space and semicolons."""
    for file in load(shipped_folder()):
        text = file.path.read_text()
        for statement in file.statements:
            before, found, text = text.partition(statement.text)

            assert found
            assert before.strip(" \n;") == ""
        assert text.strip(" \n;") == ""
