"""The real command line: backups go off-site and come back to an empty machine; keys change, or are lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.restore.restoring import restore
from aragora_persist.errors import AccessDeniedError
from tests.age_identities import make_identity
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.offsite_fixtures import Machine

pytest_plugins = ("tests.offsite_fixtures",)


def run(home: Path, machine: Machine, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a machine that has nothing but these variables."""
    return subprocess.run(
        (sys.executable, "-m", "aragora_persist", *arguments),
        env={"NOMIC_DIR": str(home), **machine.environ, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def rows(path: Path) -> list[tuple[object, ...]]:
    """Return the rows of a database that `Machine.back_up` fills."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM filling ORDER BY id").fetchall()


@pytest.mark.parametrize("machine", ["s3_machine", "folder_machine"], indirect=True)
def test_an_empty_machine_with_the_bucket_and_the_identity_has_everything_again(
    machine: Machine, tmp_path: Path
) -> None:
    """Not even a catalog: what is off-site says what there is, and is proved by its digests before it is a database."""
    identity = tmp_path / "identity"
    public = make_identity(identity)
    sealed = {"ARAGORA_BACKUP_RECIPIENTS": public, "ARAGORA_BACKUP_COMPRESSION": "zstd"}
    for name in ("users", "elo", "users"):
        entry = machine.back_up(name, more=sealed)
    assert entry.file.endswith(".db.zst.age")
    before = {name: rows(machine.home / f"aragora_{name}.db") for name in ("users", "elo")}
    shipped = run(machine.home, machine, "backups", "--ship")
    assert (shipped.returncode, shipped.stderr) == (0, "")
    assert shipped.stdout.splitlines()[-1] == f"Shipped: {entry.id}"

    empty = tmp_path / "empty"
    listed = run(empty, machine, "backups", "--offsite", "--check", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [one["state"] for one in json.loads(listed.stdout)["backups"]] == ["whole"] * 3
    refused = run(empty, machine, "restore", "users")
    assert refused.returncode == 1
    assert "ARAGORA_BACKUP_IDENTITY_FILE" in refused.stderr
    assert not (empty / "aragora_users.db").exists()
    for name in ("users", "elo"):
        done = run(empty, machine, "restore", name, ARAGORA_BACKUP_IDENTITY_FILE=str(identity))
        assert done.returncode == 0, done.stderr
        assert rows(empty / f"aragora_{name}.db") == before[name]


def test_backups_of_an_old_key_stay_readable_and_a_retired_key_reads_no_new_ones(
    folder_machine: Machine, tmp_path: Path
) -> None:
    """Rotation: the next backup has another recipient; the file of identities keeps the old one while it is needed."""
    old, new, both = tmp_path / "old", tmp_path / "new", tmp_path / "both"
    first = folder_machine.back_up(more={"ARAGORA_BACKUP_RECIPIENTS": make_identity(old)})
    before = rows(folder_machine.home / "aragora_users.db")
    second = folder_machine.back_up(more={"ARAGORA_BACKUP_RECIPIENTS": make_identity(new)})
    after = rows(folder_machine.home / "aragora_users.db")
    empty = str(tmp_path / "empty")
    both.write_text(new.read_text() + old.read_text())
    assert run(folder_machine.home, folder_machine, "backups", "--ship").returncode == 0
    assert first.recipients != second.recipients
    for backup, identity, expected in (
        (first, old, before),
        (first, both, before),
        (second, both, after),
        (second, new, after),
        (second, old, None),
        (first, new, None),
    ):
        target = tmp_path / "restored.db"
        settings = folder_machine.settings(NOMIC_DIR=empty, ARAGORA_BACKUP_IDENTITY_FILE=str(identity))
        if expected is None:
            with pytest.raises(AccessDeniedError, match="none of the identities"):
                restore("users", settings, backup_id=backup.id, to=target)
            assert not target.exists()
        else:
            restore("users", settings, backup_id=backup.id, to=target)
            assert rows(target) == expected
            target.unlink()


def test_the_identity_in_escrow_restores_what_the_lost_one_cannot(s3_machine: Machine, tmp_path: Path) -> None:
    """A second recipient, whose identity has never been on the machine, is enough."""
    lost, escrow = tmp_path / "lost", tmp_path / "escrow"
    recipients = f"{make_identity(lost)} {make_identity(escrow)}"
    s3_machine.back_up(more={"ARAGORA_BACKUP_RECIPIENTS": recipients})
    before = rows(s3_machine.home / "aragora_users.db")
    assert run(s3_machine.home, s3_machine, "backups", "--ship").returncode == 0
    lost.unlink()
    empty = tmp_path / "empty"
    done = run(empty, s3_machine, "restore", "users", ARAGORA_BACKUP_IDENTITY_FILE=str(escrow))
    assert done.returncode == 0, done.stderr
    assert rows(empty / "aragora_users.db") == before


def test_a_file_that_is_lost_here_comes_from_off_site(folder_machine: Machine) -> None:
    """The catalog here names it, and a restore fetches it; nothing is asked of the operator."""
    entry = folder_machine.back_up()
    before = rows(folder_machine.home / "aragora_users.db")
    assert run(folder_machine.home, folder_machine, "backups", "--ship").returncode == 0
    (folder_machine.home / "backups" / entry.file).unlink()
    target = folder_machine.home / "restored.db"
    done = run(folder_machine.home, folder_machine, "restore", "users", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert rows(target) == before


def test_the_list_says_what_is_not_whole_and_fails(folder_machine: Machine) -> None:
    """For a person and for a program; `--check` reads every byte."""
    entries = [folder_machine.back_up() for _ in range(3)]
    assert run(folder_machine.home, folder_machine, "backups", "--ship", "--json").returncode == 0
    damaged, incomplete, rotten = entries
    folder_machine.line(damaged).write_text("{}")
    folder_machine.part(incomplete).unlink()
    with folder_machine.part(rotten).open("r+b") as file:
        file.write(b"x")
    listed = run(folder_machine.home, folder_machine, "backups", "--offsite")
    assert listed.returncode == 1
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == ["STATE", "whole", "incomplete", "damaged"]
    assert f"users/{damaged.id}.json off-site is not what was shipped" in listed.stderr
    checked = run(folder_machine.home, folder_machine, "backups", "--offsite", "--check", "--db", "users")
    assert [line.split()[-1] for line in checked.stdout.splitlines()] == ["STATE", "damaged", "incomplete", "damaged"]
    other = run(folder_machine.home, folder_machine, "backups", "--offsite", "--db", "elo")
    assert (other.returncode, other.stdout.splitlines()[1:]) == (0, [])


@pytest.mark.parametrize(
    "arguments", [("--offsite", "--ship"), ("--offsite", "--rebuild"), ("--ship", "--db", "users")]
)
def test_what_does_not_go_together_is_a_mistake_of_use(folder_machine: Machine, arguments: tuple[str, ...]) -> None:
    """Exit code 2, before anything is done."""
    done = run(folder_machine.home, folder_machine, "backups", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_failed_shipment_is_told_and_is_exit_code_1(folder_machine: Machine) -> None:
    """What was shipped is named all the same."""
    broken, whole = folder_machine.back_up(), folder_machine.back_up("elo")
    (folder_machine.home / "backups" / broken.file).write_bytes(b"")
    done = run(folder_machine.home, folder_machine, "backups", "--ship", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["shipped"] == [whole.id]
    assert [one["id"] for one in answer["failed"]] == [broken.id]
    assert broken.file in done.stderr
