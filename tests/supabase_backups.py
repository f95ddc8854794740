"""A container of the image that backs up Supabase, restricted as `up` restricts it, beside a running Supabase."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.schema_databases import Database
    from tests.supabase_stack import Engine, LocalSupabase

BACKUPS = "/backups"
FAULTY = "/faulty"
"""Where programs can be put in front of PostgreSQL's own."""
SMALL = "/small"
"""A place that a dump of the migrations' tables does not fit into."""
_TMPFS = {
    "/tmp": "rw,noexec,nosuid,nodev,size=256m",  # noqa: S108 - the container's own
    **dict.fromkeys((BACKUPS, FAULTY), "rw,exec,uid=10001,gid=10001,mode=0700,size=64m"),
    SMALL: "rw,uid=10001,gid=10001,mode=0700,size=64k",
}
_BINARIES = "/usr/lib/postgresql/17/bin"


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """The answer in JSON of a command that succeeded."""
        assert self.code == 0, self.err
        return json.loads(self.out)


class BackupBox:
    """The container. It shares the database's own network, so that the database is its port 5432."""

    def __init__(self, engine: Engine, supabase: LocalSupabase) -> None:
        self._container = engine.container(
            "supabase-backup",
            "supabase_backup",
            entrypoint=["sleep", "infinity"],
            network_mode=f"container:{supabase.db.id}",
            tmpfs=_TMPFS,
        )
        self._container.start()

    def run(self, *command: str, env: Mapping[str, str]) -> Said:
        """Run a command to its end."""
        code, output = self._container.exec_run([*command], environment={**env}, demux=True)
        out, err = ((each or b"").decode() for each in cast("tuple[bytes | None, bytes | None]", output))
        return Said(int(code or 0), out, err)

    def persist(self, *arguments: str, env: Mapping[str, str]) -> Said:
        """Run the command line of the tier."""
        return self.run("aragora-persist", *arguments, env=env)

    def start(self, *arguments: str, env: Mapping[str, str]) -> None:
        """Start the command line of the tier and leave it to itself."""
        self._container.exec_run(["aragora-persist", *arguments], environment={**env}, detach=True)

    def program(self, name: str, script: str) -> dict[str, str]:
        """Put a script in the place of one of PostgreSQL's programs; return the environment that finds it.

        In it, ``real`` is the program itself, which tells its version without the script.
        """
        text = f'#!/bin/sh\nreal={_BINARIES}/{name}\n[ "$1" != --version ] || exec $real "$@"\n{script}\n'
        make = f'rm -rf {FAULTY}/* && ln -s {_BINARIES}/* {FAULTY} && rm "$1" && printf %s "$2" >"$1" && chmod +x "$1"'
        said = self.run("sh", "-c", make, "make", f"{FAULTY}/{name}", text, env={})
        assert said.code == 0, said.err
        return {"PATH": f"{FAULTY}:/opt/aragora/bin:/usr/bin:/bin"}

    def empty(self) -> None:
        """Remove what a test left."""
        self.run("sh", "-c", f"rm -rf {BACKUPS}/* {BACKUPS}/.[!.]* {FAULTY}/* {SMALL}/* /tmp/*", env={})

    def processes(self, name: str) -> list[int]:
        """Return the processes whose command line holds this."""
        listed = self._container.top(ps_args="-eo pid,args")["Processes"] or []
        return [int(pid) for pid, arguments in listed if name in arguments]

    def wait_for(self, *command: str) -> None:
        """Wait until a command succeeds."""
        wait_until(lambda: self.run(*command, env={}).code == 0, f"{command} to succeed")


class Project:
    """A database that is backed up, and the commands that do."""

    def __init__(self, box: BackupBox, database: Database) -> None:
        self.box = box
        self.database = database
        self.env = {"SUPABASE_DB_URL": self.inside(database), "ARAGORA_BACKUP_DIR": BACKUPS}

    @staticmethod
    def inside(database: Database) -> str:
        """Return the URL of a database as the container sees it."""
        return re.sub(r":[0-9]+/", ":5432/", database.url)

    @property
    def password(self) -> str:
        """The one in the URL."""
        match = re.search(r":([^:@]+)@", self.database.url)
        assert match is not None
        return match[1]

    def persist(self, *arguments: str, **env: str) -> Said:
        """Run the command line of the tier on this database."""
        return self.box.persist(*arguments, env={**self.env, **env})

    def entries(self) -> list[dict[str, Any]]:
        """Return the backups of the catalog, and see that nothing else there looks like one."""
        lines = self.box.run("sh", "-c", f"cat {BACKUPS}/catalog.jsonl || true", env={}).out.splitlines()
        entries = [record for line in lines if (record := json.loads(line))["kind"] == "backup"]
        files = self.box.run("ls", BACKUPS, env={}).out.split()
        assert set(files) == {*(entry["file"] for entry in entries), *(["catalog.jsonl"] if entries else [])}
        return entries

    def backed_up(self, **env: str) -> dict[str, Any]:
        """Take a backup; return the line of the catalog."""
        said = self.persist("backup", "--db", "supabase", **env)
        assert (said.code, said.out) == (0, "Backed up: supabase\n"), said.err
        return self.entries()[-1]

    def sql(self, database: Database | None = None) -> list[str]:
        """Return all statements that make a database what it is, its rows included."""
        url = self.inside(database or self.database)
        said = self.box.run("pg_dump", "--schema=public", "--schema=supabase_migrations", url, env={})
        assert said.code == 0, said.err
        return [line for line in said.out.splitlines() if line and not line.startswith(("--", "\\"))]
