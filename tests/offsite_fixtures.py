"""A machine with databases, and an off-site for its backups: a bucket of a real S3 server, or a folder."""

from __future__ import annotations

import random
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest

from aragora_persist.backup.offsite import objects, shipping
from aragora_persist.backup.take import take_backup
from aragora_persist.settings import Settings
from tests.s3_server import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry


@dataclass
class Machine:
    """``objects`` is the folder in which what is off-site lies as files, as nobody but a test can see it."""

    home: Path
    objects: Path
    environ: dict[str, str]
    part_bytes: ClassVar = 32 * 1024

    def settings(self, **more: str) -> Settings:
        """Return the settings of this machine, with other values of some variables."""
        return Settings.from_env({"NOMIC_DIR": str(self.home), **self.environ, **more})

    def back_up(
        self, database: str = "users", *, size_bytes: int = 100_000, more: dict[str, str] | None = None
    ) -> BackupEntry:
        """Change a database, and take a backup of it."""
        self.home.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.home / f"aragora_{database}.db", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS filling (id INTEGER PRIMARY KEY, bytes BLOB)")
            filling = random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311 - the same in every run
            connection.execute("INSERT INTO filling (bytes) VALUES (?)", (filling,))
        return take_backup(database, self.settings(**(more or {})))

    def names(self) -> list[str]:
        """Return the names of all objects."""
        return sorted(str(path.relative_to(self.objects)) for path in self.objects.rglob("*") if path.is_file())

    def part(self, entry: BackupEntry, number: int = 0) -> Path:
        """Return where a part lies."""
        return sorted((self.objects / entry.database / entry.file).iterdir())[number]

    def line(self, entry: BackupEntry) -> Path:
        """Return where the line lies."""
        return self.objects / entry.database / f"{entry.id}.json"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running S3 server; each test makes a bucket of its own."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_machine(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine whose off-site is a bucket of its own, in small parts and with short waits."""
    _make_quick(monkeypatch)
    bucket = f"bucket-{secrets.token_hex(6)}"
    return Machine(tmp_path / "data", s3_server.make_bucket(bucket), s3_server.environ(bucket))


@pytest.fixture
def folder_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine whose off-site is a folder, likewise."""
    _make_quick(monkeypatch)
    (tmp_path / "away").mkdir()
    return Machine(tmp_path / "data", tmp_path / "away", {"ARAGORA_OFFSITE_URL": (tmp_path / "away").as_uri()})


@pytest.fixture(params=["s3_machine", "folder_machine"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Return each of the two."""
    found: Machine = request.getfixturevalue(request.param)
    return found


def _make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "_PART_BYTES", Machine.part_bytes)
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(objects, "_LONGEST_WAIT_S", 0.01)
