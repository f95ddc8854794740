"""Usage and share links among processes: killed in the middle of an aggregation, and counting views at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 20
KILLS = 4
FOLLOWERS = 3
VIEWS = 20

# Sends every event again at each start, as a sender does that does not know how far it got, and aggregates and prunes
# in small steps meanwhile.
SENDER = """
    import sys
    from datetime import UTC, datetime, timedelta
    from aragora_persist.storage import usage_store
    from aragora_persist.storage.usage import NewUsage
    usage_store._BATCH = 5
    path, org_id, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    with usage_store.UsageStore(path) as usage:
        for first in range(0, events, 20):
            batch = range(first, first + 20)
            usage.record_many(NewUsage(org_id, "debate", n + 1, {}, f"k{n}", moment) for n in batch)
            usage.aggregate()
            usage.cleanup()
            print(first, flush=True)
    print("done", flush=True)
"""
FOLLOWER = """
    import sys
    from aragora_persist.storage.share_store import ShareLinkStore
    with ShareLinkStore(sys.argv[1]) as links:
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(int(sys.argv[3])):
            print(links.resolve(sys.argv[2]).view_count)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that runs ``code``."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_sender_that_is_killed_and_starts_again_counts_everything_once(tmp_path: Path) -> None:
    """After each kill, what stands is a beginning of what was sent; in the end it is all of it."""
    path = tmp_path / "users.db"
    with UserStore(path) as users, OrganizationStore(path) as organizations, UsageStore(path) as usage:
        org_id = organizations.create("Acme", users.create("owner@example.com").id).id
        for kill in range(KILLS):
            before = usage.summary(org_id, "2026-01").events.get("debate", 0)
            sender = start(SENDER, path, org_id, 10**6)
            assert sender.stdout is not None
            for _ in range(3 + 5 * kill):
                assert sender.stdout.readline()
            sender.kill()
            sender.communicate(timeout=PATIENCE_S)
            landed = usage.summary(org_id, "2026-01")
            events = landed.events["debate"]
            assert landed.counts["debate"] == events * (events + 1) // 2
            assert events >= before
        sender = start(SENDER, path, org_id, events + BATCH)
        answer, problem = sender.communicate(timeout=PATIENCE_S)
        total = usage.summary(org_id, "2026-01")

    assert (answer.splitlines()[-1:], problem) == (["done"], "")
    assert events % BATCH == 0
    assert total.events == {"debate": events + BATCH}
    assert total.counts == {"debate": (events + BATCH) * (events + BATCH + 1) // 2}


def test_views_of_several_processes_are_counted_exactly(tmp_path: Path) -> None:
    """Each view gets a number of its own."""
    path = tmp_path / "users.db"
    with UserStore(path) as users, ShareLinkStore(path) as links:
        made = links.create("debate", users.create("owner@example.com").id, visibility="public")
        followers = [start(FOLLOWER, path, made.token, VIEWS) for _ in range(FOLLOWERS)]
        for follower in followers:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "ready\n"
        for follower in followers:
            assert follower.stdin is not None
            follower.stdin.write("go\n")
            follower.stdin.flush()
        seen: list[int] = []
        for follower in followers:
            answer, problem = follower.communicate(timeout=PATIENCE_S)
            assert problem == ""
            seen += map(int, answer.split())

        assert sorted(seen) == list(range(1, FOLLOWERS * VIEWS + 1))
        assert links.resolve(made.token).view_count == FOLLOWERS * VIEWS + 1
