"""What becomes of a copy: how small its archive is, what it takes to look at all of it, and to have a database back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyrage
from backups_load import DATABASE

from aragora_persist.backup import archive, offsite
from aragora_persist.backup.inventory import FileState, take_inventory
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import file_sha256, verify
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.copying import copy_into

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = {
    "plain": {"ARAGORA_BACKUP_COMPRESSION": "none"},
    "zstd": {"ARAGORA_BACKUP_COMPRESSION": "zstd"},
    "zstd, age": {"ARAGORA_BACKUP_COMPRESSION": "zstd", "ARAGORA_BACKUP_RECIPIENTS": "to be had"},
}
"""How an archive may be, as settings."""


def sizes(database: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return how small each kind of archive is, and how long it takes to make and to open one."""
    plain = folder / "plain.db"
    copy_into(database, plain)
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    stored: dict[str, int] = {}
    for _ in range(rounds):
        for kind in KINDS:
            settings = _settings(database.parent, folder, kind)
            how: dict[str, Any] = {"compression": settings.backup_compression, "recipients": settings.backup_recipients}
            path = folder / f"archive.db{archive.ending(**how)}"
            start = perf_counter()
            with path.open("wb", buffering=0) as file:
                stored[kind] = archive.pack(plain, file, **how).size_bytes
                os.fsync(file.fileno())
            packed = perf_counter()
            archive.unpack(path, folder / "unpacked.db", identity_file=settings.backup_identity_file)
            seconds[kind].append((packed - start, perf_counter() - packed))
            path.unlink()
            (folder / "unpacked.db").unlink()
    return {
        kind: {
            "size_mb": round(stored[kind] / 2**20, 1),
            "ratio": round(plain.stat().st_size / stored[kind], 2),
            "pack_s": round(median(one for one, _ in took), 2),
            "unpack_s": round(median(one for _, one in took), 2),
        }
        for kind, took in seconds.items()
    }


def checks(database: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return how long it takes to look at every byte of a backup, and at all that it means."""
    settings = _settings(database.parent, folder, "plain")
    path = settings.backup_dir / take_backup(DATABASE, settings).file

    def check() -> None:
        if [one.state for one in take_inventory(settings, check=True).backups] != [FileState.INTACT]:
            raise AssertionError("the backup is not what was written")

    def pragma(name: str) -> Callable[[], object]:
        def run() -> None:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute(f"PRAGMA {name}").fetchall()

        return run

    ways: dict[str, Callable[[], object]] = {
        "sha256": lambda: file_sha256(path),
        "backups --check": check,
        "before it counts": lambda: verify(path),
        "quick_check": pragma("quick_check"),
        "integrity_check": pragma("integrity_check"),
    }
    seconds = _rounds(ways, rounds)
    return {
        name: {"s": round(took, 2), "is_times_sha256": round(took / seconds["sha256"], 2)}
        for name, took in seconds.items()
    }


def recoveries(database: Path, folder: Path, rounds: int, litestream: str | None) -> dict[str, dict[str, float]]:
    """Return how long it takes to have a lost database back, verified and on the disk, on an empty machine."""
    ways: dict[str, Callable[[], object]] = {}
    for kind in KINDS:
        place = folder / kind.replace(", ", "-")
        place.mkdir()
        settings = _settings(database.parent, place, kind)
        take_backup(DATABASE, settings)
        for one in offsite.ship(settings):
            if one.error:
                raise one.error
        ways[f"{kind}, local"] = _recovery(place, kind, "backups")
        ways[f"{kind}, off-site"] = _recovery(place, kind, "nothing")
    if litestream:
        ways["litestream"] = _litestream(litestream, database, folder)
    seconds = _rounds(ways, rounds)
    return {name: {"s": round(took, 2)} for name, took in seconds.items()}


def _recovery(place: Path, kind: str, backups: str) -> Callable[[], object]:
    """Return what restores to a machine that has these ``backups``, and the off-site store."""

    def run() -> None:
        machine = place / "machine"
        result = restore(DATABASE, _settings(machine, place, kind, backups))
        if not result.equal:
            raise AssertionError("other rows came back")
        shutil.rmtree(machine)

    return run


def _litestream(program: str, database: Path, folder: Path) -> Callable[[], object]:
    environ = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    url, target = f"file://{folder}/replica", folder / "restored.db"

    def call(*words: str) -> None:
        subprocess.run([program, *words], check=True, capture_output=True, env=environ)

    call("replicate", "-once", "-force-snapshot", str(database), url)

    def run() -> None:
        call("restore", "-o", str(target), url)
        target.unlink()

    return run


def _rounds(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median of the seconds that each takes, the rounds interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return {name: median(those) for name, those in seconds.items()}


def _settings(nomic_dir: Path, place: Path, kind: str, backups: str = "backups") -> Settings:
    """Return the settings of a machine whose backups are of this kind, with its key."""
    environ = {
        **KINDS[kind],
        "NOMIC_DIR": str(nomic_dir),
        "ARAGORA_BACKUP_DIR": str(place / backups),
        "ARAGORA_OFFSITE_URL": f"file://{place}/offsite",
    }
    (place / "offsite").mkdir(exist_ok=True)
    if "ARAGORA_BACKUP_RECIPIENTS" in environ:
        key = place / "key.txt"
        if not key.exists():
            key.write_text(f"{pyrage.x25519.Identity.generate()}\n")
            key.chmod(0o600)
        environ["ARAGORA_BACKUP_IDENTITY_FILE"] = str(key)
        environ["ARAGORA_BACKUP_RECIPIENTS"] = str(pyrage.x25519.Identity.from_str(key.read_text().strip()).to_public())
    return Settings.from_env(environ)
