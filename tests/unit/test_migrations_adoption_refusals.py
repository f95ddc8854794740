"""Databases that cannot be adopted as they are: refused with every difference at once, and nothing is changed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import DamagedError, MigrationError, NotFoundError, SchemaTooNewError, StorageError
from aragora_persist.migrations.adoption import NotAdoptableError, adopt
from aragora_persist.migrations.adoption.report import Findings
from aragora_persist.migrations.runner import migrate
from aragora_persist.settings import Settings
from tests.unit.foreign_databases import (
    DOCUMENTED,
    DOCUMENTED_ROWS,
    PUBLIC_ELO,
    SHARED_SECRET,
    execute,
    make,
    make_public_users,
    rows_of,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

ANN = "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('{}', '{}', '', '')"
LOOSE_USERS = """
CREATE TABLE users (
    id, email, password_hash, password_salt, name, is_active, created_at, preferences, failed_login_count
)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "aragora_users.db"


def refused(path: Path, database: str = "users") -> list[str]:
    """Return the differences for which an adoption is refused, after seeing that nothing was changed by it."""
    before = path.read_bytes()
    with pytest.raises(NotAdoptableError) as caught:
        adopt(path, path, database, settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))
    assert (path.read_bytes(), [entry.name for entry in path.parent.iterdir()]) == (before, [path.name])
    assert caught.value.count == len(caught.value.differences)
    assert all(difference.way_out for difference in caught.value.differences)
    texts = [str(difference) for difference in caught.value.differences]
    assert all(text in str(caught.value) for text in texts)
    return texts


def test_emails_that_differ_in_case_alone_are_listed_and_never_merged(path: Path) -> None:
    """Both accounts with both spellings; so are those that differ in how an accent is written."""
    make(path, DOCUMENTED, ANN.format("a", "Ann@example.com"), ANN.format("b", "ann@EXAMPLE.com"))
    make(path, ANN.format("c", "z\u00f6e@example.com"), ANN.format("d", "zo\u0308e@example.com"))

    way_out = "give one of them another email, or merge the two by hand: accounts are never merged"
    assert refused(path) == [
        (
            "users.email, id 'b': 'ann@EXAMPLE.com' is the email of id 'a' too, "
            f"which is spelt 'Ann@example.com' there; {way_out}"
        ),
        (
            f"users.email, id 'd': 'zo\u0308e@example.com' is the email of id 'c' too, which is spelt "
            f"'z\u00f6e@example.com' there; {way_out}"
        ),
    ]


def test_emails_are_compared_in_a_table_without_any_key_too(path: Path) -> None:
    """By the ids that are in it; an id that is a number stays the same."""
    make(path, LOOSE_USERS)
    for ident, email in ((5, "Ann@x.com"), (6, "ann@x.com")):
        execute(
            path, "INSERT INTO users (id, email, password_hash, password_salt) VALUES (?, ?, '', '')", (ident, email)
        )

    (difference,) = refused(path)
    assert difference.startswith(
        "users.email, id 6: 'ann@x.com' is the email of id 5 too, which is spelt 'Ann@x.com' there; "
    )
    execute(path, "DELETE FROM users WHERE id = 6")
    adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))
    assert rows_of(path, "SELECT id, email FROM users") == [("5", "ann@x.com")]


def test_every_difference_is_listed_at_once(path: Path) -> None:
    """Values without a form, missing ones, keys that are there twice; each with its row, and without the value."""
    make(path, LOOSE_USERS)
    insert = "INSERT INTO users VALUES (?, ?, '', '', ?, ?, ?, ?, ?)"
    for row in (
        ("a", "a@example.com", "Ann", "true", 1767323045.5, "", "3"),
        ("b", "no email", "Bob", "maybe", "yesterday", "[1]", "many"),
        ("c", None, "Cy", 1, None, "{", None),
        ("a", "d@example.com", "Dee", 1, None, None, None),
        (None, "e@example.com", "E\0", 1, None, None, None),
    ):
        execute(path, insert, row)

    assert refused(path) == [
        "users.email, rowid 2: is not of the form name@domain of at most 254 bytes; correct it",
        "users.created_at, rowid 2: is not a time; correct it",
        "users.updated_at, rowid 2: is not a time; correct it",
        "users.is_active, rowid 2: is neither true nor false; correct it",
        "users.preferences, rowid 2: is not a JSON object; correct it",
        "users.failed_login_count, rowid 2: is not a whole number; correct it",
        "users.email, rowid 3: is missing; correct it",
        "users.preferences, rowid 3: is not JSON; correct it",
        "users.id, rowid 5: is missing; correct it",
        "users.name, rowid 5: holds a NUL character, which PostgreSQL cannot store; correct it",
        "users.id, rowid 4: is that of another row too; correct it",
    ]


def test_rows_that_refer_to_nothing_are_listed(path: Path) -> None:
    """But not those that only refer to a row which is a difference itself."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    make(
        path,
        "INSERT INTO organizations (id, name, slug, owner_id) VALUES ('lost', 'Lost', 'lost', 'nobody')",
        "INSERT INTO usage_events (id, org_id, event_type) VALUES (50, 'lost', 'debate'), (51, 'gone', 'debate')",
        "UPDATE users SET created_at = 'never' WHERE id = 'ann'",
    )

    way_out = "add the row that it refers to, or delete it"
    assert refused(path) == [
        "users.created_at, id 'ann': is not a time; correct it",
        f"organizations.owner_id, id 'lost': refers to no row of users; {way_out}",
        f"usage_events.org_id, id 51: refers to no row of organizations; {way_out}",
    ]


def test_foreign_keys_of_tables_of_others_are_looked_at_with_the_rest(path: Path) -> None:
    """Those of tables without row ids, whose rows SQLite does not name, and those that can never hold."""
    make(
        path, DOCUMENTED, DOCUMENTED_ROWS, "INSERT INTO usage_events (id, org_id, event_type) VALUES (51, 'gone', 'x')"
    )
    make(path, "CREATE TABLE notes (id TEXT PRIMARY KEY, writer TEXT REFERENCES users(id)) WITHOUT ROWID")
    make(path, "CREATE TABLE nicks (id TEXT PRIMARY KEY, name TEXT REFERENCES users(name))")
    make(path, "INSERT INTO notes VALUES ('a', 'nobody'), ('b', 'ann'), ('c', 'none')")

    way_out = "add the row that it refers to, or delete it"
    assert refused(path) == [
        f"usage_events.org_id, id 51: refers to no row of organizations; {way_out}",
        'nicks: foreign key mismatch - "nicks" referencing "users"; correct its definition',
        f"notes.writer: refers to no row of users in 2 rows; {way_out}",
    ]


def test_an_audit_entry_has_an_id_that_the_log_gives(path: Path) -> None:
    """Below 1 the tree would take it for one that somebody put in."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    execute(
        path, "INSERT INTO audit_log (id, timestamp, action) VALUES (0, '2024-01-01', 'a'), (-1, '2024-01-01', 'b')"
    )

    assert sorted(refused(path)) == [
        "audit_log.id, id -1: is below 1, where the audit log begins; correct it",
        "audit_log.id, id 0: is below 1, where the audit log begins; correct it",
    ]


def test_a_column_that_has_no_place_is_a_difference_where_it_holds_something(path: Path) -> None:
    """An empty one goes; so does one that holds its default alone."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS, "ALTER TABLE users ADD COLUMN phone TEXT")
    make(path, "ALTER TABLE users ADD COLUMN fax TEXT DEFAULT 'none'", "UPDATE users SET phone = '1' WHERE id = 'ann'")

    way_out = "move what it holds into a column that has a place, or into a table of its own, and drop it"
    assert refused(path) == [f"users.phone: has no place here, and holds something in 1 row; {way_out}"]


def test_missing_columns_and_virtual_tables_are_differences(path: Path) -> None:
    """Found before any row is read."""
    make(
        path, "CREATE TABLE organizations (id TEXT PRIMARY KEY, name TEXT)", "CREATE VIRTUAL TABLE words USING fts5(w)"
    )

    assert refused(path) == [
        (
            "organizations.slug: is missing, and no row can be without it; "
            "add the column to organizations, with a value in each row"
        ),
        (
            "words: is a virtual table, which cannot be carried over; "
            "drop it: it can be made again from the tables that it was made from"
        ),
    ]


def test_a_plain_secret_needs_a_key(path: Path) -> None:
    """Without one the part is refused, and the secret is not shown."""
    make_public_users(path)

    (difference,) = refused(path)
    assert SHARED_SECRET not in difference
    assert difference == (
        "users.mfa_secret, id 'ann': is a secret in plain text, and there is no key to encrypt it with; "
        "set ARAGORA_ENCRYPTION_KEY_FILE"
    )


def test_a_rule_of_ours_that_a_row_breaks_is_named(path: Path) -> None:
    """With the row; what it holds is not shown."""
    make_public_users(path)
    execute(path, "UPDATE org_invitations SET role = 'emperor' WHERE id = 'i2'")
    execute(path, "UPDATE users SET mfa_secret = NULL")

    (difference,) = refused(path)
    assert difference.startswith("org_invitations, id 'i2': CHECK constraint failed: role IN")
    assert "emperor" not in difference


def test_a_file_of_another_database_is_refused(path: Path) -> None:
    """With the one that it may be of."""
    make(path, PUBLIC_ELO)

    assert refused(path) == ["the file: none of its tables is one of the database users; it may be of the database elo"]


def test_a_damaged_file_is_refused(path: Path) -> None:
    """Before anything of it is used."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 2 + 300] = b"\xff" * 300
    path.write_bytes(content)

    with pytest.raises(DamagedError) as caught:
        adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))
    assert caught.value.target == str(path)
    assert path.read_bytes() == bytes(content)


def test_damage_that_no_reading_meets_is_found(path: Path) -> None:
    """An index that does not hold what its table does."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    other = "UPDATE sqlite_master SET sql = replace(sql, 'user_id', 'action') WHERE name = 'idx_audit_user'"
    make(path, f"PRAGMA writable_schema = ON; {other}")

    with pytest.raises(DamagedError, match=f"{path.name}: .*index"):
        adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_text_that_is_not_text_is_a_difference(path: Path) -> None:
    """In a table of ours and in one that is carried over."""
    make(path, DOCUMENTED, "CREATE TABLE notes (text TEXT)")
    make(path, "INSERT INTO notes VALUES (CAST(x'ff' AS TEXT))")
    make(path, ANN.format("a", "a@example.com"), "UPDATE users SET name = CAST(x'ff' AS TEXT)")

    assert refused(path) == [
        "users.name, id 'a': holds a lone surrogate, which is not text; correct it",
        "notes, row 1: holds text that is not UTF-8; correct it",
    ]


def test_a_thousand_differences_are_shown_and_the_rest_counted() -> None:
    """However many rows are wrong, the error stays readable."""
    findings = Findings()
    for number in range(1_500):
        findings.differ("users", "email", f"id {number}", "is not an email", "correct it")

    with pytest.raises(NotAdoptableError, match="for 1,500 differences") as caught:
        findings.refuse("users.db")
    assert (caught.value.count, len(caught.value.differences)) == (1_500, 1_000)
    assert "and 500 more" in str(caught.value)


def test_what_is_corrected_is_adopted(path: Path) -> None:
    """The ways out lead out."""
    make(path, DOCUMENTED, ANN.format("a", "Ann@example.com"), ANN.format("b", "ann@EXAMPLE.com"))
    assert len(refused(path)) == 1
    execute(path, "UPDATE users SET email = 'ann.b@example.com' WHERE id = 'b'")

    adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))

    assert rows_of(path, "SELECT id, email FROM users ORDER BY id") == [
        ("a", "ann@example.com"),
        ("b", "ann.b@example.com"),
    ]


def test_one_of_ours_that_is_refused_is_not_called_done(path: Path) -> None:
    """A file exchanged with another one, or of a newer release: as every other action tells of it."""
    settings = Settings.from_env({"NOMIC_DIR": str(path.parent)})
    migrate(path, "tokens", settings=settings)
    before = path.read_bytes()
    for dry_run in (True, False):
        with pytest.raises(MigrationError, match="is a database 'tokens' by its ledger"):
            adopt(path, path, "users", dry_run=dry_run, settings=settings)
    assert path.read_bytes() == before
    execute(path, "UPDATE schema_version SET version = 2")
    execute(path, "INSERT INTO schema_version SELECT 1, name, checksum, '', 0, '', '' FROM schema_version")
    with pytest.raises(SchemaTooNewError):
        adopt(path, path, "tokens", settings=settings)


def test_what_is_no_file_is_told_apart_from_what_is_missing(path: Path) -> None:
    """Each with what to do."""
    settings = Settings.from_env({"NOMIC_DIR": str(path.parent)})
    with pytest.raises(NotFoundError, match="name the file"):
        adopt(path, path, "users", settings=settings)
    path.mkdir()
    with pytest.raises(StorageError, match="is a folder, not a file"):
        adopt(path, path, "users", settings=settings)


def test_an_interrupt_stays_one(path: Path) -> None:
    """Also where it comes while SQLite calls one of our functions, for which SQLite would raise an error of its own."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    before = path.read_bytes()

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "_form":
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            adopt(path, path, "users", settings=Settings.from_env({"NOMIC_DIR": str(path.parent)}))
    finally:
        sys.setprofile(None)
    assert (path.read_bytes(), [entry.name for entry in path.parent.iterdir()]) == (before, [path.name])
