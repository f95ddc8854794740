"""The client before its first request: what it is told, what it says of itself, and what it has not loaded yet."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist import SupabaseClient
from aragora_persist.cloud import vocabulary
from aragora_persist.cloud.address import checked_address
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import AgentMetrics, NomicCycle, StreamEvent
from aragora_persist.cloud.revisions import RevisionClock
from aragora_persist.errors import InvalidValueError, MisuseError
from aragora_persist.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URL = "https://project.supabase.co"
KEY = "sb_secret_0123456789abcdef"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CALLS: list[Callable[[SupabaseClient], Any]] = [
    lambda client: client.save_cycle(NomicCycle("loop", 1, "debate", "voting", NOON)),
    lambda client: client.get_cycle("loop", 1, "debate"),
    lambda client: client.list_cycles("loop"),
    lambda client: client.save_events([StreamEvent("loop", 1, "error", {})]),
    lambda client: client.save_events([]),
    lambda client: client.iter_events("loop"),
    lambda client: client.subscribe_events("loop"),
    lambda client: client.agent_stats(),
    lambda client: client.loop_summary("loop"),
]


def run(program: str) -> str:
    """Return what a program of its own prints."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("environ", "configured", "missing"),
    [
        ({}, False, "SUPABASE_URL"),
        ({"SUPABASE_URL": URL}, False, "SUPABASE_KEY"),
        ({"SUPABASE_KEY": KEY}, False, "SUPABASE_URL"),
        ({"SUPABASE_URL": URL, "SUPABASE_KEY": KEY}, True, ""),
        ({"SUPABASE_URL": URL, "SUPABASE_KEY_FILE": "/nowhere"}, True, ""),
    ],
)
def test_a_client_is_configured_by_the_environment(
    environ: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch, *, configured: bool
) -> None:
    """It says so without a network and without opening a file; its methods say what is missing."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    client = SupabaseClient()

    assert client.is_configured is configured
    for call in CALLS if missing else []:
        with pytest.raises(MisuseError, match=missing) as unconfigured:
            call(client)
        assert "set SUPABASE_URL and SUPABASE_KEY" in unconfigured.value.hint


def test_arguments_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty ones too; and with both of them the environment is not looked at."""
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_KEY", KEY)
    assert SupabaseClient().is_configured
    assert not SupabaseClient(url="").is_configured
    assert not SupabaseClient(key="").is_configured

    monkeypatch.setenv("DB_TIMEOUT", "soon")
    assert SupabaseClient(URL, Secret(KEY)).is_configured
    with pytest.raises(InvalidValueError, match="DB_TIMEOUT"):
        SupabaseClient()


def test_a_key_file_is_read_when_the_key_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its variable is named when it cannot be."""
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_KEY_FILE", str(tmp_path / "key"))
    with SupabaseClient() as client, pytest.raises(InvalidValueError, match="SUPABASE_KEY_FILE"):
        client.loop_summary("loop")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("project.supabase.co", "no URL of the web"),
        ("ftp://project.supabase.co", "no URL of the web"),
        ("https://", "no URL of the web"),
        ("https://pro ject.co", "no URL of the web"),
        ("https://pro\nject.co", "no URL of the web"),
        ("https://999.999.999.999", "is no URL"),
        ("https://[::1", "is no URL"),
        ("https://project.supabase.co:port", "is no URL"),
        ("https://user:hunter2@project.supabase.co", "more than an address"),
        ("https://project.supabase.co?apikey=hunter2", "more than an address"),
        ("https://project.supabase.co/rest/v1/", "names the REST interface"),
    ],
)
def test_another_address_is_refused_by_its_variable(url: str, problem: str) -> None:
    """By the first call, with what it should look like, and without what it may hold."""
    client = SupabaseClient(url, KEY)
    assert client.is_configured
    with pytest.raises(InvalidValueError, match=problem) as refused:
        client.loop_summary("loop")

    assert refused.value.target == "SUPABASE_URL"
    assert "hunter2" not in str(refused.value)


@given(
    url=st.builds(
        "{}{}{}".format,
        st.sampled_from(["http://", "https://", "http:/", ""]),
        st.text("a1.-_:[]%é /", max_size=8),
        st.sampled_from(["", ":1", ":99999", "/x", "/%zz", "//", "/é"]),
    )
)
def test_an_address_that_passes_is_one_to_httpx_too(url: str) -> None:
    """Its own complaint would be no error of this package."""
    try:
        address, _ = checked_address(url)
    except InvalidValueError:
        return
    assert httpx.URL(address).host


@pytest.mark.parametrize("key", [f"{KEY} ", f"{KEY}\nx", "schlüssel", "two words"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """Before a library would quote it in an error."""
    with SupabaseClient(URL, key) as client, pytest.raises(InvalidValueError) as refused:
        client.loop_summary("loop")

    assert refused.value.target == "SUPABASE_KEY"
    assert key.strip() not in str(refused.value)


def test_a_client_shows_its_host_alone() -> None:
    """Neither its key nor a path."""
    client = SupabaseClient(f"{URL}/path", KEY)
    assert repr(client) == "SupabaseClient(not connected)"
    assert repr(SupabaseClient("", "")) == "SupabaseClient(not configured)"
    assert repr(CloudConnection(f"{URL}:8443/path", Secret(KEY))) == "CloudConnection(project.supabase.co:8443)"


def test_a_closed_client_is_of_no_use() -> None:
    """It says so, and opens nothing again."""
    with SupabaseClient(URL, KEY) as client:
        pass
    connection = CloudConnection(URL, Secret(KEY))
    connection.close()

    for call in CALLS:
        with pytest.raises(MisuseError, match="closed"):
            call(client)
    with pytest.raises(MisuseError, match="closed"):
        connection.write("stream_events", [{"id": "1"}])


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda client: client.list_cycles("loop", limit=0), "limit"),
        (lambda client: client.list_debates("loop", before="page 2"), "before"),
        (lambda client: client.subscribe_events("loop", poll_interval_s=0), "poll_interval_s"),
        (lambda client: client.loop_summary("a\0b"), "loop_summary.p_loop_id"),
        (lambda client: client.iter_events("\ud800").__next__(), "stream_events.loop_id"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(call: Callable[[SupabaseClient], Any], field: str) -> None:
    """Before anything is sent."""
    with SupabaseClient(URL, KEY) as client, pytest.raises(InvalidValueError) as refused:
        call(client)

    assert refused.value.target == field


def test_nothing_heavy_is_loaded_before_the_first_request() -> None:
    """Supabase's own client takes most of a second to import."""
    loaded = run(
        "import sys; from aragora_persist import SupabaseClient;"
        f"assert SupabaseClient('{URL}', '{KEY}').is_configured; print(*sys.modules)"
    ).split()

    assert "aragora_persist.supabase_client" in loaded
    assert set(loaded).isdisjoint({"supabase", "postgrest", "httpx", "pydantic", "psycopg", "ssl"})


@pytest.mark.parametrize("missing", ["supabase", "httpx", "postgrest"])
def test_without_the_extra_the_first_request_says_how_to_get_it(missing: str) -> None:
    """A service that keeps SQLite stores only has none of it."""
    said = run(
        f"import sys; sys.modules['{missing}'] = None\n"
        f"from aragora_persist import PersistError, SupabaseClient\n"
        f"client = SupabaseClient('{URL}', '{KEY}')\n"
        "assert client.is_configured\n"
        "try: client.loop_summary('loop')\n"
        "except PersistError as error: print(type(error).__name__, error)"
    )

    assert said.startswith("UnsupportedError")
    assert f"{missing} is not installed" in said
    assert "pip install 'aragora-persist[supabase]'" in said


def test_revisions_only_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock, and on when it stands still or was set back."""
    clock = RevisionClock()
    times = iter([5_000_000, 5_000_000, 1_000, 9_000_000])
    monkeypatch.setattr("aragora_persist.cloud.revisions.time.time_ns", lambda: next(times))

    assert [clock.next() for _ in range(4)] == [5000, 5001, 5002, 9000]


def test_an_unknown_phase_or_stage_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are open sets, and a mistyped word would go unnoticed; endless new ones fill neither log nor memory."""
    monkeypatch.setattr(vocabulary, "_warned", set())
    for _ in range(2):
        vocabulary.warn_of_unknown(NomicCycle("loop", 1, "debait", "voting", NOON))
        vocabulary.warn_of_unknown(NomicCycle("loop", 1, "debate", "asking", NOON))
        vocabulary.warn_of_unknown(AgentMetrics("loop", 1, "agent"))
        vocabulary.warn_of_unknown(StreamEvent("loop", 1, "anything", {}))

    assert [record.getMessage() for record in caplog.records] == [
        "nomic_cycles: phase 'debait' is none of commit, debate, design, implement, verify",
        "nomic_cycles: stage 'asking' is none of critiquing, executing, proposing, voting",
    ]
    for number in range(300):
        vocabulary.warn_of_unknown(NomicCycle("loop", 1, str(number), "voting", NOON))
    assert len(caplog.records) == len(vocabulary._warned) == 100
