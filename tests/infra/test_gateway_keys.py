"""Keys become JWTs that PostgREST takes, in a text that nginx reads as nothing else."""

from __future__ import annotations

import jwt as pyjwt
import pytest

from aragora_persist.errors import InvalidValueError
from infra.components.gateway_keys import jwt, keys_conf

SERVICE, PUBLISHABLE, SECRET = "sb_secret_" + "s" * 20, "sb_publishable_" + "p" * 20, "j" * 32


def test_each_key_stands_for_its_role() -> None:
    """The map has one line for a key, and the same keys and secret give the same text."""
    text = keys_conf(SERVICE, PUBLISHABLE, SECRET)
    assert text == keys_conf(SERVICE, PUBLISHABLE, SECRET)
    lines = [line.split('"') for line in text.splitlines()]
    assert [(key, end) for _, key, _, _, end in lines] == [(f"~\\A{SERVICE}\\z", ";"), (f"~\\A{PUBLISHABLE}\\z", ";")]
    claims = [pyjwt.decode(token, SECRET, algorithms=["HS256"]) for _, _, _, token, _ in lines]
    assert claims == [{"role": "service_role"}, {"role": "anon"}]


def test_another_secret_signs_otherwise() -> None:
    """A JWT is good for its own secret only."""
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(jwt("anon", SECRET), "k" * 32, algorithms=["HS256"])


@pytest.mark.parametrize(
    ("service", "publishable", "secret", "target"),
    [
        (PUBLISHABLE, SERVICE, SECRET, "service_key"),
        (SERVICE, SERVICE, SECRET, "publishable_key"),
        ("sb_secret_short", PUBLISHABLE, SECRET, "service_key"),
        (SERVICE + '" x;', PUBLISHABLE, SECRET, "service_key"),
        (SERVICE + "\n", PUBLISHABLE, SECRET, "service_key"),
        (SERVICE + ".*", PUBLISHABLE, SECRET, "service_key"),
        (SERVICE + "$jwt", PUBLISHABLE, SECRET, "service_key"),
        (SERVICE, PUBLISHABLE + "ü", SECRET, "publishable_key"),
        (SERVICE, PUBLISHABLE, "j" * 31, "jwt_secret"),
    ],
)
def test_what_is_no_key_is_refused(service: str, publishable: str, secret: str, target: str) -> None:
    """A key of the wrong kind, a short one, and one that would be more than a key in nginx's file."""
    with pytest.raises(InvalidValueError) as refused:
        keys_conf(service, publishable, secret)
    assert refused.value.target == target
    assert service not in str(refused.value)
