"""One blacklist in several processes at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aragora_persist.storage.token_blacklist import TokenBlacklist
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """
import sys, threading
from datetime import UTC, datetime
from aragora_persist.storage.token_blacklist import TokenBlacklist

past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
failures = []

def work(thread):
    try:
        for turn in range(10):
            jti = f"{sys.argv[2]}-{thread}-{turn}"
            tokens.revoke_many([(jti, future), ("old " + jti, past)])
            assert jti in tokens
            tokens.cleanup()
    except BaseException as error:
        failures.append(error)

print("ready", flush=True)
sys.stdin.readline()
with TokenBlacklist(sys.argv[1]) as tokens:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
if failures:
    raise failures[0]
"""


def test_four_processes_of_two_threads_lose_nothing_and_never_fail(tmp_path: Path) -> None:
    """They make the file together, revoke, ask and clean: no lock error, and every token is there afterwards."""
    path = tmp_path / "tokens.db"
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    errors = [worker.communicate(timeout=PATIENCE_S)[1] for worker in workers]

    assert errors == [""] * 4
    with TokenBlacklist(path, clock=lambda: datetime(2100, 1, 1, tzinfo=UTC)) as tokens:
        assert all(
            f"{number}-{thread}-{turn}" in tokens for number in range(4) for thread in range(2) for turn in range(10)
        )
        assert tokens.cleanup() == 0
