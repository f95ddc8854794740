"""Signatures of webhooks: what is signed, and what is never taken for signed."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Secret
from aragora_persist.storage.webhooks.signing import sign, signature_header, verify

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET, BODY = "whsec_first", '{"type":"debate.ended","é":1}'.encode()


def header(*secrets: str) -> str:
    """Return what is sent with the body, signed with these secrets."""
    return signature_header(secrets or (SECRET,), AT, BODY)


def test_the_signature_is_the_documented_one() -> None:
    """HMAC-SHA256 over the timestamp, a dot and the bytes of the body, in hex: any receiver can compute it."""
    expected = hmac.new(SECRET.encode(), str(AT).encode() + b"." + BODY, hashlib.sha256).hexdigest()

    assert sign(SECRET, AT, BODY) == expected
    assert header() == f"t={AT},v1={expected}"


def test_what_was_signed_verifies() -> None:
    """With the secret that signed it, and with either of two while they rotate."""
    both = header("whsec_new", SECRET)

    assert verify(SECRET, header(), BODY, now=NOW)
    assert verify(SECRET, both, BODY, now=NOW)
    assert verify("whsec_new", both, BODY, now=NOW)
    assert not verify("whsec_other", both, BODY, now=NOW)


def test_without_a_time_the_clock_is_used() -> None:
    """What was signed just now verifies, what was signed in January does not."""
    fresh = signature_header((SECRET,), int(datetime.now(UTC).timestamp()), BODY)

    assert verify(SECRET, fresh, BODY)
    assert not verify(SECRET, header(), BODY)


@pytest.mark.parametrize(("seconds", "good"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_an_old_or_early_signature_does_not_verify(seconds: int, good: bool) -> None:  # noqa: FBT001 - an expected value
    """Both ways, at the very second; a narrower tolerance is obeyed."""
    now = NOW + timedelta(seconds=seconds)

    assert verify(SECRET, header(), BODY, now=now) is good
    assert verify(SECRET, header(), BODY, now=now, tolerance_s=299) is False


@pytest.mark.parametrize("change", ["body", "time", "signature", "secret"])
def test_any_change_is_found(change: str) -> None:
    """In the body, the time or the signature."""
    body = BODY + b" " if change == "body" else BODY
    text = header()
    if change == "time":
        text = text.replace(str(AT), str(AT + 1))
    if change == "signature":
        text = text[:-1] + ("0" if text[-1] != "0" else "1")
    secret = SECRET + "x" if change == "secret" else SECRET

    assert not verify(secret, text, body, now=NOW)


GOOD = sign(SECRET, AT, BODY)
MALFORMED = [
    "",
    ",",
    "t=",
    f"v1={GOOD}",
    f"t={AT}",
    f"t={AT},v1=",
    f"t={AT},v0={GOOD}",
    f"t={AT},v1={GOOD.upper()}",
    f"t={AT},t={AT},v1={GOOD}",
    f"t=+{AT},v1={GOOD}",
    f"t={AT}.0,v1={GOOD}",
    f"t={'9' * 400},v1={GOOD}",
    f"t={str(AT).translate({ord('1'): chr(0x661)})},v1={GOOD}",
    f"t={AT},v1={GOOD}é",
    f"t={AT},v1=\ud800",
    f"t={AT},v1={GOOD}," + "x" * 5000,
    None,
    b"t=1,v1=x",
    7,
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_header_does_not_verify(malformed: Any) -> None:  # noqa: ANN401 - whatever a stranger sends
    """And raises nothing."""
    assert verify(SECRET, malformed, BODY, now=NOW) is False


def test_parts_of_other_names_and_spaces_are_left_alone() -> None:
    """So that a later version can add what an older receiver does not know."""
    assert verify(SECRET, f" t={AT} , v2=x, v1={GOOD} ", BODY, now=NOW)


def test_a_time_without_a_zone_is_refused() -> None:
    """It would be a guess, and with it whether a signature is old."""
    with pytest.raises(InvalidValueError, match="now"):
        verify(SECRET, header(), BODY, now=datetime(2026, 1, 2))  # noqa: DTZ001 - that is the mistake


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("secret", value) for value in ("", None, 5, b"secret", Secret(SECRET), "\udc80")),
        *(("body", value) for value in (None, BODY.decode(), 5)),
        *(("tolerance_s", value) for value in (-1, None, "300", True, float("nan"), float("inf"))),
        ("now", "2026-01-02"),
    ],
)
def test_what_the_receiver_has_wrong_is_said(field: str, wrong: Any) -> None:  # noqa: ANN401 - any value at all
    """Above all a secret that is missing: with an empty one, everybody could sign. Whatever the header is."""
    by_nobody = f"t={AT},v1={hmac.new(b'', b'%d.' % AT + BODY, hashlib.sha256).hexdigest()}"
    given_: dict[str, Any] = {"secret": SECRET, "body": BODY, "tolerance_s": 300, "now": NOW, field: wrong}
    for text in (by_nobody, header(), "", "t=1,v1=a"):
        with pytest.raises(InvalidValueError) as refused:
            verify(header=text, **given_)
        assert refused.value.target == field
        assert SECRET not in str(refused.value)


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=())) | st.from_regex(r"t=[0-9]{1,13},v1=[0-9a-f]{64}"), st.binary())
def test_whatever_a_stranger_sends_is_an_answer(text: str, body: bytes) -> None:
    """Never an exception, and never the right one."""
    assert verify(SECRET, text, body, now=NOW) is False


@settings(max_examples=100)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.integers(0, 10**12 - 1),
    st.binary(),
)
def test_whatever_was_signed_verifies_at_its_time(secret: str, timestamp: int, body: bytes) -> None:
    """Any secret, any bytes."""
    text = signature_header((secret,), timestamp, body)
    if timestamp < 250_000_000_000:  # within the years of a datetime
        assert verify(secret, text, body, now=datetime.fromtimestamp(timestamp, UTC))
