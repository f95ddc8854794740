"""The note of an unfinished restore: when it is not what was written, and what it keeps from being copied."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.restore.exchange import refuse_holders
from aragora_persist.backup.restore.intent import Intent, declare
from aragora_persist.errors import BusyError, DamagedError, StorageError
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.files import restore_note
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

SOUND: dict[str, object] = {"staged": "new.db", "replaced": "old.db"}
WRONG: list[tuple[str, object]] = [
    *(("staged", name) for name in ("../new.db", "", 5, None)),
    *((name, number) for name in ("mark", "application_id") for number in ("many", 1.5)),
    *(("pending", name) for name in ("../folder", 5)),
    ("later", "release"),
]


@pytest.mark.parametrize("note", ["", "{", "[1]", "{}", *(json.dumps({**SOUND, name: value}) for name, value in WRONG)])
def test_a_note_that_names_no_file_of_the_folder_is_damage(tmp_path: Path, note: str) -> None:
    """Opening the database is refused, and neither it nor the note is touched."""
    path = tmp_path / "users.db"
    with UserStore(path) as store:
        store.create("user@example.com")
    before = path.read_bytes()
    restore_note(path).write_text(note)
    with pytest.raises(DamagedError, match="cannot be read"):
        UserStore(path)
    assert (path.read_bytes(), restore_note(path).read_text()) == (before, note)


def test_a_note_about_one_database_is_one_that_the_first_release_completes(tmp_path: Path) -> None:
    """It says nothing that release 0.1.0, which may be the next to open the database, would not know."""
    declare(tmp_path / "users.db", Intent("new.db", "old.db"))
    assert json.loads(restore_note(tmp_path / "users.db").read_text()) == SOUND


def test_files_that_are_being_exchanged_are_not_copied(tmp_path: Path) -> None:
    """The log is moved away before the copy begins; the rest, and the note, right behind it: it would lack rows."""
    live, new = tmp_path / "users.db", tmp_path / "new.db"
    with closing(sqlite3.connect(tmp_path / "writer.db", isolation_level=None)) as writer:
        for statement in (
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t (x)",
            "PRAGMA wal_checkpoint",
            "INSERT INTO t VALUES (1)",
        ):
            writer.execute(statement).fetchall()
        for ending in ("", "-wal"):
            shutil.copyfile(f"{tmp_path / 'writer.db'}{ending}", f"{live}{ending}")
    shutil.copyfile(live, new)
    looks: list[str] = []

    def exchange(frame: FrameType, what: str, _argument: object) -> None:
        if frame.f_code.co_name != "_place":
            return
        looks.append(what)
        if looks == ["call"]:
            declare(live, Intent(new.name, "old.db"))
            live.with_name("users.db-wal").rename(tmp_path / "old.db-wal")
        elif looks == ["call", "return"] * 2:
            new.rename(live)
            restore_note(live).unlink()

    sys.setprofile(exchange)
    try:
        with pytest.raises(BusyError, match="restored"):
            copy_into(live, tmp_path / "copy.db", timeout_s=0)
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("executable", [None, "/there/is/none"])
def test_where_nobody_can_ask_who_has_a_file_open_it_is_not_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    """Where no process can be started: a damaged file cannot be asked through SQLite."""
    path = tmp_path / "users.db"
    path.write_bytes(b"no database" * 1000)
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(StorageError, match="no process can be started"):
        refuse_holders(path, 0.0)


def test_who_is_killed_while_asking_has_not_said_that_nobody_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file is not moved on the word of a process that did not come to give its answer."""
    path = tmp_path / "users.db"
    path.write_bytes(b"no database" * 1000)
    (program := tmp_path / "python").write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(BusyError, match="has it open"):
        refuse_holders(path, 0.0)
