"""A machine of each test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.infra.toolchain.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without any part."""
    return Machine(tmp_path)
