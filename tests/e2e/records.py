"""What the end-to-end test puts in, and the scripts that read it back inside containers."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TRACE_ID = "trace-e2e"
EMAIL = "operator@example.org"
OWNER = 10001


def trace() -> str:
    """Return a trace file with its checksum."""
    events = [
        {
            "event_id": f"event-{number}",
            "event_type": "message",
            "timestamp": f"2026-01-02T03:04:{number:02d}",
            "round_num": 1,
            "agent": "ann" if number % 2 else "bob",
            "content": {"text": f"Grüße {number}"},
            "parent_event_id": None,
            "duration_ms": 12,
            "metadata": {},
        }
        for number in range(20)
    ]
    return json.dumps(
        {
            "trace_id": TRACE_ID,
            "debate_id": "debate-e2e",
            "task": "Which way?",
            "agents": ["ann", "bob"],
            "random_seed": 7,
            "started_at": "2026-01-02T03:04:00",
            "completed_at": "2026-01-02T03:05:00",
            "final_result": {
                "consensus_reached": True,
                "confidence": 0.9,
                "final_answer": "This one",
                "rounds_used": 1,
            },
            "metadata": {},
            "events": events,
            "checksum": hashlib.sha256(json.dumps(events, sort_keys=True).encode()).hexdigest()[:16],
        }
    )


def archive(clone: Path, replay: str) -> bytes:
    """Return a tar archive with a bare repository (`history.git`) and a trace (`trace.json`), owned by the tier."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = OWNER
        member.uname = member.gname = ""
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(clone, "history.git", filter=owned)
        content = replay.encode()
        member = owned(tarfile.TarInfo("trace.json"))
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def git(repository: Path, *arguments: str) -> str:
    """Return the output of a git command."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


MAKE_USER = f"""
from aragora_persist.storage.user_store import UserStore
with UserStore() as users:
    users.create({EMAIL!r}, "correct horse battery staple")
"""

READ_AS_SERVICE = f"""
import json, sqlite3, sys
import aragora_persist
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.user_store import UserStore
with UserStore() as users, ReplayStore() as replays:
    user, replay = users.authenticate({EMAIL!r}, "correct horse battery staple"), replays.export({TRACE_ID!r})
print(json.dumps([user.email, replay, aragora_persist.__file__]))
"""

COMPARE = """
import sqlite3, sys
def rows(path):
    with sqlite3.connect(path) as db:
        tables = [name for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {table: db.execute(f'SELECT * FROM "{table}" ORDER BY rowid').fetchall() for table in tables}
live, restored = map(rows, sys.argv[1:])
assert live == restored, {table: (len(live[table]), len(restored.get(table, ()))) for table in live}
print(sum(map(len, live.values())))
"""
