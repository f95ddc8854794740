"""Entries of every kind for an audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.storage.audit_store import AuditStore, NewEntry

if TYPE_CHECKING:
    from aragora_persist.testing import Clock


def new_entry(number: int) -> NewEntry:
    """Return an entry; every third is about a user, every fourth has no details."""
    return NewEntry(
        f"user.login.{number % 2}",
        user_id=f"user-{number % 5}",
        org_id="org",
        resource_type="user" if number % 3 == 0 else "debate",
        resource_id=f"user-{number % 4}",
        details={} if number % 4 == 0 else {"number": number},
        ip_address="192.0.2.1",
        user_agent="Agent/1.0",
        event_key=f"key-{number}",
    )


def fill(audit: AuditStore, clock: Clock, count: int, *, first: int = 0) -> None:
    """Log so many entries, one an hour."""
    for number in range(first, first + count):
        clock.now += timedelta(hours=1)
        audit.log_many([new_entry(number)])
