#!/usr/bin/env python3
"""Kills an import of a git history again and again, lets the last one finish, and compares row by row.

    scripts/chaos/import_kill.py [--commits 20000] [--kills 10] [--batch 200] [--unprotected] [--until-wrong]

Every kill is SIGKILL at a random moment of a random batch. Exits 1 when a row was lost, doubled or changed, 2 when
the history was too short for the kills. ``--unprotected`` takes the protection out (a batch's numbers and records in
transactions of their own): that run must fail, or the rig proves nothing. ``--until-wrong`` ends the kills with the
first one that leaves a commit with a number and without records: the import never comes back to it.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter, sleep

from rounds import add_until_wrong, rounds

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.importers import git, ledger

_HISTORY = Path(__file__).parents[1] / "bench" / "import_git_history.py"


def _write_unprotected(outbox: Outbox, loop_id: str, batch: list[git.Commit]) -> git.Counter[type]:
    """Do what the importer does, but not in one transaction."""
    with outbox.transaction("number") as tx:
        numbers = ledger.number_commits(tx, loop_id, [commit.sha for commit in batch])
    for commit in batch:
        outbox.enqueue(model.to_record() for model in git._models(loop_id, numbers[commit.sha], commit))  # noqa: SLF001 - the importer's inside is what is varied
    return git.Counter()


def child(repository: Path, database: Path, batch: int, *, unprotected: bool) -> None:
    """Import, with a line on stdout for each batch, and go on after a line on stdin or its end.

    So it is never further than the one who kills it thinks, however busy the machine is.
    """
    git._BATCH_COMMITS = batch  # noqa: SLF001 - small batches, so that a kill falls between and inside many
    if unprotected:
        git._write = _write_unprotected  # noqa: SLF001 - as above
    with Outbox(database) as outbox:
        git.import_git(repository, outbox, progress=lambda done, _: (print(done, flush=True), sys.stdin.readline()))


def kill_once(command: list[str], batches: int, moment: float) -> bool:
    """Start an import, kill it at this moment (0 to 1) of the batch after so many, and return whether it still ran."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        for _ in range(batches):
            start = perf_counter()
            process.stdout.readline()
            process.stdin.write(b"\n")
        sleep(moment * (perf_counter() - start))
        running = process.poll() is None
        process.kill()
    return running


def imported(database: Path) -> int:
    """Return how many commits an outbox has numbers for."""
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM imported_commits").fetchone()[0])


def lost(database: Path) -> list[str]:
    """Return the commits that have numbers in an outbox and no records."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT sha FROM imported_commits EXCEPT"
            " SELECT json_extract(payload, '$.git_commit') FROM outbox WHERE table_name = 'nomic_cycles'"
        )
        return [sha for (sha,) in found]


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unprotected", action="store_true")
    add_until_wrong(parser)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.batch, unprotected=arguments.unprotected)
        return 0
    chance = random.Random(arguments.seed)  # noqa: S311 - repeatable on purpose
    with tempfile.TemporaryDirectory() as folder:
        repository, database = Path(folder) / "history", Path(folder) / "aragora_outbox.db"
        make = [sys.executable, str(_HISTORY), "make", str(repository), "--commits", str(arguments.commits)]
        subprocess.run(make, check=True)
        command = [sys.executable, *sys.argv, "--child", str(repository), str(database)]
        # New batches for each kill: the kills are spread over the history. Unprotected, each skips one more.
        new_batches = max(1, arguments.commits // arguments.batch // (arguments.kills + 1) - 1)
        landed: list[int] = []
        wrong: list[str] = []
        for _ in rounds(arguments.kills, wrong, until_wrong=arguments.until_wrong):
            done = imported(database) if landed else 0
            # From the second batch on, as the first one's time has the start of the process in it.
            batches = max(2, done // arguments.batch + chance.randint(1, new_batches))
            if not kill_once(command, batches, chance.random()):
                print("the history is too short for so many kills", file=sys.stderr)
                return 2
            landed.append(imported(database))
            wrong += lost(database)
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        check = [sys.executable, str(_HISTORY), "compare", str(repository), str(database)]
        compared = subprocess.run(check, check=False, stdout=subprocess.PIPE)
    comparison = json.loads(compared.stdout)
    print(json.dumps({"kills": len(landed), "commits_at_kill": landed, "comparison": comparison}, indent=2))
    return compared.returncode


if __name__ == "__main__":
    sys.exit(main())
