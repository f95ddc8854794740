"""Databases of users that were made by hand or by the public code: recognised, adopted, and then the stores' own."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.migrations.adoption import adopt, is_foreign
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, latest_version, load
from aragora_persist.migrations.runner import migrate, status
from aragora_persist.settings import Settings
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from tests.unit.foreign_databases import (
    API_KEY,
    DOCUMENTED,
    DOCUMENTED_ROWS,
    INVITATION,
    LEDGER,
    LOCKOUT,
    SHARE,
    SHARED_SECRET,
    execute,
    make,
    make_public_users,
    rows_of,
)

if TYPE_CHECKING:
    from pathlib import Path


def settings_of(path: Path, **variables: str) -> Settings:
    """Return settings whose databases and backups are beside this one."""
    return Settings.from_env({"NOMIC_DIR": str(path.parent), "DB_TIMEOUT": "5", **variables})


def with_key(path: Path) -> Settings:
    """Return settings with a key for secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = path.parent / "keys"
    key.write_text(base64.b64encode(bytes(32)).decode())
    return settings_of(path, ARAGORA_ENCRYPTION_KEY_FILE=str(key))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry has the database of users."""
    return tmp_path / "data" / "aragora_users.db"


@pytest.mark.parametrize("lockout", ["", LOCKOUT], ids=["version 1", "version 2"])
def test_a_database_made_from_the_documentation_is_adopted(path: Path, lockout: str) -> None:
    """With the columns of the documented second migration and without; SQLite's times and all emails get our form."""
    make(path, DOCUMENTED, lockout, DOCUMENTED_ROWS)

    report = adopt(path, path, "users", settings=settings_of(path))

    assert (report.origin, report.changed) == ("made by hand, from the documentation", True)
    assert {table.name: table.rows for table in report.tables} == {
        "users": 2,
        "organizations": 1,
        "audit_log": 2,
        "usage_events": 2,
    }
    assert (report.converted["users.email"], report.converted["users.created_at"]) == (1, 2)
    with UserStore(path) as users:
        ann, bob = users.get_by_email("ann@example.com"), users.get_by_email("BOB@example.com")
        assert ann is not None
        assert bob is not None
        assert (ann.id, bob.role) == ("ann", "member")
        assert ann.created_at == bob.created_at == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    found = status(path, "users")
    assert (found.state, found.version) == ("current", latest_version("users"))


def test_adopted_rows_are_rows_like_any_other(path: Path) -> None:
    """Members of organizations, the hash tree over the audit log, and usage are as if the stores had written them."""
    make(path, DOCUMENTED, LOCKOUT, DOCUMENTED_ROWS)
    adopt(path, path, "users", settings=settings_of(path))

    with OrganizationStore(path) as organizations, UsageStore(path) as usage, AuditStore(path) as audit:
        acme = organizations.get_by_slug("acme-inc")
        assert acme is not None
        members = organizations.list_members("acme").items
        assert {member.user_id: member.role for member in members} == {"ann": "owner", "bob": "member"}
        assert usage.summary("acme", "2024-01").counts == {"debate": 5}
        usage.aggregate()
        assert usage.summary("acme", "2024-01").counts == {"debate": 5}
        checked = audit.verify()
        assert (checked.ok, checked.size) == (True, 2)
        assert audit.log("login").id == 13
        assert audit.verify().ok
    assert rows_of(path, "SELECT seq FROM sqlite_sequence WHERE name = 'audit_log'") == [(90,)]


def test_a_dry_run_reports_the_same_and_changes_nothing(path: Path) -> None:
    """Not a byte of the file, and nothing beside it."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    before = path.read_bytes()

    rehearsed = adopt(path, path, "users", dry_run=True, settings=settings_of(path))

    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    assert (rehearsed.dry_run, rehearsed.changed, rehearsed.snapshot) == (True, False, None)
    done = adopt(path, path, "users", settings=settings_of(path))
    assert (done.tables, done.converted, done.notes) == (rehearsed.tables, rehearsed.converted, rehearsed.notes)


def test_the_original_is_kept_twice(path: Path) -> None:
    """As a snapshot among the backups, and as the file itself."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    before = path.read_bytes()

    report = adopt(path, path, "users", settings=settings_of(path))

    assert report.snapshot is not None
    assert report.replaced is not None
    assert report.snapshot.parent == path.parent / "backups"
    assert report.replaced.read_bytes() == before
    emails = "SELECT email FROM users ORDER BY id"
    assert rows_of(report.snapshot, emails) == [(" Ann@Example.COM ",), ("bob@example.com",)]


def test_what_is_adopted_is_left_as_it_is(path: Path) -> None:
    """Adopting again says that there is nothing to do."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    adopt(path, path, "users", settings=settings_of(path))
    before = path.read_bytes()

    again = adopt(path, path, "users", settings=settings_of(path))

    assert (again.changed, again.tables, str(again)) == (
        False,
        (),
        "nothing to adopt: a database of this package",
    )
    assert path.read_bytes() == before


def test_a_file_from_elsewhere_is_adopted_and_stays(path: Path, tmp_path: Path) -> None:
    """Into the registry's place, where nothing may be; the source is not touched."""
    source = make(tmp_path / "elsewhere" / "users.db", DOCUMENTED, DOCUMENTED_ROWS)
    before = source.read_bytes()

    report = adopt(source, path, "users", settings=settings_of(path))

    assert (report.snapshot, report.replaced) == (None, None)
    assert (source.read_bytes(), [entry.name for entry in source.parent.iterdir()]) == (before, [source.name])
    assert path.stat().st_mode & 0o777 == 0o600
    with UserStore(path) as users:
        assert users.get_by_email("ann@example.com") is not None
    with pytest.raises(ConflictError, match="exists and is not overwritten"):
        adopt(source, path, "users", settings=settings_of(path))


def test_what_the_public_code_wrote_is_there_afterwards(path: Path) -> None:
    """Accounts with keys, second factors and identities, invitations, links, and what has no column of its own."""
    make_public_users(path)
    settings = with_key(path)

    report = adopt(path, path, "users", settings=settings)

    assert report.origin == "made by the public code"
    with UserStore(path, settings=settings) as users:
        ann = users.get_by_api_key(API_KEY)
        assert ann is not None
        assert (ann.id, ann.failed_login_count, ann.token_version, ann.mfa_enabled) == ("ann", 6, 1, True)
        assert ann.preferences == {"theme": "dark"}
        assert ann.locked_until == datetime(2026, 1, 2, 3, 19, 5, 1, tzinfo=UTC)
        assert users.get_by_oauth("google", "1234") == ann
        secret = users.mfa_secret("ann")
        assert secret is not None
        assert secret.reveal() == SHARED_SECRET
    with OrganizationStore(path) as organizations, ShareLinkStore(path) as links:
        acme = organizations.get("acme")
        assert acme is not None
        assert acme.settings == {
            "seats": 5,
            "debates_used_this_month": 4,
            "billing_cycle_start": "2026-01-02T03:04:05.678901+00:00",
        }
        invitation = organizations.get_invitation_by_token(INVITATION)
        assert invitation is not None
        assert (invitation.email, invitation.revoked_at) == ("cy@example.com", None)
        assert links.resolve(SHARE).created_at == datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)
    with AuditStore(path) as audit:
        entry = audit.get(1)
        assert entry is not None
        assert entry.details == {"by": "api", "old_value": {"role": "member"}, "new_value": {"role": "owner"}}
        assert audit.verify().ok


def test_what_the_migrations_of_the_public_code_made_is_adopted(path: Path) -> None:
    """The documented tables with some of its own, in which columns have other names than those of its stores."""
    make(
        path,
        DOCUMENTED,
        LOCKOUT,
        DOCUMENTED_ROWS,
        LEDGER,
        """
        CREATE TABLE oauth_providers (
            id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL, provider TEXT NOT NULL,
            provider_user_id TEXT NOT NULL, email TEXT, access_token TEXT, refresh_token TEXT,
            created_at TEXT DEFAULT CURRENT_TIMESTAMP
        );
        CREATE TABLE org_invitations (
            id TEXT PRIMARY KEY, org_id TEXT NOT NULL, email TEXT NOT NULL, role TEXT DEFAULT 'member',
            token TEXT UNIQUE NOT NULL, invited_by TEXT, created_at TEXT, expires_at TEXT, accepted_at TEXT
        );
        INSERT INTO oauth_providers (user_id, provider, provider_user_id, access_token) VALUES
            ('bob', 'gh', '7', 'tok-1');
        INSERT INTO org_invitations (id, org_id, email, token, created_at) VALUES
            ('i1', 'acme', 'cy@example.com', 'inv', '2024-01-01');
        """,
    )

    report = adopt(path, path, "users", settings=settings_of(path))

    assert report.origin == "made by the public code"
    with UserStore(path) as users, OrganizationStore(path) as organizations:
        bob = users.get_by_oauth("gh", "7")
        assert bob is not None
        assert bob.id == "bob"
        invitation = organizations.get_invitation_by_token("inv")
        assert invitation is not None
        assert invitation.expires_at == invitation.revoked_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert b"tok-1" not in path.read_bytes()
    assert ("oauth_providers.access_token", 1) in {(note.subject, note.rows) for note in report.notes}


def test_no_secret_is_in_plain_text_afterwards(path: Path) -> None:
    """Not in any table: keys and tokens are hashes, the second factor is encrypted."""
    make_public_users(path)

    adopt(path, path, "users", settings=with_key(path))

    content = path.read_bytes()
    assert [secret for secret in (API_KEY, INVITATION, SHARE, SHARED_SECRET) if secret.encode() in content] == []


def test_a_password_of_another_kind_opens_nothing_and_can_be_set_anew(path: Path) -> None:
    """Its hash is kept, and the report says how many there are."""
    make_public_users(path)

    report = adopt(path, path, "users", settings=with_key(path))

    (note,) = (note for note in report.notes if note.subject == "users.password_hash")
    assert note.rows == 1
    assert rows_of(path, "SELECT password_hash FROM users WHERE id = 'ann'") == [("bcrypt:$2b$12$abc",)]
    with UserStore(path) as users:
        users.unlock("ann")
        assert users.authenticate("ann@example.com", "anything") is None
        users.set_password("ann", "a new one")
        assert users.authenticate("ann@example.com", "a new one") is not None


def test_tables_of_others_come_along_as_they_are(path: Path) -> None:
    """With their rows, indexes and counters; a view and the foreign ledger are left out, and the report says so."""
    make_public_users(path)

    report = adopt(path, path, "users", settings=with_key(path))

    assert rows_of(path, "SELECT * FROM onboarding_flows") == [(1, "ann", "welcome")]
    assert rows_of(path, "SELECT 1 FROM sqlite_master WHERE name = 'idx_onboarding'") == [(1,)]
    left_out = {note.subject for note in report.notes if note.text.startswith("is left out")}
    assert left_out == {"_schema_versions", "active_users", "users.mfa_backup_codes", "oauth_providers.email"}


def test_names_that_differ_outside_of_ascii_alone_are_two(path: Path) -> None:
    """To SQLite they are, and none is left out for the other."""
    make(path, DOCUMENTED, 'CREATE TABLE "Ä" ("Ü", "ü")', 'CREATE TABLE "ä" (id)')
    make(path, 'INSERT INTO "Ä" VALUES (1, 2)', 'INSERT INTO "ä" VALUES (3)')

    report = adopt(path, path, "users", settings=settings_of(path))

    assert report.rows == 2
    assert rows_of(path, 'SELECT * FROM "Ä"') == [(1, 2)]
    assert rows_of(path, 'SELECT * FROM "ä"') == [(3,)]


def test_a_table_whose_name_is_taken_is_kept_beside(path: Path) -> None:
    """By an index of ours too, and where a table of theirs has the other name already."""
    make(path, DOCUMENTED, "CREATE TABLE idx_users_org (a)", "CREATE TABLE adopted_idx_users_org (b)")
    make(path, "INSERT INTO idx_users_org VALUES (1)", "INSERT INTO adopted_idx_users_org VALUES (2)")

    adopt(path, path, "users", settings=settings_of(path))

    assert rows_of(path, "SELECT b FROM adopted_idx_users_org") == [(2,)]
    assert rows_of(path, "SELECT a FROM adopted_adopted_idx_users_org") == [(1,)]


def test_a_view_of_what_is_gone_is_left_out(path: Path) -> None:
    """Nobody could read it there either."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS, "CREATE VIEW old AS SELECT a FROM gone")

    report = adopt(path, path, "users", settings=settings_of(path))

    assert [note.subject for note in report.notes] == ["old"]
    assert len(rows_of(path, "SELECT id FROM users")) == 2


def test_what_was_filled_in_or_left_out_is_reported(path: Path) -> None:
    """A NULL that takes our default is a value in another form; a column of defaults alone is left out, with a note."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS, "ALTER TABLE users ADD COLUMN fax TEXT NOT NULL DEFAULT 'none'")
    execute(path, "UPDATE users SET is_active = NULL, role = NULL WHERE id = 'bob'")

    report = adopt(path, path, "users", settings=settings_of(path))

    assert (report.converted["users.is_active"], report.converted["users.role"]) == (1, 1)
    assert [(note.subject, note.rows) for note in report.notes] == [("users.fax", 2)]


def test_a_role_that_memberships_change_is_reported(path: Path) -> None:
    """What no membership can have becomes the least of them; an owner is a member."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS, "UPDATE users SET role = 'wizard' WHERE id = 'bob'")
    execute(path, "UPDATE users SET org_id = NULL WHERE id = 'ann'")

    report = adopt(path, path, "users", settings=settings_of(path))

    assert [(note.subject, note.rows) for note in report.notes] == [("users.role", 1), ("users.org_id", 1)]
    assert rows_of(path, "SELECT id, org_id, role FROM users") == [
        ("ann", "acme", "owner"),
        ("bob", "acme", "member"),
    ]


def test_an_own_database_that_lost_its_ledger_gets_it_back(path: Path) -> None:
    """With every row as it was: the audit log has the same head."""
    with UserStore(path) as users, OrganizationStore(path) as organizations, AuditStore(path) as audit:
        ann = users.create("ann@example.com", "a password")
        organizations.create("Acme", owner_id=ann.id)
        for _ in range(5):
            audit.log("login", user_id=ann.id)
        head = audit.head(signed=False)
    execute(path, "DROP TABLE schema_version")

    report = adopt(path, path, "users", settings=settings_of(path))

    assert (report.origin, report.converted) == ("a database of this package that has lost its ledger", {})
    with UserStore(path) as users, AuditStore(path) as audit:
        assert users.authenticate("ann@example.com", "a password") is not None
        assert audit.verify(head).ok


def test_the_tree_over_an_audit_log_stays_the_same(path: Path) -> None:
    """An entry that is a leaf of it already keeps its form, whatever that is: another one would be a changed entry."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        apply_pending(connection, load(folder_of("users"))[:4], path, lambda: None)
        connection.execute("INSERT INTO audit_log (timestamp, action, details) VALUES ('2024-01-02', 'login', NULL)")
    migrate(path, "users", backup=False)
    with AuditStore(path) as audit:
        head = audit.head(signed=False)
    execute(path, "DROP TABLE schema_version")

    adopt(path, path, "users", settings=settings_of(path))

    assert rows_of(path, "SELECT timestamp, details FROM audit_log") == [("2024-01-02", None)]
    with AuditStore(path) as audit:
        assert audit.verify(head).ok


def test_a_second_factor_that_cannot_be_read_stays_closed(path: Path) -> None:
    """What another program encrypted is kept, opens nothing, and can be set anew."""
    make_public_users(path)
    execute(path, "UPDATE users SET mfa_secret = 'AQFlbmNyeXB0ZWQtYnktYW5vdGhlcg==' WHERE id = 'ann'")
    settings = with_key(path)

    report = adopt(path, path, "users", settings=settings)

    assert ("users.mfa_secret", 1) in {(note.subject, note.rows) for note in report.notes}
    with UserStore(path, settings=settings) as users:
        ann = users.get("ann")
        assert ann is not None
        assert ann.mfa_enabled
        with pytest.raises(DamagedError):
            users.mfa_secret("ann")
        users.disable_mfa("ann")
        users.set_mfa_secret("ann", SHARED_SECRET)


def test_a_foreign_database_is_told_apart(path: Path) -> None:
    """From an own one, from one that is empty, and from one that has only a table of Litestream's."""
    own = path.with_name("own.db")
    UserStore(own).close()
    empty = make(path.with_name("empty.db"), "CREATE TABLE _litestream_seq (id INTEGER)")
    theirs = make(path, DOCUMENTED)
    versioned = make(path.with_name("versioned.db"), "CREATE TABLE schema_version (version INTEGER)")

    found = {}
    for one in (own, empty, theirs, versioned):
        with closing(sqlite3.connect(one)) as connection:
            found[one.name] = is_foreign(connection)

    assert found == {"own.db": False, "empty.db": False, path.name: True, "versioned.db": True}


def test_nothing_is_adopted_from_nothing(path: Path) -> None:
    """A missing file and an empty one are refused, and nothing is made."""
    with pytest.raises(NotFoundError):
        adopt(path, path, "users", settings=settings_of(path))
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InvalidValueError, match="has no tables"):
        adopt(path, path, "users", settings=settings_of(path))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_key_without_an_end_works_for_a_year_from_now(path: Path) -> None:
    """A plain key is stored as its hash alone."""
    make_public_users(path)
    execute(path, "UPDATE users SET api_key = 'ara_plain', api_key_prefix = NULL WHERE id = 'bob'")

    adopt(path, path, "users", settings=with_key(path))

    with UserStore(path) as users:
        bob = users.get_by_api_key("ara_plain")
        assert bob is not None
        (key,) = users.list_api_keys("bob").items
        assert key.prefix == "ara_plain"
        assert key.expires_at - datetime.now(UTC) > timedelta(days=364)


def test_every_form_of_table_comes_over(path: Path) -> None:
    """Text in UTF-16, names in other cases, computed columns, tables without row ids; what is code is left out."""
    make(
        path,
        "PRAGMA encoding = 'UTF-16'",
        "CREATE TABLE Users (ID TEXT PRIMARY KEY, Email TEXT, password_hash TEXT, password_salt TEXT, "
        "shout TEXT GENERATED ALWAYS AS (upper(Email)) VIRTUAL)",
        "CREATE TABLE log (said TEXT, twice TEXT GENERATED ALWAYS AS (said || said) STORED)",
        "CREATE TABLE words (word TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TRIGGER on_log AFTER INSERT ON log BEGIN SELECT 1; END",
        "CREATE TABLE schema_version (version INTEGER)",
        "INSERT INTO schema_version VALUES (3)",
        "INSERT INTO Users VALUES ('\u00e9', '\u00c9@Example.com', '', '')",
        "INSERT INTO log VALUES ('\u00e9')",
        "INSERT INTO words VALUES ('word')",
    )

    report = adopt(path, path, "users", settings=settings_of(path))

    assert report.origin == "made by hand"
    assert rows_of(path, "SELECT id, email, created_at IS NULL FROM users") == [("\u00e9", "\u00e9@example.com", 0)]
    assert rows_of(path, "SELECT * FROM log") == [("\u00e9", "\u00e9\u00e9")]
    assert rows_of(path, "SELECT * FROM words") == [("word",)]
    assert {note.subject for note in report.notes} == {"schema_version", "on_log"}


def test_what_is_being_done_is_told(path: Path) -> None:
    """Table by table, with the rows so far."""
    make(path, DOCUMENTED, DOCUMENTED_ROWS)
    told: list[str] = []

    adopt(path, path, "users", settings=settings_of(path), progress=told.append)

    assert [text for text in told if text.startswith("rows of users")] == ["rows of users", "rows of users: 2"]
    assert "checking the new database" in told


def test_a_report_reads_well(path: Path) -> None:
    """As text; as a document it holds the same."""
    make(
        path, DOCUMENTED, "INSERT INTO users (id, email, password_hash, password_salt) VALUES ('a', 'A@x.com', 'x', '')"
    )
    execute(path, "UPDATE users SET created_at = '2024-01-02T03:04:05.000000Z', updated_at = created_at")
    execute(path, "UPDATE users SET updated_at = created_at")

    report = adopt(path, path, "users", settings=settings_of(path))

    assert str(report).splitlines() == [
        f"adopted 1 row of {path}: made by hand, from the documentation",
        "  1 row of users",
        "  1 value of users.email in our form",
        (
            "  note: users.password_hash (1 row): hashes of another kind are kept and open nothing: "
            "let these users set a new password"
        ),
        f"  the original: {report.snapshot}",
        f"  the original: {report.replaced}",
    ]
    assert report.document()["converted"] == {"users.email": 1}
    assert report.document()["snapshot"] == str(report.snapshot)
