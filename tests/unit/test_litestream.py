"""What Litestream is told, what its sidecar tells of it, and what follows: without Litestream itself."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.backup.litestream import sidecar
from aragora_persist.backup.litestream.configuration import configuration, environment, replica_place
from aragora_persist.backup.litestream.questions import Answer, ask
from aragora_persist.backup.litestream.record import (
    FILE_NAME,
    DatabaseRecord,
    Record,
    families,
    late,
    read_record,
    write_record,
)
from aragora_persist.backup.litestream.replica import HEADER_BYTES, Replica
from aragora_persist.backup.litestream.shipping import Shipping
from aragora_persist.backup.point_in_time import restore_moment
from aragora_persist.cli import main
from aragora_persist.errors import DamagedError, InvalidValueError, NotFoundError, UnsupportedError
from aragora_persist.settings import Settings
from aragora_persist.status import collect_status
from aragora_persist.times import to_text, utc_now
from tests.shipping import newest_shipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECRET = "a secret that nobody may see"
S3 = {
    "ARAGORA_LITESTREAM_URL": "s3://moments/of/here",
    "ARAGORA_OFFSITE_ENDPOINT": "https://s3.example.com",
    "ARAGORA_OFFSITE_ACCESS_KEY_ID": "who",
    "ARAGORA_OFFSITE_SECRET_ACCESS_KEY": SECRET,
}


def settings_of(folder: Path, **environ: str) -> Settings:
    """Return settings for folders below ``folder``; it ships to one of them unless told otherwise."""
    (folder / "shipped").mkdir(exist_ok=True)
    defaults = {"NOMIC_DIR": str(folder / "data"), "ARAGORA_LITESTREAM_URL": (folder / "shipped").as_uri()}
    return Settings.from_env(defaults | environ)


def make_file(folder: Path, level: int, first: int, last: int, moment: datetime) -> Path:
    """Make what begins like a shipped file."""
    path = folder / "shipped/users/ltx" / str(level) / f"{first:016x}-{last:016x}.ltx"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytearray(HEADER_BYTES)
    header[:4] = b"LTX1"
    header[32:40] = round(moment.timestamp() * 1000).to_bytes(8, "big")
    path.write_bytes(header)
    return path


def test_the_configuration_holds_no_secret_and_the_environment_nothing_else(tmp_path: Path) -> None:
    """Each database goes to a folder of its name; the keys are for Litestream alone, and others' are not for it."""
    settings = settings_of(tmp_path, **S3, ARAGORA_BACKUP_RETENTION_DAYS="3")
    text = configuration({"users": Path("/data/aragora_users.db")}, settings, socket=Path("/tmp/socket"))  # noqa: S108 - a name
    told = json.loads(text)
    assert SECRET not in text
    assert told["dbs"][0]["path"] == "/data/aragora_users.db"
    assert told["dbs"][0]["replica"] == {
        "type": "s3",
        "bucket": "moments",
        "path": "of/here/users",
        "region": "us-east-1",
        "endpoint": "https://s3.example.com",
        "force-path-style": True,
        "sync-interval": "1s",
        "auto-recover": True,
    }
    assert told["snapshot"]["retention"] == "72h"
    others = {"AWS_CA_BUNDLE": "x", "AWS_SESSION_TOKEN": "x", "LITESTREAM_CONFIG": "x", "SUPABASE_KEY": "x"}
    assert environment(settings, {"PATH": "/bin", **others}) == {
        "PATH": "/bin",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    assert environment(settings_of(tmp_path), {"PATH": "/bin", **others}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({"ARAGORA_LITESTREAM_URL": ""}, "ARAGORA_LITESTREAM_URL"),
        ({"ARAGORA_LITESTREAM_URL": "s3://"}, "ARAGORA_LITESTREAM_URL"),
        ({"ARAGORA_LITESTREAM_URL": f"https://user:{SECRET}@host"}, "ARAGORA_LITESTREAM_URL"),
        ({**S3, "ARAGORA_OFFSITE_ACCESS_KEY_ID": ""}, "ARAGORA_OFFSITE_ACCESS_KEY_ID"),
    ],
)
def test_what_could_never_work_is_refused_by_its_variable(environ: Mapping[str, str], target: str) -> None:
    """The error names the setting that is wrong, not another one that is read in the same way."""
    with pytest.raises(InvalidValueError) as caught:
        replica_place(Settings.from_env(environ))
    assert caught.value.target == target
    assert SECRET not in str(caught.value)


@given(
    spans=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    gaps=st.lists(st.integers(0, 3), min_size=32, max_size=32),
    at=st.integers(-2, 70),
)
def test_the_newest_transaction_before_a_moment_is_found(
    tmp_path_factory: pytest.TempPathFactory, spans: Sequence[int], gaps: Sequence[int], at: int
) -> None:
    """Whatever was summed up to higher levels; it is the last one whose time had come, by its header."""
    folder = tmp_path_factory.mktemp("replica")
    settings, moment, last = settings_of(folder), NOW, 0
    moments: list[datetime] = []
    for span in spans:
        first = last + 1
        for last in range(first, first + span):
            moment += timedelta(seconds=gaps[last - 1])
            moments.append(moment)
            make_file(folder, 0, last, last, moment)
        make_file(folder, 1, first, last, moment)
    make_file(folder, 9, 1, last, moment + timedelta(milliseconds=5))
    limit = NOW + timedelta(seconds=at)
    found = Replica("users", settings).newest_before(limit)
    wanted = sum(one <= limit for one in moments)
    assert (found.last if found else 0) == wanted
    assert found is None or (found.level == 0 and Replica("users", settings).moment_of(found) == moments[wanted - 1])
    assert newest_shipped("users", settings) == moments[-1]


def test_what_is_not_there_says_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment before the first one, a database that was never shipped, a file that is none, no Litestream."""
    settings, target = settings_of(tmp_path), tmp_path / "target.db"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="is not on PATH"):
        restore_moment("users", NOW, target, settings)
    (tmp_path / "litestream").write_text("#!/bin/sh\necho 'Error: token=abc was refused' >&2\nexit 1\n")
    (tmp_path / "litestream").chmod(0o755)
    with pytest.raises(NotFoundError, match="nothing yet"):
        restore_moment("users", NOW, target, settings)
    shipped = make_file(tmp_path, 0, 1, 1, NOW)
    with pytest.raises(NotFoundError, match=f"only from {to_text(NOW)} on"):
        restore_moment("users", NOW - timedelta(seconds=1), target, settings)
    with pytest.raises(Exception, match=r"Litestream failed: token=\[redacted\] was refused"):
        restore_moment("users", NOW, target, settings)
    shipped.write_bytes(b"x" * HEADER_BYTES)
    with pytest.raises(DamagedError, match="not what Litestream writes"):
        restore_moment("users", NOW, target, settings)
    assert not target.exists()


def test_a_sidecar_that_could_not_work_says_so_and_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder to ship to, where a disk may not be mounted; and a path that no socket can have."""
    (tmp_path / "litestream").write_text("#!/bin/sh\n")
    (tmp_path / "litestream").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = settings_of(tmp_path)
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(InvalidValueError, match="TMPDIR"):
        sidecar.run(settings, threading.Event(), ["users"])
    (tmp_path / "shipped").rmdir()
    with pytest.raises(NotFoundError, match="no such folder"):
        sidecar.run(settings, threading.Event(), ["users"])
    assert not (tmp_path / "shipped").exists()


def test_a_record_is_read_as_it_was_written_and_anything_else_is_none(tmp_path: Path) -> None:
    """Half a file, another program's, or one of a later release never break a status."""
    assert read_record(tmp_path) is None
    one = DatabaseRecord(newest_at=NOW, behind_since=NOW, problem="why", file="1:2")
    record = Record(written_at=NOW, databases={"users": one, "elo": DatabaseRecord()})
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    for garbage in (
        "",
        "{",
        "[]",
        '{"written_at": 1}',
        '{"written_at": "2030-01-01T00:00:00Z", "databases": {"a": 1}}',
    ):
        (tmp_path / FILE_NAME).write_text(garbage)
        assert read_record(tmp_path) is None


def test_what_waits_for_long_is_told(tmp_path: Path) -> None:
    """By the health check, the status and the metrics: an old record, and a database that is behind."""
    settings = settings_of(tmp_path)
    settings.backup_dir.mkdir(parents=True)
    now = utc_now()
    behind = DatabaseRecord(newest_at=now, behind_since=now - timedelta(seconds=90), problem="no answer", file="1:2")
    record = Record(written_at=now, databases={"users": behind, "elo": DatabaseRecord(file="1:3")})
    assert [*late(record, ["users", "elo", "tokens"], 60, now)] == [
        "users: something has not been shipped for 1 minute: no answer",
        "tokens: is not among what Litestream ships here",
    ]
    assert [*late(record, ["elo"], 60, now)] == []
    [stale] = late(replace(record, written_at=now - timedelta(hours=1)), ["elo"], 60, now)
    assert stale == "Litestream is not running, or has not begun yet (its last sign of life is 1 hour old)"
    assert len([*late(None, ["elo"], 60, now)]) == 1
    write_record(settings.backup_dir, record)
    told = collect_status(settings).to_json()["litestream"]
    assert isinstance(told, dict)
    assert told["running"] is True
    assert {name: one["problem"] for name, one in told["databases"].items()} == {"users": "no answer", "elo": None}
    samples = {family.name: family.samples for family in families(record, now)}
    assert samples["litestream_running"] == [({}, True)]
    assert samples["litestream_behind_seconds"] == [({"database": "users"}, 90), ({"database": "elo"}, 0)]


def test_the_health_check_reads_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no key and no network, and fails where nobody ships."""
    monkeypatch.setenv("NOMIC_DIR", str(tmp_path))
    assert main(["replicate", "--max-lag", "60"]) == 1
    assert "not running" in capsys.readouterr().err
    (tmp_path / "backups").mkdir()
    write_record(tmp_path / "backups", Record(written_at=utc_now(), databases={"users": DatabaseRecord()}))
    assert main(["replicate", "--max-lag", "60", "--db", "users"]) == 0


def test_shipped_is_what_was_there_when_the_round_before_ended(tmp_path: Path) -> None:
    """What Litestream took over during a round may not be in it: a newer claim would be one too many."""
    database = tmp_path / "users.db"
    database.touch()
    folder = tmp_path / ".users.db-litestream/ltx/0"
    folder.mkdir(parents=True)
    shipping = Shipping(database, DatabaseRecord())

    def take_over(number: int, second: int) -> None:
        path = make_file(tmp_path, 0, number, number, NOW + timedelta(seconds=second))
        stamp = (NOW + timedelta(seconds=second)).timestamp()
        os.utime(path, (stamp, stamp))
        path.rename(folder / path.name)

    def look(shipped_at: int | None, second: int, problem: str = "") -> tuple[int | None, int | None]:
        moment = None if shipped_at is None else NOW + timedelta(seconds=shipped_at)
        now = NOW + timedelta(seconds=second)
        one = shipping.look(Answer(moment, now, problem), now)
        return in_seconds(one.newest_at), in_seconds(one.behind_since)

    def in_seconds(moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - NOW).total_seconds())

    assert look(None, 0) == (None, 0)
    take_over(1, 1)
    assert look(2, 2) == (None, 1)
    assert look(3, 3) == (1, None)
    take_over(2, 4)
    assert look(5, 5) == (1, 4)
    take_over(3, 6)
    assert look(7, 7) == (4, 6)
    assert look(7, 8, "disk full") == (4, 6)
    assert look(9, 9) == (6, None)
    assert look(9, 10, "disk full") == (6, 10)
    assert shipping.look(None, NOW).problem == "Litestream does not answer"


def test_no_answer_is_no_answer(tmp_path: Path) -> None:
    """Before Litestream listens, and after it has ended."""
    assert ask(tmp_path / "socket") == {}
