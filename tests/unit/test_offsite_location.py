"""Where off-site is: what could never work is refused by the variable's name, without quoting what may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from aragora_persist.backup.offsite.location import Bucket, Folder, location
from aragora_persist.errors import InvalidValueError
from aragora_persist.settings import Secret, Settings

S3 = {
    "ARAGORA_OFFSITE_URL": "s3://backups/aragora/prod",
    "ARAGORA_OFFSITE_ACCESS_KEY_ID": "id",
    "ARAGORA_OFFSITE_SECRET_ACCESS_KEY": "secret",
}


def place(**more: str) -> Folder | Bucket:
    """Return where off-site is by these variables."""
    return location(Settings.from_env({**S3, **more}))


@pytest.mark.parametrize(
    ("url", "name", "prefix", "text"),
    [
        ("s3://backups", "backups", "", "s3://backups"),
        ("s3://backups/", "backups", "", "s3://backups"),
        ("s3://my.backups-2/a/b_c/", "my.backups-2", "a/b_c", "s3://my.backups-2/a/b_c"),
    ],
)
def test_a_bucket_with_or_without_a_prefix(url: str, name: str, prefix: str, text: str) -> None:
    """As text it is its URL; its server is that of AWS unless another one is named."""
    found = place(ARAGORA_OFFSITE_URL=url, ARAGORA_OFFSITE_REGION="eu-central-1")
    assert found == Bucket(
        name=name,
        prefix=prefix,
        endpoint="https://s3.eu-central-1.amazonaws.com",
        region="eu-central-1",
        access_key_id="id",
        secret_access_key=Secret("secret"),
    )
    assert str(found) == text
    assert "secret'" not in repr(found)


def test_a_folder_may_have_any_name() -> None:
    """Written as a URL."""
    found = place(ARAGORA_OFFSITE_URL="file:///srv/back%20up/%C3%A4")
    assert found == Folder(Path("/srv/back up/ä"))
    assert str(found) == "file:///srv/back%20up/%C3%A4"


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        ("https://s3.example.com", "https://s3.example.com"),
        ("https://s3.example.com:9000/", "https://s3.example.com:9000"),
        ("http://127.0.0.1:7070", "http://127.0.0.1:7070"),
        ("http://[::1]:7070", "http://[::1]:7070"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_server_is_reached_with_tls_or_on_this_machine(endpoint: str, found: str) -> None:
    """Where the network is trusted, a setting says so."""
    server = place(ARAGORA_OFFSITE_ENDPOINT=endpoint)
    assert isinstance(server, Bucket)
    assert server.endpoint == found


@pytest.mark.parametrize("endpoint", ["http://s3.example.com", "http://10.0.0.1", "http://localhost.example.com"])
def test_no_tls_beyond_this_machine_must_be_allowed(endpoint: str) -> None:
    """By a variable of its own."""
    with pytest.raises(InvalidValueError, match="ARAGORA_OFFSITE_ALLOW_HTTP"):
        place(ARAGORA_OFFSITE_ENDPOINT=endpoint)
    server = place(ARAGORA_OFFSITE_ENDPOINT=endpoint, ARAGORA_OFFSITE_ALLOW_HTTP="yes")
    assert isinstance(server, Bucket)
    assert server.endpoint == endpoint


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ARAGORA_OFFSITE_URL", ""),
        ("ARAGORA_OFFSITE_URL", "/srv/backups"),
        ("ARAGORA_OFFSITE_URL", "ftp://backups"),
        ("ARAGORA_OFFSITE_URL", "s3://"),
        ("ARAGORA_OFFSITE_URL", "s3:///prefix"),
        ("ARAGORA_OFFSITE_URL", "s3://Back_ups"),
        ("ARAGORA_OFFSITE_URL", "s3://backups/a//b"),
        ("ARAGORA_OFFSITE_URL", "s3://backups/../other"),
        ("ARAGORA_OFFSITE_URL", "s3://backups/a%2Fb"),
        ("ARAGORA_OFFSITE_URL", "s3://backups/ä"),
        ("ARAGORA_OFFSITE_URL", "s3://id:hidden@backups"),
        ("ARAGORA_OFFSITE_URL", "s3://backups?secret=hidden"),
        ("ARAGORA_OFFSITE_URL", "s3://backups#hidden"),
        ("ARAGORA_OFFSITE_URL", "s3://[hidden"),
        ("ARAGORA_OFFSITE_URL", "file://server/srv"),
        ("ARAGORA_OFFSITE_URL", "file:srv"),
        ("ARAGORA_OFFSITE_URL", "file:///srv/../etc"),
        ("ARAGORA_OFFSITE_ENDPOINT", "s3.example.com"),
        ("ARAGORA_OFFSITE_ENDPOINT", "https://"),
        ("ARAGORA_OFFSITE_ENDPOINT", "https://id:hidden@s3.example.com"),
        ("ARAGORA_OFFSITE_ENDPOINT", "https://s3.example.com/bucket"),
        ("ARAGORA_OFFSITE_ENDPOINT", "https://s3.example.com:hidden"),
        ("ARAGORA_OFFSITE_ENDPOINT", "https://s3.ex ample.com"),
        ("ARAGORA_OFFSITE_REGION", "eu central"),
        ("ARAGORA_OFFSITE_ACCESS_KEY_ID", ""),
    ],
)
def test_what_could_never_work_is_refused_by_its_name(variable: str, text: str) -> None:
    """It is not quoted: a key may have come into it by mistake."""
    with pytest.raises(InvalidValueError) as refused:
        place(**{variable: text})
    assert refused.value.target == variable
    assert refused.value.hint
    assert "hidden" not in str(refused.value)


def test_a_key_without_its_secret_names_the_file_for_it() -> None:
    """The file is the way that shows the secret to the fewest."""
    with pytest.raises(InvalidValueError) as refused:
        place(ARAGORA_OFFSITE_SECRET_ACCESS_KEY="")
    assert refused.value.target == "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE"
