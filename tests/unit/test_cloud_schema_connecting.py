"""What is said where no database answers: the way out, and never the password."""

from __future__ import annotations

import socket
import subprocess
import sys
from traceback import TracebackException

import pytest

from aragora_persist.cloud.schema import inspect_schema
from aragora_persist.errors import InvalidValueError, PersistError, UnreachableError
from aragora_persist.settings import Secret


@pytest.mark.parametrize(
    "url",
    [
        "https://project.supabase.co",
        "host=h password=hunter2",
        "postgresql://postgres:hun@ter2@127.0.0.1/postgres",
        "postgresql://postgres:hun/ter2@127.0.0.1/postgres",
        "postgresql://postgres:hun?ter2@127.0.0.1/postgres",
        "postgresql://postgres:hun#ter2@127.0.0.1/postgres",
        "postgresql://postgres:hunter2@127.0.0.1/postgres?nonsense=1",
        "postgresql://postgres:hunter2",
    ],
)
def test_what_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    """A password that was not written for a URL would otherwise be told as host, port or database."""
    with pytest.raises(
        InvalidValueError, match=r"SUPABASE_DB_URL: is not a URL of a PostgreSQL database .*%40 for @"
    ) as e:
        inspect_schema(Secret(url))

    assert e.value.__cause__ is None
    assert "hun" not in str(e.value)
    assert "ter2" not in str(e.value)


def test_nobody_listens() -> None:
    """The error names host, port and database, and nothing else of the URL."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        with pytest.raises(UnreachableError, match=f"127.0.0.1:{port}/postgres: .*refused") as caught:
            inspect_schema(Secret(f"postgresql://postgres:hunter2@127.0.0.1:{port}/postgres"))

    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize("rest", [":x/postgres", ":1/postgres", "/postgres?nonsense=1"])
def test_no_frame_of_an_error_holds_the_password(rest: str) -> None:
    """Whoever reports errors with their variables reports no password: not those of the driver either."""
    url = Secret(f"postgresql://postgres:hunter2@127.0.0.1{rest}")
    with pytest.raises(PersistError) as caught:
        inspect_schema(url)

    told = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "connecting.py" in told
    assert "hunter2" not in told


def test_a_direct_host_that_is_not_reached_hints_at_the_pooler() -> None:
    """It has an IPv6 address only, and many networks have none."""
    with pytest.raises(UnreachableError, match="URL of the session or transaction pooler"):
        inspect_schema(Secret("postgresql://postgres:hunter2@db.nobody.supabase.invalid:5432/postgres"))


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    """The package itself works without psycopg."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from aragora_persist.cloud.schema import inspect_schema\n"
        "from aragora_persist.settings import Secret\n"
        "inspect_schema(Secret('postgresql://h/d'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "UnsupportedError: connect to the database: psycopg: is not installed" in result.stderr
    assert "pip install 'aragora-persist[supabase]'" in result.stderr
