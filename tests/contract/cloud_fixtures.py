"""The clouds over which the client's contract is held: a real Supabase, and the one in memory that tests may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aragora_persist.supabase_client import SupabaseClient
from aragora_persist.testing import InMemoryCloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.supabase_stack import LocalSupabase

    MakeClient = Callable[[], SupabaseClient]

pytest_plugins = ("tests.supabase_fixtures",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hold a test over both clouds; one that looks into the server itself over that one alone."""
    if "make_client" in metafunc.fixturenames:
        kinds = [pytest.param("supabase", marks=pytest.mark.engine)]
        if "supabase" not in metafunc.fixturenames:
            kinds.append(pytest.param("memory"))
        metafunc.parametrize("make_client", kinds, indirect=True)


@pytest.fixture
def make_client(request: pytest.FixtureRequest) -> MakeClient:
    """Give a function that makes clients of one cloud, which is empty at first."""
    if request.param == "memory":
        return InMemoryCloud().client
    supabase: LocalSupabase = request.getfixturevalue("supabase")
    supabase.empty()
    return lambda: SupabaseClient(supabase.url, supabase.service_key)


@pytest.fixture
def client(make_client: MakeClient) -> Iterator[SupabaseClient]:
    """Give a client of an empty cloud."""
    with make_client() as opened:
        yield opened
