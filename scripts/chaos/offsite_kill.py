#!/usr/bin/env python3
"""Kill a process that ships backups, again and again, and look at what off-site offers.

A machine has backups, and off-site is a bucket of a real S3 server, or with ``--folder`` a folder. A process ships
until it gets SIGKILL at a random moment, of a while that becomes longer where nothing had come of it yet, and shorter
where all had been done; the next one goes on. After each kill whatever is newly listed as whole is read, and must be
what was shipped; what is recorded here as shipped must be listed. When all was shipped there is a new backup; now and
then the records of the last two are lost. In the end one more process ships undisturbed: then every backup is there,
once, and nothing else. With ``--unprotected`` the line that makes a backup comes before its parts: that shows that this
rig finds what should not be there. ``--until-wrong`` ends the kills with the first such thing.

Prints a report in JSON. Exit code 0: nothing was wrong; 1: something was. All lies in a scratch folder that goes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import add_until_wrong, rounds

from aragora_persist.backup.catalog import FILE_NAME, Catalog
from aragora_persist.backup.offsite import RemoteState, check, layout, look, ship, shipping
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.backup.take import take_backup
from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aragora_persist.backup.records import BackupEntry

PART_BYTES = 64 * 1024
BACKUP_BYTES = 500_000
FIRST_BACKUPS = 2
FORGETS_EVERY = 9
FORGOTTEN = 2
FIRST_LONGEST_S = 0.08
LONGER = 1.5
ALL_SHIPPED = "when all were shipped"


def main() -> int:
    """Run the rig and print what it found."""
    parser = argparse.ArgumentParser(description="Kill a process that ships backups; judge what is off-site.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", action="store_true", help="off-site is a folder, not an S3 server")
    parser.add_argument("--unprotected", action="store_true", help="make the line before the parts")
    add_until_wrong(parser)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ship", action="store_true", help=argparse.SUPPRESS)  # the process that is killed
    arguments = parser.parse_args()
    shipping._PART_BYTES = PART_BYTES  # noqa: SLF001 - many parts of small backups: more moments to be killed in
    if arguments.ship:
        return ship_for_ever(unprotected=arguments.unprotected)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aragora-offsite-kill-")))
        environ = folder(scratch) if arguments.folder else bucket(scratch, stack)
        rig = Rig(scratch, environ, random.Random(arguments.seed), unprotected=arguments.unprotected)  # noqa: S311 - a repeatable choice of moments
        report = rig.run(arguments.kills, until_wrong=arguments.until_wrong)
    print(json.dumps(report, indent=2))
    return 1 if report["wrong"] else 0


def folder(scratch: Path) -> dict[str, str]:
    """Make a folder off-site, and return the settings of it."""
    (scratch / "away").mkdir()
    return {"ARAGORA_OFFSITE_URL": (scratch / "away").as_uri()}


def bucket(scratch: Path, stack: ExitStack) -> dict[str, str]:
    """Start a server with a bucket, and return the settings of it."""
    sys.path.append(str(Path(__file__).parents[2]))
    from tests.s3_server import S3Server  # noqa: PLC0415 - the checkout's, which is on the path only now

    server = stack.enter_context(S3Server(scratch / "s3"))
    server.make_bucket("backups")
    return server.environ("backups/rig")


class Rig:
    """One machine, its backups, and what was found to be wrong off-site."""

    def __init__(self, scratch: Path, environ: dict[str, str], moments: random.Random, *, unprotected: bool) -> None:
        self._environ = {"NOMIC_DIR": str(scratch / "data"), **environ}
        self._settings = Settings.from_env(self._environ)
        self._moments = moments
        self._unprotected = unprotected
        self._longest_s = FIRST_LONGEST_S
        self._landed: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._read: set[str] = set()

    def run(self, kills: int, *, until_wrong: bool) -> dict[str, object]:
        """Kill so many processes, and return the report."""
        self._settings.nomic_dir.mkdir()
        entries = [self._back_up() for _ in range(FIRST_BACKUPS)]
        for number in rounds(kills, self._wrong, until_wrong=until_wrong):
            before = self._done()
            landed = self._ship_and_kill()
            self._landed[landed] += 1
            self._judge(f"kill {number + 1}")
            if landed == ALL_SHIPPED:
                self._longest_s /= LONGER
                entries.append(self._back_up())
            elif self._done() == before:
                self._longest_s *= LONGER
            if number % FORGETS_EVERY == FORGETS_EVERY - 1:
                self._forget_shipments()
        self._finish(entries)
        return {
            "kills": self._landed.total(),
            "backups": len(entries),
            "killed": dict(sorted(self._landed.items())),
            "wrong": self._wrong,
        }

    def _back_up(self) -> BackupEntry:
        with closing(sqlite3.connect(self._settings.nomic_dir / "aragora_users.db", isolation_level=None)) as database:
            database.execute("CREATE TABLE IF NOT EXISTS filling (bytes BLOB)")
            database.execute("DELETE FROM filling")
            database.execute("INSERT INTO filling VALUES (?)", (self._moments.randbytes(BACKUP_BYTES),))
        return take_backup("users", self._settings)

    def _forget_shipments(self) -> None:
        catalog = self._settings.backup_dir / FILE_NAME
        lines = catalog.read_bytes().splitlines(keepends=True)
        shipped = [line for line in lines if b'"kind": "shipped"' in line]
        catalog.write_bytes(b"".join(line for line in lines if line not in shipped[-FORGOTTEN:]))

    def _done(self) -> tuple[set[str], set[str]]:
        """Return what is off-site, and what is recorded as shipped."""
        return set(Objects(self._settings).listing()), set(Catalog(self._settings.backup_dir).read().shipments)

    def _ship_and_kill(self) -> str:
        before = Catalog(self._settings.backup_dir).read().shipments
        command = [sys.executable, __file__, "--ship", *(["--unprotected"] if self._unprotected else [])]
        child = subprocess.Popen(command, env={**self._environ, "PATH": os.defpath}, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None  # noqa: S101 - Popen was asked for it
            child.stdout.read(1)  # it has loaded everything, and begins
            time.sleep(self._moments.uniform(0, self._longest_s))
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        if child.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the process that ships ended by itself: {child.returncode}")
        return self._where(before)

    def _where(self, before: Mapping[str, object]) -> str:
        """Say how far the killed process came, from what it left."""
        state = Catalog(self._settings.backup_dir).read()
        waiting = next((entry for entry in state.backups if entry.id not in state.shipments), None)
        if waiting is None:
            return ALL_SHIPPED
        known = Objects(self._settings).listing(waiting.database)
        if layout.line_name(waiting) in known:
            return "between the line and the record"
        if any(name.startswith(layout.parts_folder(waiting)) for name in known):
            return "between the parts of a backup"
        return "between two backups" if state.shipments != before else "before the first part"

    def _judge(self, when: str) -> None:
        for problem in self._problems():
            self._wrong.append(f"{when}: {problem}")

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong with what is listed, and with what is recorded."""
        listed = look(self._settings)
        # Objects never change: what was read once need not be read after each kill.
        new = {one.name: one for one in check(self._settings, [one for one in listed if one.name not in self._read])}
        for one in (new.get(one.name, one) for one in listed):
            if one.state is RemoteState.WHOLE:
                self._read.add(one.name)
            else:
                yield f"{one.name} is listed and {one.state.value}"
        whole = {one.entry.id for one in listed if one.entry and one.name in self._read}
        for backup in sorted(Catalog(self._settings.backup_dir).read().shipments.keys() - whole):
            yield f"{backup} is recorded as shipped and is not there"

    def _finish(self, entries: list[BackupEntry]) -> None:
        errors = [str(outcome.error) for outcome in ship(self._settings) if outcome.error]
        self._wrong += [f"in the end: {error}" for error in errors]
        self._read.clear()
        self._judge("in the end")
        listed = [one.entry.id for one in look(self._settings) if one.entry]
        if sorted(listed) != sorted(entry.id for entry in entries):
            self._wrong.append(f"in the end {len(listed)} backups are listed, {len(entries)} were taken")
        expected = {layout.line_name(entry) for entry in entries} | {
            layout.part_name(entry, offset) for entry in entries for offset in range(0, entry.size_bytes, PART_BYTES)
        }
        found = set(Objects(self._settings).listing())
        self._wrong += [f"in the end: {name} should not be there" for name in sorted(found - expected)]
        self._wrong += [f"in the end: {name} is missing" for name in sorted(expected - found)]


def ship_for_ever(*, unprotected: bool) -> int:
    """Ship, then wait to be killed; without the protection each line is made before its parts."""
    settings = Settings.from_env()
    if unprotected:
        in_order = shipping._ship_parts  # noqa: SLF001 - the protection that is taken out

        def line_first(entry: BackupEntry, path: Path, objects: Objects, stop: Callable[[], bool]) -> bool:
            objects.create(layout.line_name(entry), entry.to_line(), {})
            return in_order(entry, path, objects, stop)

        shipping._ship_parts = line_first  # noqa: SLF001 - as above
    Objects(settings).listing("nothing")  # loads the library, and connects
    print("!", end="", flush=True)
    for _ in ship(settings):
        pass
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
