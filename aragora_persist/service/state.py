"""What the service shows at one moment: a record that the page and the metrics are made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aragora_persist.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """The databases' status together with what the process knows of itself."""

    status: Status
    problems: tuple[str, ...]
    """Why the service is not ready, one reason each; empty when it is."""
    started_at: datetime
    maintenance_runs: Mapping[str, int]
    """How often maintenance ran, by result (``done``, ``failed``)."""

    @property
    def ready(self) -> bool:
        """Whether every database is open and migrated."""
        return not self.problems

    @property
    def uptime_s(self) -> float:
        """How long the service has been running, in seconds."""
        return (self.status.taken_at - self.started_at).total_seconds()

    def to_json(self) -> dict[str, object]:
        """Return the status record with ``ready``, ``problems`` and ``uptime_s`` added."""
        return {
            "ready": self.ready,
            "problems": list(self.problems),
            "uptime_s": round(self.uptime_s, 3),
            **self.status.to_json(),
        }
