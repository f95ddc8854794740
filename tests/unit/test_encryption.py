"""Secrets at rest: encrypted under the keys of one file, and bound to what they belong to."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError, PersistError
from aragora_persist.settings import Settings
from aragora_persist.storage.encryption import VARIABLE, Keyring

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
BOUND = "user:1:mfa"


def _line(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _settings(path: Path) -> Settings:
    return Settings.from_env({VARIABLE: str(path)})


@given(plaintext=st.binary(max_size=300), bound_to=st.text())
def test_what_was_encrypted_comes_back(plaintext: bytes, bound_to: str) -> None:
    """Any bytes, bound to any text; never twice the same, and never as they are."""
    keyring = Keyring(OLD)
    stored = keyring.encrypt(plaintext, bound_to=bound_to)
    assert keyring.decrypt(stored, bound_to=bound_to) == plaintext
    assert keyring.encrypt(plaintext, bound_to=bound_to) != stored
    assert stored.isascii()


@given(stored=st.text() | st.text().map("v1.".__add__), position=st.integers(min_value=0), digit=st.characters())
def test_what_was_not_stored_is_said(stored: str, position: int, digit: str) -> None:
    """Any other text, and a stored one with any other character in any place, is an error of ours."""
    keyring = Keyring(OLD)
    good = keyring.encrypt(b"a secret", bound_to=BOUND)  # a length without spare bits in its base64
    place = position % len(good)
    for text in (stored, good[:place], good[:place] + digit + good[place + 1 :]):
        if text == good:
            continue
        with pytest.raises((DamagedError, AccessDeniedError)):
            keyring.decrypt(text, bound_to=BOUND)
    assert keyring.decrypt(good, bound_to=BOUND) == b"a secret"


def test_a_secret_belongs_to_its_row() -> None:
    """What is copied to another row does not decrypt there; the error names the row and no secret."""
    keyring = Keyring(OLD)
    stored = keyring.encrypt(b"secret", bound_to=BOUND)
    with pytest.raises(DamagedError) as refused:
        keyring.decrypt(stored, bound_to="user:2:mfa")
    assert "user:2:mfa" in str(refused.value)
    assert stored not in str(refused.value)


def test_a_new_key_goes_in_front_and_the_old_one_still_reads() -> None:
    """The first key encrypts, all decrypt; without its key a secret is out of reach, which names the variable."""
    stored = Keyring(OLD).encrypt(b"secret", bound_to=BOUND)
    both = Keyring(NEW, OLD)
    assert both.decrypt(stored, bound_to=BOUND) == b"secret"
    assert not both.is_current(stored)
    anew = both.encrypt(b"secret", bound_to=BOUND)
    assert both.is_current(anew)
    assert Keyring(NEW).decrypt(anew, bound_to=BOUND) == b"secret"
    with pytest.raises(AccessDeniedError, match=VARIABLE):
        Keyring(NEW).decrypt(stored, bound_to=BOUND)


def test_the_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    """One key a line, with spaces, empty lines and line ends of any kind; a change is taken up at once."""
    file = tmp_path / "keys"
    file.write_text(_line(OLD))
    first = Keyring.from_settings(_settings(file))
    assert first is not None
    stored = first.encrypt(b"secret", bound_to=BOUND)
    file.write_bytes(f"\r\n {_line(NEW)} \r\n\n{_line(OLD)}\r\n".encode())
    second = Keyring.required(_settings(file), "test")
    assert second.decrypt(stored, bound_to=BOUND) == b"secret"
    assert not second.is_current(stored)


def test_without_a_file_nothing_is_encrypted() -> None:
    """It is refused with the variable to set."""
    settings = Settings.from_env({})
    assert Keyring.from_settings(settings) is None
    with pytest.raises(InvalidValueError, match=VARIABLE) as refused:
        Keyring.required(settings, "user.set_mfa_secret")
    assert "openssl rand" in refused.value.hint


@pytest.mark.parametrize("content", [b"", b" \n", b"short", b"k" * 44, b"\xff\xfe", "café".encode(), b"aaaa" * 5])
def test_a_file_without_a_key_is_said(tmp_path: Path, content: bytes) -> None:
    """The error names the variable, and shows nothing of the file."""
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(InvalidValueError) as refused:
        Keyring.from_settings(_settings(file))
    assert refused.value.target == VARIABLE
    assert not content.strip() or content.decode("latin-1") not in str(refused.value)


def test_one_line_that_is_no_key_spoils_the_file(tmp_path: Path) -> None:
    """A key that was cut off would otherwise seem to be in use; the error says which line it is, and no key."""
    file = tmp_path / "keys"
    file.write_text(f"{_line(OLD)}\n{_line(NEW)[:-4]}\n")
    with pytest.raises(InvalidValueError, match="line 2") as refused:
        Keyring.from_settings(_settings(file))
    assert _line(OLD) not in str(refused.value)
    assert _line(NEW)[:-4] not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """And so is one that would be waited for."""
    for path in (tmp_path / "nowhere", Path("/dev/null"), tmp_path):
        with pytest.raises(InvalidValueError, match=str(path)):
            Keyring.from_settings(_settings(path))


def test_keys_show_themselves_nowhere() -> None:
    """Not in what Python prints of a keyring, nor in an error."""
    keyring = Keyring(OLD, NEW)
    assert repr(keyring) == str(keyring) == "Keyring(2 keys)"
    with pytest.raises(PersistError) as refused:
        keyring.decrypt("v1.0123456789abcdef.AAAA", bound_to=BOUND)
    for shown in (_line(OLD), OLD.hex(), repr(OLD)):
        assert shown not in str(refused.value)


def test_the_library_loads_with_the_first_secret() -> None:
    """A program that encrypts nothing does not pay for it."""
    code = "import sys, aragora_persist.storage.encryption as e; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
