"""What backups of the Supabase half decide without a server: which programs, what they are told, what they died of."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.supabase import take
from aragora_persist.backup.supabase.dumping import refuse_transaction_pooler
from aragora_persist.backup.supabase.programs import bare_environment, environment_of, failure, find_programs
from aragora_persist.backup.supabase.restoring import check_equal
from aragora_persist.backup.supabase.scratch import refuse_place
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import (
    BusyError,
    DamagedError,
    InvalidValueError,
    PersistError,
    StorageError,
    UnreachableError,
    UnsupportedError,
)
from aragora_persist.settings import Secret, Settings

if TYPE_CHECKING:
    from pathlib import Path

URL = Secret("postgresql://ann:se%2Fcret@db.example.org:6000/cloud?sslmode=verify-full&sslrootcert=/ca.pem")


@pytest.mark.parametrize(
    ("code", "said", "leaf", "problem"),
    [
        (-9, "", StorageError, "pg_dump was ended by signal 9"),
        (1, "pg_dump: error: could not write: No space left on device", StorageError, "No space left on device"),
        (1, "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout", BusyError, "timeout"),
        (1, "pg_dump: error: server closed the connection unexpectedly", UnreachableError, "server closed"),
        (3, "", StorageError, "pg_dump: failed with code 3"),
        (1, "pg_dump: what it has read: ann@example.org", StorageError, "pg_dump: failed with code 1"),
    ],
)
def test_a_failure_says_what_a_program_died_of(code: int, said: str, leaf: type[PersistError], problem: str) -> None:
    """By its exit code and its words, each with a leaf that says whether it may be repeated."""
    error = failure("/bin/pg_dump", code, said.encode(), operation="dump supabase", target="host")

    assert type(error) is leaf
    assert problem in error.problem


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            "popen failure: Cannot allocate memory\n  \ninitdb: removing data directory\n",
            "Cannot allocate memory; initdb: ",
        ),
        (
            "2026-11-23 FATAL:  could not map anonymous shared memory\nHINT:  smaller\n",
            "initdb: could not map anonymous",
        ),
        ("initdb: error: could not look up effective user ID 7", "initdb: could not look up effective user ID 7"),
    ],
)
def test_a_server_that_cannot_be_made_says_why(said: str, problem: str) -> None:
    """Whichever of its programs told: there are no rows yet that could be quoted."""
    error = failure("/bin/initdb", 1, said.encode(), operation="start scratch server", target="folder")

    assert problem in error.problem


def test_a_failure_tells_no_rows() -> None:
    """What a server adds to its error quotes values."""
    said = (
        b"pg_restore: error: could not execute query: ERROR:  duplicate key\nDETAIL:  Key (email)=(ann@example.org).\n"
    )

    assert "ann" not in str(failure("pg_restore", 1, said, operation="try out dump", target="dump"))


def test_a_program_gets_its_address_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password and TLS included; what the address leaves open, the user's own variables say."""
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGCHANNELBINDING", "require")
    told = environment_of(URL)

    assert (told["PGHOST"], told["PGPORT"], told["PGUSER"], told["PGPASSWORD"]) == (
        *("db.example.org", "6000"),
        *("ann", "se/cret"),
    )
    assert (told["PGSSLMODE"], told["PGSSLROOTCERT"], told["PGCHANNELBINDING"]) == ("verify-full", "/ca.pem", "require")
    assert [name for name in bare_environment() if name.startswith("PG")] == []


def test_missing_programs_are_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has only a part of them has none."""
    (tmp_path / "pg_dump").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnsupportedError, match="are not here, and the server is of version 17") as caught:
        find_programs(17, packaged=tmp_path / "none")
    assert "apt install postgresql-17" in caught.value.hint


def test_a_missing_driver_is_told_with_the_way_out(tmp_path: Path) -> None:
    """As any failed backup: by the command, which makes nothing."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from aragora_persist.cli import main\n"
        "sys.exit(main(['backup', '--db', 'supabase']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NOMIC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "psycopg: is not installed" in run.stderr
    assert "pip install 'aragora-persist[supabase]'" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_transaction_pooler_is_refused() -> None:
    """By its port, which is the same in every project; the session pooler is not."""
    with pytest.raises(UnsupportedError, match="transaction pooler") as caught:
        refuse_transaction_pooler(Secret("postgresql://postgres.ref:word@pooler.supabase.com:6543/postgres"), "x")
    assert "word" not in str(caught.value)
    assert refuse_transaction_pooler(URL, "x") == "db.example.org:6000/cloud"


def test_a_difference_names_the_tables() -> None:
    """One that is missing, one that has other rows; and history that is not the same."""
    one, other = TableContent(1, "a"), TableContent(1, "b")
    kept = Content(
        schema_version=1, foreign_key_violations=0, tables={"public.a": one, "public.b": one, "public.c": one}
    )
    found = Content(schema_version=1, foreign_key_violations=0, tables={"public.a": one, "public.b": other})

    check_equal(kept, kept, operation="x", target="y")
    with pytest.raises(DamagedError, match=r"were dumped: public\.b, public\.c"):
        check_equal(found, kept, operation="x", target="y")


def test_scratch_space_has_to_take_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dumped before it is known that it can be tried out."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UnsupportedError, match="cannot be started by root"):
        refuse_place()
    monkeypatch.setattr("os.geteuid", lambda: 10001)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 99)))
    with pytest.raises(StorageError, match="too long a path"):
        refuse_place()


def test_a_backup_needs_an_address(tmp_path: Path) -> None:
    """The variable is named, and nothing is made."""
    settings = Settings.from_env({"ARAGORA_BACKUP_DIR": str(tmp_path / "backups")})

    with pytest.raises(InvalidValueError, match="SUPABASE_DB_URL: is not set"):
        take(settings)
    assert not (tmp_path / "backups").exists()
