#!/usr/bin/env python3
"""How fast records get from ``enqueue`` into Supabase, beside what Supabase's own client does with the same rows.

    scripts/bench/sync.py [--events 20000] [--repeats 5]

A Supabase of its own runs in containers. ``service`` is the whole way: beside a running service, from the first of the
events, which are enqueued a thousand at a time, until the outbox is empty. ``drain`` is the sender alone, with an
outbox that is full already. ``one_by_one`` and ``batches`` are supabase-py with ``returning=minimal``. All are rows per
second, the median of the repeats, which take turns; ``ratio`` is against one by one. Exits 1 when a row is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Self

sys.path.insert(0, str(Path(__file__).parents[2]))

import docker
import httpx
import psycopg
from supabase import ClientOptions, create_client

from aragora_persist.cloud import sync
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.delivery import waiting_tables
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.rows import to_row
from aragora_persist.settings import Secret
from tests.supabase_stack import LocalSupabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.cloud.models import Record

_AT_ONCE = 1000
_PATIENCE_S = 120.0
_NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def events(count: int) -> list[Record]:
    """Return events that no run before has sent, each of about 390 bytes."""
    loop = f"bench-{uuid.uuid4()}"
    text = "What an agent says in a debate, as long as such a thing usually is when it is short. " * 2
    return [
        StreamEvent(loop, n, "agent_message", {"text": text, "n": n}, "claude-opus", _NOW).to_record()
        for n in range(count)
    ]


@contextmanager
def service(supabase: LocalSupabase, home: Path) -> Iterator[None]:
    """Run the service with the outbox alone."""
    key = home / "key"
    key.write_text(supabase.service_key)
    environment = {**os.environ, "SUPABASE_URL": supabase.url, "SUPABASE_KEY_FILE": str(key)}
    command = [sys.executable, "-m", "aragora_persist", "--nomic-dir", home, "serve", "--db", "outbox", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        url = re.fullmatch(r"Serving (\S+)\n", process.stdout.readline())[1]
        while not httpx.get(f"{url}readyz").is_success:
            sleep(0.05)
        try:
            yield
        finally:
            process.terminate()


class Bench:
    """Ways of getting rows into one Supabase; each returns its rows per second."""

    def __init__(self, supabase: LocalSupabase, outbox: Outbox, count: int) -> None:
        self._supabase = supabase
        self._outbox = outbox
        self._count = count
        self._http = httpx.Client(http2=False, timeout=_PATIENCE_S)
        self._client = create_client(supabase.url, supabase.service_key, ClientOptions(httpx_client=self._http))

    def __enter__(self) -> Self:
        """Return the bench, whose connections end with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections of Supabase's own client."""
        self._http.close()

    def service(self) -> float:
        """Enqueue beside the running service and wait until the outbox is empty."""
        records = events(self._count)
        start = perf_counter()
        for first in range(0, len(records), _AT_ONCE):
            self._outbox.enqueue(records[first : first + _AT_ONCE])
        while waiting_tables(self._outbox):
            if perf_counter() - start > _PATIENCE_S:
                raise TimeoutError("the outbox does not get empty")
            sleep(0.005)
        return self._rate(records, start)

    def drain(self) -> float:
        """Fill an outbox of its own, then send it."""
        records = events(self._count)
        with tempfile.TemporaryDirectory() as folder, Outbox(Path(folder) / "aragora_outbox.db") as outbox:
            outbox.enqueue(records)
            with sync.Sender(outbox, self._connect) as sender:
                start = perf_counter()
                while sender.round():
                    pass
                return self._rate(records, start)

    def one_by_one(self) -> float:
        """Insert a fiftieth of the rows, each in a request of its own: more would only take longer."""
        records = events(max(1, self._count // 50))
        rows = [to_row(record) for record in records]
        start = perf_counter()
        for row in rows:
            self._client.table("stream_events").insert(row, returning="minimal").execute()
        return self._rate(records, start)

    def batches(self) -> float:
        """Insert a thousand rows a request."""
        records = events(self._count)
        rows = [to_row(record) for record in records]
        start = perf_counter()
        for first in range(0, len(rows), _AT_ONCE):
            self._client.table("stream_events").insert(rows[first : first + _AT_ONCE], returning="minimal").execute()
        return self._rate(records, start)

    def _connect(self) -> CloudConnection:
        return CloudConnection(self._supabase.url, Secret(self._supabase.service_key))

    def _rate(self, records: list[Record], start: float) -> float:
        """Return rows per second, after every row was counted; the table is empty for the next one then."""
        seconds = perf_counter() - start
        with psycopg.connect(self._supabase.db_url) as connection:
            [arrived] = connection.execute("SELECT count(*) FROM stream_events").fetchone()
        if arrived != len(records):
            raise AssertionError(f"{arrived} of {len(records)} rows arrived")
        self._supabase.empty()
        return len(records) / seconds


def run(supabase: LocalSupabase, *, count: int, repeats: int) -> dict[str, Any]:
    """Run every way by turns, and return the report."""
    supabase.empty()
    with (
        tempfile.TemporaryDirectory() as folder,
        Outbox(Path(folder) / "aragora_outbox.db") as outbox,
        service(supabase, Path(folder)),
        Bench(supabase, outbox, 1) as first,
        Bench(supabase, outbox, count) as bench,
    ):
        first.service()  # the service's first request brings its libraries in
        ways = {name: getattr(bench, name) for name in ("service", "drain", "batches", "one_by_one")}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                rates[name].append(way())
    [sample] = events(1)
    medians = {name: round(statistics.median(found)) for name, found in rates.items()}
    return {
        "row_bytes": len(json.dumps(to_row(sample), separators=(",", ":"))),
        "rows_per_s": medians,
        "ratio": {name: round(rate / medians["one_by_one"], 1) for name, rate in medians.items()},
        "all": {name: [round(rate) for rate in found] for name, found in rates.items()},
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    client = docker.from_env(timeout=300)
    try:
        with LocalSupabase(client) as supabase:
            report = run(supabase, count=arguments.events, repeats=arguments.repeats)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        client.close()
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
