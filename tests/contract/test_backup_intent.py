"""The note of an unfinished restore, when it is not what was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.restore.intent import Intent, declare
from aragora_persist.errors import DamagedError
from aragora_persist.storage.sqlite.files import restore_note
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from pathlib import Path

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
