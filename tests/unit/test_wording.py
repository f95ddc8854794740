"""How sizes, spans and counts read, and what is taken out of texts."""

from __future__ import annotations

import pytest

from aragora_persist.redaction import redact
from aragora_persist.wording import count_text, size_text, span_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (40960, "40 KiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_sizes_have_one_unit(size: int, text: str) -> None:
    """A size reads in its largest unit."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (90000, "1 day")]
)
def test_spans_have_one_unit(seconds: float, text: str) -> None:
    """A span reads in its largest unit, rounded down; a clock that went back is no negative age."""
    assert span_text(seconds) == text


def test_counts_carry_their_noun() -> None:
    """One is singular, and plurals may be irregular."""
    assert [count_text(n, "backup") for n in (0, 1, 1200)] == ["0 backups", "1 backup", "1,200 backups"]
    assert count_text(2, "copy", "copies") == "2 copies"


@pytest.mark.parametrize(
    "text",
    [
        "could not reach postgresql://postgres:{secret}@db.example.com:5432/postgres",
        "header Authorization: Bearer {secret}",
        'refused {{"apikey": "{secret}"}}',
        "SUPABASE_KEY={secret} is wrong",
        "{{'SUPABASE_KEY': '{secret}'}}",
        "password = {secret}",
        "https://example.com/?token={secret}&x=1",
    ],
)
def test_credentials_are_taken_out(text: str) -> None:
    """Whatever an error quotes, the credential in it does not show."""
    secret = "hunter2-Correct.Horse"

    assert secret not in redact(text.format(secret=secret))
    assert "[redacted]" in redact(text.format(secret=secret))


@pytest.mark.parametrize(
    "secret", ["eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2ln", "sb_secret_abcDEF123", "ara_" + "x" * 43]
)
def test_known_key_forms_are_taken_out_wherever_they_stand(secret: str) -> None:
    """A key with a recognisable form needs no word before it."""
    assert secret not in redact(f"server said {secret} no")


@pytest.mark.parametrize(
    "text",
    [
        "migrate: users: migration 002 failed",
        "http://127.0.0.1:8787/ does not answer",
        "/data/aragora_users.db",
        "sync: SUPABASE_KEY: is not set",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    """What holds no credential is left alone."""
    assert redact(text) == text
