"""One Supabase for all tests of a run that ask for it; each test sees to the rows it needs (`empty`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.supabase_stack import LocalSupabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytest_plugins = ("tests.image_fixtures",)


@pytest.fixture(scope="session")
def supabase(docker_engine: docker.DockerClient) -> Iterator[LocalSupabase]:
    """Give a running Supabase with the schema applied."""
    with LocalSupabase(docker_engine) as running:
        yield running
