"""Secrets are taken out of what is shown, and marked in what is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.toolchain.bridge.secrets import PLACEHOLDER, Redactor, sealed, secret_outputs
from infra.toolchain.bridge.values import Properties, Value, decode, encode

LONG = st.text(st.characters(codec="utf-8"), min_size=8, max_size=30).filter(
    lambda text: len(text.strip()) >= 8 and PLACEHOLDER not in text
)


def inputs(values: dict[str, Value], *secret: str) -> Properties:
    """Make inputs of which some are secret."""
    return decode(encode(values, secret))


@given(LONG, st.text(max_size=10), st.text(max_size=10))
def test_a_secret_is_in_no_redacted_text(secret: str, before: str, after: str) -> None:
    """Neither as it is nor as it is quoted."""
    redactor = Redactor()
    redactor.remember([secret])
    for form in (secret, json.dumps(secret)):
        assert secret not in redactor.redact(f"{before}{form}{after}")
    assert secret not in repr(redactor)


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("hunter2", "user hunter2: not found", "user [secret]: not found"),
        ("ab", "about ab, cab", "about [secret], cab"),
        ("PASSWORD=correct-horse", "invalid value correct-horse", "invalid value [secret]"),
        ("first line\nsecond line", 'parse "second line": bad', 'parse "[secret]": bad'),
        ('a"quoted"secret', r'error: "a\"quoted\"secret"', 'error: "[secret]"'),
        ("", "nothing to hide", "nothing to hide"),
        (" ", "nothing to hide", "nothing to hide"),
    ],
)
def test_forms_in_which_engines_repeat_a_secret(secret: str, text: str, shown: str) -> None:
    """Quoted, in pieces, without the variable's name; a short one only as a word."""
    redactor = Redactor()
    redactor.remember([secret])
    assert shown == redactor.redact(text)


def test_the_longest_secret_goes_first() -> None:
    """A secret inside another one must not leave the rest of it standing."""
    redactor = Redactor()
    redactor.remember(["password", "password-and-more"])
    assert redactor.redact("password-and-more") == PLACEHOLDER


def test_outputs_are_secret_with_their_inputs() -> None:
    """By name, and wherever the text of a secret input turns up, at any depth."""
    given_inputs = inputs({"envs": ["TOKEN=correct-horse", "A=1"], "user": "root"}, "envs")
    outputs: dict[str, Value] = {
        "envs": [],
        "user": "root",
        "containerLogs": "TOKEN=correct-horse\n",
        "labels": [{"label": "token", "value": "correct-horse"}],
    }
    assert secret_outputs(outputs, given_inputs) == {"envs", "containerLogs", "labels"}
    assert decode(sealed(outputs, given_inputs)).secret_keys == {"envs", "containerLogs", "labels"}


def test_without_secrets_nothing_is_marked() -> None:
    """Plain inputs give plain outputs."""
    assert secret_outputs({"envs": ["A=1"]}, inputs({"envs": ["A=1"]})) == set()
