#!/usr/bin/env python3
"""Kills the worker that sends the outbox to Supabase again and again, and compares row by row what arrived.

    scripts/chaos/sync_kill.py [--records 21000] [--kills 12] [--unprotected [removal|keys|revisions]]

A Supabase of its own runs in containers. Records of all seven kinds wait; while they are sent, newer states of mutable
ones are enqueued, the worker gets SIGKILL at random moments of its work, PostgREST is stopped and started in the
middle, and what a killed worker had in its hands is sent once more, late. At the end every row is compared with what
was enqueued last. Exits 1 when a row was lost, doubled, stale or refused, 2 when a kill found no work.

``--unprotected`` takes one protection out: ``removal`` (the default) removes records before they are sent, ``keys``
makes the keys of events anew for each sending, ``revisions`` switches off the triggers that drop old revisions. Each of
these runs must fail, or the rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import docker
import psycopg
from sync_kill_worker import PROTECTIONS, take_out

from aragora_persist.cloud import delivery, sync
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.rows import to_row
from aragora_persist.settings import Secret
from tests.supabase_rows import compare, expected, models, stored
from tests.supabase_stack import LocalSupabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.cloud.models import Record

_WORKER = Path(__file__).with_name("sync_kill_worker.py")
_CHANGED_AT_ONCE = 5


class Rig:
    """One run against one Supabase, which must be empty."""

    def __init__(self, supabase: LocalSupabase, home: Path, *, batch: int, without: str, seed: int) -> None:
        self._supabase = supabase
        self._chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._outbox = Outbox(home / "aragora_outbox.db")
        self._newest: dict[tuple[str, str], Record] = {}
        self._late: dict[str, list[dict[str, object]]] = {}
        self._states = 0
        self._records = 0
        self.newer_states = self.kills = self.kills_within_a_round = 0
        self._command = [sys.executable, str(_WORKER), str(home), str(batch), without]
        key_file = home / "key"
        key_file.write_text(supabase.service_key)
        key_file.chmod(0o600)
        self._environment = {**os.environ, "SUPABASE_URL": supabase.url, "SUPABASE_KEY_FILE": str(key_file)}

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()

    def fill(self, records: int) -> None:
        """Let records of all kinds wait."""
        self._records = records // len(MODELS)
        self._enqueue(range(self._records))

    def kill_once(self, rounds: int, moment: float) -> None:
        """Start a worker, and kill it at this moment (0 to 1) of the round after so many."""
        with self._worker() as worker:
            worker.stdout.readline()
            for _ in range(rounds):
                start = perf_counter()
                worker.stdin.write(b"\n")
                self._change(self._chance.sample(range(self._records), _CHANGED_AT_ONCE))
                worker.stdout.readline()
                spent = perf_counter() - start
            under_way = self._remember_what_comes_next()
            worker.stdin.write(b"\n")
            sleep(moment * spent)
            self.kills += worker.poll() is None
            worker.kill()
            self.kills_within_a_round += not worker.stdout.read()
        self._change(under_way)

    def outage(self) -> bool:
        """Stop PostgREST under a running worker, start it again, and say whether records waited meanwhile."""
        with self._worker() as worker:
            worker.stdout.readline()
            self._supabase.stop_rest()
            for _ in range(3):
                worker.stdin.write(b"\n")
                self._change(self._chance.sample(range(self._records), _CHANGED_AT_ONCE))
                worker.stdout.readline()
            waited = self._outbox.count() > 0
            self._supabase.start_rest()
            worker.stdin.write(b"\n")
            worker.stdout.readline()
            worker.kill()
        return waited

    def finish(self) -> dict[str, int]:
        """Send the rest, then once more what killed workers had in their hands, and return the worse of both counts."""
        subprocess.run(
            self._command, check=True, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # Before the late ones too: they would bring back what was lost.
        before = self._compare()
        self._send_late()
        after = self._compare()
        return {name: max(before[name], after[name]) for name in before}

    def _compare(self) -> dict[str, int]:
        counts = compare(expected(self._newest.values()), stored(self._supabase.db_url))
        return counts | {"refused": delivery.count_dead_letters(self._outbox)}

    @contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as worker:
            yield worker

    def _enqueue(self, numbers: range | list[int]) -> None:
        self._states += 1
        records = [
            model.to_record(self._states if model.MUTABLE else None)
            for number in numbers
            for model in models(number, state=self._states)
        ]
        self._outbox.enqueue(records)
        # The content of an immutable kind is the same in each state.
        self._newest.update(((record.table, record.key), record) for record in records)

    def _change(self, numbers: list[int]) -> None:
        """Enqueue newer states of some records, whether they wait, are under way or have arrived."""
        self._enqueue(numbers)
        self.newer_states += len(numbers)

    def _remember_what_comes_next(self) -> list[int]:
        """Keep the rows that the worker will have in its hands, and return the numbers of some of them."""
        for model in MODELS:
            rows = [to_row(entry) for entry in delivery.next_batch(self._outbox, model.TABLE).entries]
            self._late.setdefault(model.TABLE, []).extend(rows)
        return [int(str(row["cycle_number"])) for row in self._late["nomic_cycles"][-_CHANGED_AT_ONCE:]]

    def _send_late(self) -> None:
        """Send what the killed ones had read, as a request that was on its way for a long time."""
        with CloudConnection(self._supabase.url, Secret(self._supabase.service_key)) as connection:
            for table, rows in self._late.items():
                # One row of each record in a request: the same row twice in one is an error of its own.
                for start in range(0, len(rows), 100):
                    batch = {str(row["id"]): row for row in rows[start : start + 100]}
                    connection.write(table, list(batch.values()))


def run(supabase: LocalSupabase, *, records: int, kills: int, batch: int, without: str, seed: int) -> dict[str, object]:
    """Run the rig against an empty Supabase, and return its report."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(supabase, Path(folder), batch=batch, without=without, seed=seed)
        try:
            rig.fill(records)
            rounds = max(1, records // len(MODELS) // batch // (kills + 2))
            for number in range(kills):
                if number == kills // 2 > 0 and not rig.outage():
                    break
                rig.kill_once(chance.randint(1, rounds), chance.random())
            comparison = rig.finish()
        finally:
            rig.close()
    counts = {name: getattr(rig, name) for name in ("kills", "kills_within_a_round", "newer_states")}
    return {**counts, "comparison": comparison}


@contextmanager
def protections(supabase: LocalSupabase, without: str) -> Iterator[None]:
    """Take a protection out, of this process or of the database."""
    tables = [model.TABLE for model in MODELS if model.MUTABLE]

    def switch(how: str) -> None:
        with psycopg.connect(supabase.db_url) as connection:
            for table in tables:
                connection.execute(f"ALTER TABLE {table} {how} TRIGGER USER".encode())

    inside = sync.next_batch, sync.to_row
    take_out(without)
    if without == "revisions":
        switch("DISABLE")
    try:
        yield
    finally:
        sync.next_batch, sync.to_row = inside
        if without == "revisions":
            switch("ENABLE")


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=21_000)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", choices=PROTECTIONS, nargs="?", const="removal", default="", dest="without")
    arguments = parser.parse_args()
    client = docker.from_env(timeout=300)
    try:
        with LocalSupabase(client) as supabase, protections(supabase, arguments.without):
            options = {name: getattr(arguments, name) for name in ("records", "kills", "batch", "without", "seed")}
            report = run(supabase, **options)
    finally:
        client.close()
    print(json.dumps(report, indent=2))
    if report["kills"] < arguments.kills:
        print("not every kill found a worker at work: more records are needed", file=sys.stderr)
        return 2
    return 1 if any(count for name, count in report["comparison"].items() if name != "rows") else 0


if __name__ == "__main__":
    sys.exit(main())
