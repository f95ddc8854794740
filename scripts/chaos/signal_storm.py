#!/usr/bin/env python3
"""Interrupts the main thread while it writes, at random microseconds, and looks for every row that it should find.

    scripts/chaos/signal_storm.py [--interrupts 20000] [--threads 3] [--seed 1] [--memory] [--unprotected]

An alarm raises Ctrl-C, an exit or an ordinary exception in the main thread, which writes pairs of rows (a user and an
entry of the audit log) by work and in blocks, makes organizations with their owners, logs and reads, while other
threads write pairs and log too; however fast the machine is, about half of its calls are interrupted. Afterwards both
rows of a pair are there or none; those of every call that returned are there, and of work that was interrupted exactly
those whose exception says so; the log verifies, no turn and no reader is kept, and nobody else has noticed anything.
Exits 1 when it is not so. ``--unprotected`` writes the rows of a pair in two transactions: that run must fail, or the
rig proves nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.settings import Settings
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend, Transaction

_FIRST_LONGEST_S = 0.004
_SHORTER, _LONGER = 0.98, 1.04


class AlarmError(TimeoutError):
    """What a handler of an alarm raises in an ordinary program."""


_KINDS: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, AlarmError, RuntimeError)


class Alarm:
    """Raises something in the main thread, at a random moment after it was set, and once."""

    def __init__(self, chance: random.Random) -> None:
        self.armed = False
        self.rung = 0
        self._longest_s = _FIRST_LONGEST_S
        self._chance = chance
        self._kind: type[BaseException] = RuntimeError
        signal.signal(signal.SIGALRM, self._ring)

    def set(self) -> None:
        """Ring within a while; each makes it shorter, and longer if it comes to ringing, so that half of them do."""
        self._longest_s *= _SHORTER
        self._kind = self._chance.choice(_KINDS)
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, self._chance.random() ** 2 * self._longest_s))

    def _ring(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            self.rung += 1
            self._longest_s *= _LONGER
            raise self._kind


class Stores:
    """The stores, and the ways in which the rig uses them."""

    def __init__(self, database: Backend, *, protected: bool) -> None:
        self.users, self.audit, self.organizations = (
            UserStore(database),
            AuditStore(database),
            OrganizationStore(database),
        )
        self._database = database
        self.owner_id = ""
        pairs = (self._by_work, self._by_block) if protected else (self._apart,)
        self.ways: tuple[Callable[[str], object], ...] = (*pairs, self._organization, self._log, self._read)

    def _by_work(self, name: str) -> None:
        self._database.write("rig.work", lambda tx: self._pair(name, tx))

    def _by_block(self, name: str) -> None:
        with self._database.transaction("rig.block") as tx:
            self._pair(name, tx)

    def _apart(self, name: str) -> None:
        self._user(name)
        self._entry(name)

    def _organization(self, name: str) -> None:
        self.organizations.create(name, owner_id=self.owner_id)

    def _log(self, name: str) -> None:
        self._entry(name)

    def _read(self, name: str) -> None:
        self.users.get_by_email(f"{name}@storm.example")
        self.audit.list_entries(limit=5)

    def _pair(self, name: str, tx: Transaction) -> None:
        self._user(name, tx)
        self._entry(name, tx)

    def _user(self, name: str, tx: Transaction | None = None) -> None:
        self.users.create(f"{name}@storm.example", tx=tx)

    def _entry(self, name: str, tx: Transaction | None = None) -> None:
        self.audit.log("storm", resource_id=name, tx=tx)


class Ledger:
    """What the calls said of their rows."""

    def __init__(self) -> None:
        self.written: set[str] = set()
        """What returned, or was interrupted and is said to be written."""
        self.absent: set[str] = set()
        """What was interrupted, and not said to be written."""


def weather(stores: Stores, alarm: Alarm, ledger: Ledger, interrupts: int) -> int:
    """Be the main thread: call until it was interrupted so many times; return how many calls that took."""
    calls = 0
    while alarm.rung < interrupts:
        way = stores.ways[calls % len(stores.ways)]
        name = f"{way.__name__.strip('_')}-{calls}"
        calls += 1
        returned = False
        try:
            alarm.set()
            way(name)
            returned = True
            alarm.armed = False
        except BaseException as error:
            alarm.armed = False
            if not isinstance(error, _KINDS):
                raise
            returned = returned or hasattr(error, "__notes__")
        (ledger.written if returned else ledger.absent).add(name)
    return calls


def bystand(stores: Stores, thread: int, ledger: Ledger, stop: threading.Event) -> None:
    """Be another thread, which nothing interrupts."""
    number = 0
    while not stop.is_set():
        kind, way = ("log", stores.ways[-2]) if number % 2 else ("pair", stores.ways[0])
        name = f"{kind}-of-{thread}-{number}"
        way(name)
        ledger.written.add(name)
        number += 1


def judge(stores: Stores, ledgers: list[Ledger]) -> dict[str, int]:
    """Compare what is there with what was said."""
    with stores.users.database.read("rig.judge") as view:
        users = {str(email).split("@")[0] for (email,) in view.all("SELECT email FROM users")}
        entries = {str(name) for (name,) in view.all("SELECT resource_id FROM audit_log")}
        organizations = {str(name) for (name,) in view.all("SELECT name FROM organizations")}
        owned = {str(name) for (name,) in view.all(_OWNED)}
    there = users | entries | organizations
    written = {name for ledger in ledgers for name in ledger.written if not name.startswith("read")}
    # A store's call can be interrupted when its write has returned, and a block when `__exit__` has (Python looks for
    # signals between that and the end of `with`): nobody is there any more who could say so.
    absent = {name for ledger in ledgers for name in ledger.absent if name.startswith("by_work")}
    return {
        "rows": len(there),
        "torn": len((users ^ {name for name in entries if not name.startswith("log-")}) - {"owner"})
        + len(organizations ^ owned),
        "lost": len(written - there),
        "present_unsaid": len(absent & there),
        "unsound": int(not stores.audit.verify().ok),
    }


_OWNED = "SELECT name FROM organizations WHERE id IN (SELECT org_id FROM memberships)"


def run(path: Path | str, arguments: argparse.Namespace) -> dict[str, int]:
    """Let the storm rage; return the counts."""
    failures: list[BaseException] = []
    threading.excepthook = lambda failure: failures.append(failure.exc_value or RuntimeError("unknown"))
    ledgers, stop = [Ledger() for _ in range(arguments.threads + 1)], threading.Event()
    with open_engine(path, "users", settings=Settings.from_env({"ARAGORA_DURABILITY": "committed"})) as engine:
        stores = Stores(engine, protected=not arguments.unprotected)
        owner = stores.users.create("owner@storm.example")
        stores.owner_id = owner.id
        threads = [
            threading.Thread(target=bystand, args=(stores, thread, ledgers[thread], stop))
            for thread in range(arguments.threads)
        ]
        for thread in threads:
            thread.start()
        alarm = Alarm(random.Random(arguments.seed))  # noqa: S311 - repeatable on purpose
        calls = weather(stores, alarm, ledgers[-1], arguments.interrupts)
        stop.set()
        for thread in threads:
            thread.join()
        kept = len(engine.writer.turns.jobs()) + len(getattr(engine._shared.readers, "_lent", ()))  # noqa: SLF001 - what nobody should have kept
        found = judge(stores, ledgers)
    return {"calls": calls, "interrupts": alarm.rung, **found, "disturbed": len(failures), "kept": kept}


def main() -> int:
    """Run the rig."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interrupts", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--unprotected", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(":memory:" if arguments.memory else Path(folder) / "aragora_users.db", arguments)
    print(json.dumps(found, indent=2))
    return int(any(found[name] for name in ("torn", "lost", "present_unsaid", "unsound", "disturbed", "kept")))


if __name__ == "__main__":
    sys.exit(main())
