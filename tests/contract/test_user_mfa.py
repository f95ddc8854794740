"""The contract of UserStore's multi-factor authentication, over every backend."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import AccessDeniedError, ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.settings import Settings
from aragora_persist.storage.encryption import VARIABLE, Rotation
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.users.records import User

pytest_plugins = ("tests.contract.user_fixtures",)

SECRET = "JBSWY3DPEHPK3PXP"
NEW_KEY = "YQ".ljust(43, "A") + "="


def stored(users: UserStore) -> dict[str, str | None]:
    """Return what the database holds of secrets, by user."""
    with users.database.read("look") as view:
        return {str(ident): None if text is None else str(text) for ident, text in view.all(_SECRETS)}


def revealed(users: UserStore, user_id: str) -> str | None:
    """Return a user's secret itself."""
    secret = users.mfa_secret(user_id)
    return None if secret is None else secret.reveal()


_SECRETS = "SELECT id, mfa_secret FROM users"


def test_a_secret_is_encrypted_and_comes_back(users: UserStore, user: User) -> None:
    """It stands nowhere in plain text: not in the database, not in the record, not in what Python shows of it."""
    changed = users.set_mfa_secret(user.id, SECRET)
    secret = users.mfa_secret(user.id)
    assert (revealed(users, user.id), SECRET in repr((changed, secret))) == (SECRET, False)
    assert re.fullmatch(r"v1\.[0-9a-f]{16}\.[A-Za-z0-9+/=]+", str(stored(users)[user.id]))
    assert SECRET not in str(stored(users))
    assert not changed.mfa_enabled
    assert (users.mfa_secret("unknown"), users.mfa_secret(users.create("b@example.com").id)) == (None, None)


def test_without_a_key_nothing_is_stored(users: UserStore, user: User) -> None:
    """It is refused with the variable to set; and what is stored is not given out."""
    without = UserStore(users.database, settings=Settings.from_env({}))
    with pytest.raises(InvalidValueError, match=VARIABLE):
        without.set_mfa_secret(user.id, SECRET)
    assert stored(users) == {user.id: None}
    users.set_mfa_secret(user.id, SECRET)
    for call in (lambda: without.mfa_secret(user.id), without.rotate_encryption):
        with pytest.raises(InvalidValueError, match=VARIABLE):
            call()
    assert revealed(users, user.id) == SECRET


def test_no_other_method_writes_a_secret(users: UserStore, user: User) -> None:
    """Neither an update nor a batch of them can put one in as it is."""
    wrong = {"mfa_secret": SECRET}
    with pytest.raises(InvalidValueError, match="mfa_secret"):
        users.update(user.id, **wrong)  # type: ignore[arg-type] # the test
    with pytest.raises(InvalidValueError, match="mfa_secret"):
        users.update_many({user.id: wrong})  # type: ignore[dict-item] # the test
    with pytest.raises(InvalidValueError, match="mfa_secret"):
        users.create("new@example.com", **wrong)  # type: ignore[arg-type] # the test
    assert stored(users) == {user.id: None}


def test_a_secret_belongs_to_its_user(users: UserStore, user: User) -> None:
    """What is copied to another user's row is damage, and says nothing."""
    other = users.create("other@example.com")
    users.set_mfa_secret(user.id, SECRET)
    copied = stored(users)[user.id]
    with users.database.transaction() as tx:
        tx.execute("UPDATE users SET mfa_secret = ? WHERE id = ?", (copied, other.id))
    with pytest.raises(DamagedError) as refused:
        users.mfa_secret(other.id)
    assert SECRET not in str(refused.value)
    assert revealed(users, user.id) == SECRET


def test_is_enabled_once_there_is_a_secret(users: UserStore, user: User) -> None:
    """Then the secret is not replaced by a mere write; disabling forgets it, and the backup codes."""
    with pytest.raises(ConflictError, match="no secret"):
        users.enable_mfa(user.id, "first")
    users.set_mfa_secret(user.id, "first")
    users.set_mfa_secret(user.id, SECRET)
    with pytest.raises(ConflictError, match="another secret by now"):
        users.enable_mfa(user.id, "first")  # its code was right, but the device that is to count is another one
    assert users.get(user.id) == user
    assert users.enable_mfa(user.id, SECRET).mfa_enabled
    with pytest.raises(ConflictError, match="enabled"):
        users.set_mfa_secret(user.id, "another")
    assert revealed(users, user.id) == SECRET
    users.new_backup_codes(user.id)
    assert not users.disable_mfa(user.id).mfa_enabled
    assert (users.mfa_secret(user.id), users.backup_codes_left(user.id)) == (None, 0)
    assert not users.disable_mfa(user.id).mfa_enabled


def test_backup_codes_work_once(users: UserStore, user: User) -> None:
    """Written in any way, for their user alone; new ones take the place of the old ones."""
    other = users.create("other@example.com")
    codes = users.new_backup_codes(user.id)
    assert (len(set(codes)), users.backup_codes_left(user.id)) == (10, 10)
    assert not users.use_backup_code(other.id, codes[0])
    for wrong in ("", codes[0][:-1], "x" * 255):
        assert not users.use_backup_code(user.id, wrong)
    assert users.use_backup_code(user.id, codes[0])
    assert not users.use_backup_code(user.id, codes[0])
    assert users.use_backup_code(user.id, f" {codes[1].replace('-', ' ').upper()}\n")
    assert users.backup_codes_left(user.id) == 8
    renewed = users.new_backup_codes(user.id)
    assert not users.use_backup_code(user.id, codes[2])
    assert users.use_backup_code(user.id, renewed[2])
    with users.database.read("look") as view:
        assert not {code for code in codes + renewed if code in str(view.all("SELECT * FROM mfa_backup_codes"))}


def test_of_many_at_once_one_uses_a_code(users: UserStore, user: User) -> None:
    """Eight threads with the same code: one is let in."""
    code = users.new_backup_codes(user.id)[0]
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(users.use_backup_code(user.id, code))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_refuses_what_is_no_secret(users: UserStore, user: User) -> None:
    """With the field's name; unknown users are said."""
    values: tuple[Any, ...] = ("", "\0", "\udc80", "x" * 1_001, None, 5)
    for wrong in values:
        with pytest.raises(InvalidValueError) as refused:
            users.set_mfa_secret(user.id, wrong)
        assert refused.value.target == "secret"
    for call in (lambda one: users.enable_mfa(one, SECRET), users.disable_mfa, users.new_backup_codes):
        with pytest.raises(NotFoundError):
            call("unknown")
    with pytest.raises(NotFoundError):
        users.set_mfa_secret("unknown", SECRET)
    assert not users.use_backup_code("unknown", "code")
    assert stored(users) == {user.id: None}


def test_a_key_can_be_replaced(users: UserStore, key_file: Path) -> None:
    """A new key goes in front, everything is encrypted anew, in batches, and the old key can go."""
    ids = [users.create(f"user{number}@example.com").id for number in range(250)]
    with users.database.transaction() as tx:
        for user_id in ids:
            users.set_mfa_secret(user_id, f"secret of {user_id}", tx=tx)
    assert users.rotate_encryption() == Rotation(renewed=0, current=250, unreadable=())
    key_file.write_text(f"{NEW_KEY}\n{key_file.read_text()}\n")
    assert {revealed(users, user_id) for user_id in ids} == {f"secret of {user_id}" for user_id in ids}
    assert users.rotate_encryption() == Rotation(renewed=250, current=0, unreadable=())
    assert users.rotate_encryption() == Rotation(renewed=0, current=250, unreadable=())
    key_file.write_text(NEW_KEY)
    assert {revealed(users, user_id) for user_id in ids} == {f"secret of {user_id}" for user_id in ids}


def test_what_cannot_be_decrypted_is_told_and_kept(users: UserStore, user: User, key_file: Path) -> None:
    """A key that was taken out too early can be put back; everybody else's secret is renewed meanwhile."""
    users.set_mfa_secret(user.id, SECRET)
    before, old_key = stored(users)[user.id], key_file.read_text()
    key_file.write_text(NEW_KEY)
    other = users.create("other@example.com")
    users.set_mfa_secret(other.id, SECRET)
    assert users.rotate_encryption() == Rotation(renewed=0, current=1, unreadable=(user.id,))
    with pytest.raises(AccessDeniedError, match=VARIABLE):
        users.mfa_secret(user.id)
    assert stored(users)[user.id] == before
    key_file.write_text(f"{NEW_KEY}\n{old_key}")
    assert users.rotate_encryption() == Rotation(renewed=1, current=1, unreadable=())
    assert revealed(users, user.id) == SECRET


def test_a_secret_that_is_set_during_a_rotation_stays(users: UserStore, user: User, key_file: Path) -> None:
    """What was read before it does not take its place."""
    users.set_mfa_secret(user.id, "old")
    key_file.write_text(f"{NEW_KEY}\n{key_file.read_text()}")
    outdated = [("encrypted anew", user.id, str(stored(users)[user.id]))]
    users.set_mfa_secret(user.id, SECRET)
    assert users._replace_secrets(outdated) == 0
    assert revealed(users, user.id) == SECRET
