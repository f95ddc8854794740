#!/usr/bin/env python3
"""How late an event loop gets to what is due while tasks write durably through an asynchronous store.

    scripts/bench/loop_lag.py [--writers 8] [--seconds 5] [--most-ms 10]

A task asks to be woken every five milliseconds and notes how late that was: first in a loop with nothing else to do,
then beside the writers. Exits 1 when the 99th percentile beside them, beyond that of the bare loop, is above
``--most-ms``. The latest of all is shown, too: on a machine that has other work it is that of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aragora_persist.aio.audit_store import AsyncAuditStore

if TYPE_CHECKING:
    from collections.abc import Iterable

_EVERY_S = 0.005


async def measure(seconds: float, writers: Iterable[asyncio.Task[int]] = ()) -> dict[str, float]:
    """Return how late, in milliseconds, the loop was in so many seconds."""
    late: list[float] = []
    end = perf_counter() + seconds
    while (start := perf_counter()) < end:
        await asyncio.sleep(_EVERY_S)
        late.append((perf_counter() - start - _EVERY_S) * 1000)
    for writer in writers:
        writer.cancel()
    parts = quantiles(late, n=100)
    return {"p50_ms": round(parts[49], 2), "p99_ms": round(parts[98], 2), "max_ms": round(max(late), 2)}


async def write(store: AsyncAuditStore, number: int, counts: list[int]) -> int:
    """Log until it is cancelled."""
    while True:
        await store.log("bench.log", user_id=f"user-{number}", details={"number": counts[number]})
        counts[number] += 1


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both."""
    bare = await measure(arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncAuditStore(Path(folder) / "aragora_users.db") as store:
            counts = [0] * arguments.writers
            writers = [asyncio.create_task(write(store, number, counts)) for number in range(arguments.writers)]
            beside = await measure(arguments.seconds, writers)
            await asyncio.gather(*writers, return_exceptions=True)
    return {"bare": bare, "beside_writers": beside, "writes_per_s": round(sum(counts) / arguments.seconds)}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--most-ms", type=float, default=10)
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments))
    print(json.dumps(found, indent=2))
    late = [found[name]["p99_ms"] for name in ("bare", "beside_writers")]
    return int(late[1] - late[0] > arguments.most_ms)


if __name__ == "__main__":
    sys.exit(main())
