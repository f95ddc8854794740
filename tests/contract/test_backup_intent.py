"""The note of an unfinished restore, when it is not what was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import DamagedError
from aragora_persist.storage.sqlite.files import restore_note
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from pathlib import Path

SOUND = {"staged": "new.db", "replaced": "old.db"}


@pytest.mark.parametrize(
    "note",
    ["", "{", "[1]", "{}", *(json.dumps({**SOUND, "staged": name}) for name in ("../new.db", "", 5, None))],
)
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
