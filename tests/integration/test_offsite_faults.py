"""Off-site that refuses, fails, hangs, lies or is not there: told, bounded, without loss, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.offsite import (
    RemoteState,
    check,
    fetch,
    look,
    objects,
    oldest_unshipped_age_s,
    remote_entries,
    ship,
)
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.errors import (
    AccessDeniedError,
    DamagedError,
    InvalidValueError,
    NotFoundError,
    PersistError,
    StorageError,
    UnreachableError,
    UnsupportedError,
)
from tests.integration.faulty_s3 import FaultyS3
from tests.ports import free_ports
from tests.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.offsite_fixtures import Machine
    from tests.s3_server import S3Server

pytest_plugins = ("tests.offsite_fixtures",)


def errors_of(machine: Machine, endpoint: str, **more: str) -> list[PersistError]:
    """Ship, and return the errors that come of it."""
    settings = machine.settings(ARAGORA_OFFSITE_ENDPOINT=endpoint, **more)
    return [outcome.error for outcome in ship(settings) if outcome.error]


@pytest.mark.parametrize(
    ("fault", "kind", "requests", "words"),
    [
        ("403", AccessDeniedError, 1, "ARAGORA_OFFSITE_ACCESS_KEY_ID"),
        ("skewed", AccessDeniedError, 1, "clock"),
        ("region", AccessDeniedError, 1, "ARAGORA_OFFSITE_REGION"),
        ("400", StorageError, 1, "400 InvalidRequest"),
        ("501", UnsupportedError, 1, "If-None-Match"),
        ("500", UnreachableError, 5, "500 InternalError"),
        ("503", UnreachableError, 5, "503 SlowDown"),
        ("reset", UnreachableError, 5, "broke"),
        ("portal", UnreachableError, 10, "no S3 server"),  # its page is an empty listing to the library: it asks again
    ],
)
def test_what_concerns_all_is_told_once_and_tried_again_only_where_that_can_help(
    s3_machine: Machine, s3_server: S3Server, fault: str, kind: type[PersistError], requests: int, words: str
) -> None:
    """Two backups wait, and the second one is not tried: nothing is there, nothing is recorded, and both wait on."""
    entries = [s3_machine.back_up(), s3_machine.back_up("elo")]
    with FaultyS3(s3_server.url, always=fault) as faulty:
        [error] = errors_of(s3_machine, faulty.url)
        assert len(faulty.requests) == requests
    assert type(error) is kind
    assert words in str(error)
    assert error.target.startswith("s3://")
    assert s3_machine.names() == []
    state = Catalog(s3_machine.settings().backup_dir).read()
    assert state.shipments == {}
    assert oldest_unshipped_age_s(state, s3_machine.settings(), times.utc_now()) is not None
    assert [outcome.entry for outcome in ship(s3_machine.settings())] == entries


def test_an_answer_that_never_comes_is_not_waited_for(
    s3_machine: Machine, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt has its bound."""
    monkeypatch.setattr(objects, "_REQUEST_S", 0.1)
    s3_machine.back_up()
    with FaultyS3(s3_server.url, always="stall") as faulty:
        [error] = errors_of(s3_machine, faulty.url)
        wait_until(lambda: len(faulty.requests) == 5, "each attempt to have come")
    assert isinstance(error, UnreachableError)
    assert f"{faulty.url} did not answer in time" in str(error)
    assert s3_machine.names() == []


def test_an_answer_that_comes_slowly_is_waited_for_as_long_as_an_attempt_may_take(
    s3_machine: Machine, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request is made once, and all arrives; slower than that, nothing is taken for a backup."""
    entry = s3_machine.back_up()
    with FaultyS3(s3_server.url, always="slow") as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url)
        with monkeypatch.context() as less:
            less.setattr(objects, "_REQUEST_S", 0.01)
            [error] = errors_of(s3_machine, faulty.url)
        assert isinstance(error, UnreachableError)
        assert (Catalog(settings.backup_dir).read().shipments, remote_entries(s3_machine.settings())) == ({}, ())
        faulty.requests.clear()
        assert [outcome.entry for outcome in ship(settings)] == [entry]
        fetch(entry, tmp_path / entry.file, settings)
        objects_asked_for = [request for request in faulty.requests if "list-type" not in request]
        assert len(set(objects_asked_for)) == len(objects_asked_for) > 4
    assert (tmp_path / entry.file).read_bytes() == (settings.backup_dir / entry.file).read_bytes()
    assert remote_entries(s3_machine.settings()) == (entry,)


def test_attempts_end_when_they_are_told_to_or_have_gone_on_for_long(
    s3_machine: Machine, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause is no reason to make a process wait that shall end."""
    s3_machine.back_up()
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 1000.0)
    with FaultyS3(s3_server.url, always="503") as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url)
        [outcome] = ship(settings, stop=lambda: bool(faulty.requests))
        monkeypatch.setattr(objects, "_GIVE_UP_S", 0.1)
        [again] = ship(settings)
        assert len(faulty.requests) == 2
    assert isinstance(outcome.error, UnreachableError)
    assert isinstance(again.error, UnreachableError)


def test_nobody_there_is_an_error_and_no_reason_to_take_no_backups(s3_machine: Machine) -> None:
    """What waits grows, and goes as soon as somebody answers."""
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    first = s3_machine.back_up()
    [error] = errors_of(s3_machine, nobody)
    assert isinstance(error, UnreachableError)
    assert f"{nobody} cannot be reached: Connection refused" in str(error)
    second = s3_machine.back_up()
    assert [outcome.entry for outcome in ship(s3_machine.settings())] == [first, second]


def test_a_missing_bucket_and_a_wrong_key_say_what_to_do(s3_machine: Machine) -> None:
    """Once each, without a second attempt."""
    s3_machine.back_up()
    endpoint = s3_machine.environ["ARAGORA_OFFSITE_ENDPOINT"]
    [missing] = errors_of(s3_machine, endpoint, ARAGORA_OFFSITE_URL="s3://no-such-bucket")
    assert isinstance(missing, NotFoundError)
    assert "no such bucket" in missing.problem
    [denied] = errors_of(s3_machine, endpoint, ARAGORA_OFFSITE_SECRET_ACCESS_KEY="wrong")
    assert isinstance(denied, AccessDeniedError)
    assert "403 SignatureDoesNotMatch" in denied.problem
    [unknown] = errors_of(s3_machine, endpoint, ARAGORA_OFFSITE_ACCESS_KEY_ID="nobody")
    assert isinstance(unknown, AccessDeniedError)
    assert "ARAGORA_OFFSITE_ACCESS_KEY_ID" in unknown.hint


@pytest.mark.parametrize(
    "faults",
    [
        ["PUT 500"],
        ["PUT 503", "PUT reset", "PUT 500"],
        ["PUT lose"],  # it took place, and nobody was told
        ["PUT flip"],  # other bytes arrive than were sent: the server refuses them by their digest
        ["PUT portal"],  # somebody else says that all is well
        ["GET cut", "PUT lose", "PUT lose", "PUT 503"],
    ],
)
def test_a_fault_on_the_way_leaves_everything_there_once_and_whole(
    s3_machine: Machine, s3_server: S3Server, faults: list[str]
) -> None:
    """Whether a request had taken place or not, what is there in the end is what is here."""
    entry = s3_machine.back_up()
    with FaultyS3(s3_server.url, faults) as faulty:
        assert errors_of(s3_machine, faulty.url) == []
        assert list(faulty.faults) == []
        parts = -(-entry.size_bytes // s3_machine.part_bytes)
        assert faulty.count("PUT") <= parts + 1 + len(faults)
    data = b"".join((s3_machine.objects / name).read_bytes() for name in s3_machine.names()[:-1])
    assert data == (s3_machine.settings().backup_dir / entry.file).read_bytes()
    assert remote_entries(s3_machine.settings()) == (entry,)


def test_parts_that_are_there_are_not_sent_again(s3_machine: Machine, s3_server: S3Server) -> None:
    """An upload that was stopped half-way costs what was missing."""
    entry = s3_machine.back_up()
    with FaultyS3(s3_server.url) as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url)
        asked = iter([False] * 3)
        assert list(ship(settings, stop=lambda: next(asked, True))) == []
        made = len(s3_machine.names())
        assert made == 2
        before = faulty.count("PUT")
        assert [outcome.entry for outcome in ship(settings)] == [entry]
        parts = -(-entry.size_bytes // s3_machine.part_bytes)
        assert faulty.count("PUT") - before == parts - made + 1


def test_nothing_is_asked_for_but_to_create_and_to_read(
    s3_machine: Machine, s3_server: S3Server, tmp_path: Path
) -> None:
    """A key with no other rights will do; each object is sent with its digest, on condition that there is none."""
    entry = s3_machine.back_up()
    with FaultyS3(s3_server.url, ["PUT lose"]) as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url)
        assert [outcome.error for outcome in ship(settings)] == [None]
        assert [one.state for one in check(settings, look(settings))] == [RemoteState.WHOLE]
        fetch(entry, tmp_path / entry.file, settings)
        assert {request.partition(" ")[0] for request in faulty.requests} == {"GET", "HEAD", "PUT"}
        puts = [headers for headers in faulty.headers if "if-none-match" in headers]
        assert len(puts) == faulty.count("PUT")
        assert {headers["if-none-match"] for headers in puts} == {"*"}
        assert all(headers["x-amz-checksum-sha256"] and len(headers["x-amz-content-sha256"]) == 64 for headers in puts)


def test_a_server_that_says_it_kept_what_it_did_not_is_not_believed(s3_machine: Machine, s3_server: S3Server) -> None:
    """Nothing is a backup because somebody answered 200: it is read back where the answer does not prove it."""
    entry = s3_machine.back_up()
    with FaultyS3(s3_server.url, ["PUT liar"]) as faulty:
        [error] = errors_of(s3_machine, faulty.url)
    assert isinstance(error, NotFoundError)
    assert look(s3_machine.settings()) == ()
    assert [outcome.entry for outcome in ship(s3_machine.settings())] == [entry]
    assert remote_entries(s3_machine.settings()) == (entry,)


def test_a_fetch_survives_a_bad_line(s3_machine: Machine, s3_server: S3Server, tmp_path: Path) -> None:
    """Answers that are cut off or get lost are asked for again."""
    entry = s3_machine.back_up()
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None]
    with FaultyS3(s3_server.url, ["GET 503", "GET cut", "GET reset", "GET pass", "GET lose", "GET cut"]) as faulty:
        fetch(entry, tmp_path / entry.file, s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url))
        assert list(faulty.faults) == []
    assert (tmp_path / entry.file).read_bytes() == (s3_machine.settings().backup_dir / entry.file).read_bytes()


def test_a_fetch_that_failed_goes_on_with_what_is_missing(
    s3_machine: Machine, s3_server: S3Server, tmp_path: Path
) -> None:
    """What has arrived is not asked for again, and has no name until it is whole."""
    entry = s3_machine.back_up()
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None]
    target = tmp_path / "users.db"
    with FaultyS3(s3_server.url, ["GET pass"] * 3, always="500") as faulty:
        with pytest.raises(UnreachableError):
            fetch(entry, target, s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url))
        assert [path.name for path in tmp_path.glob("*users*")] == [f".{entry.file}.{entry.sha256[:8]}.fetched"]
        # A process that is killed stops in the middle of a part, too.
        os.truncate(tmp_path / f".{entry.file}.{entry.sha256[:8]}.fetched", 2 * s3_machine.part_bytes - 1000)
        faulty.always = ""
        faulty.requests.clear()
        fetch(entry, target, s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url))
        assert faulty.count("GET") == 1 + -(-entry.size_bytes // s3_machine.part_bytes) - 1
        assert faulty.requests[1].endswith(f" bytes={s3_machine.part_bytes - 1000}-{s3_machine.part_bytes - 1}")
    assert [path.name for path in tmp_path.glob("*users*")] == [target.name]
    assert target.read_bytes() == (s3_machine.settings().backup_dir / entry.file).read_bytes()


def test_a_restore_that_was_cut_off_goes_on_with_what_is_missing(
    s3_machine: Machine, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In scratch space, where nothing else of it is left."""
    entry = s3_machine.back_up()
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None]
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    with FaultyS3(s3_server.url, ["GET pass"] * 5, always="500") as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url, NOMIC_DIR=str(tmp_path / "empty"))
        with pytest.raises(UnreachableError):
            restore("users", settings)
        [left] = (tmp_path / "scratch").iterdir()
        assert left.stat().st_size == 2 * s3_machine.part_bytes  # after two listings and the line
        faulty.always = ""
        faulty.requests.clear()
        restore("users", settings)
        assert faulty.count("GET") == 3 + -(-entry.size_bytes // s3_machine.part_bytes) - 2
    assert list((tmp_path / "scratch").iterdir()) == []
    assert (tmp_path / "empty" / "aragora_users.db").read_bytes()[:6] == b"SQLite"


def test_a_bit_that_flips_on_the_way_here_is_never_published(
    s3_machine: Machine, s3_server: S3Server, tmp_path: Path
) -> None:
    """What is off-site is whole, and the next attempt brings it."""
    entry = s3_machine.back_up()
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None]
    target = tmp_path / entry.file
    with FaultyS3(s3_server.url, ["GET pass", "GET flip answer"]) as faulty:
        with pytest.raises(DamagedError):
            fetch(entry, target, s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url))
        assert list(tmp_path.glob("*users*")) == []
    fetch(entry, target, s3_machine.settings())
    assert target.read_bytes() == (s3_machine.settings().backup_dir / entry.file).read_bytes()


def test_somebody_elses_page_is_no_empty_bucket(s3_machine: Machine, s3_server: S3Server, tmp_path: Path) -> None:
    """Who restores on an empty machine behind a sign-in page is not told that there is no backup."""
    entry = s3_machine.back_up()
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None]
    with FaultyS3(s3_server.url, always="portal") as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url, NOMIC_DIR=str(tmp_path / "empty"))
        for ask in (
            lambda: restore("users", settings),
            lambda: remote_entries(settings),
            lambda: fetch(entry, tmp_path / entry.file, settings),
        ):
            with pytest.raises(UnreachableError, match="no S3 server"):
                ask()


@pytest.mark.parametrize(("faults", "found"), [(["GET pass", "GET gone"], 1), (["GET pass"] * 4 + ["GET gone"], 2)])
def test_what_expires_while_it_is_listed_ends_no_listing(
    s3_machine: Machine, s3_server: S3Server, faults: list[str], found: int
) -> None:
    """A line that has gone is not listed; a backup whose part has gone is not whole."""
    for database in ("users", "elo"):
        s3_machine.back_up(database, size_bytes=1)
    assert [outcome.error for outcome in ship(s3_machine.settings())] == [None] * 2
    with FaultyS3(s3_server.url, faults) as faulty:
        settings = s3_machine.settings(ARAGORA_OFFSITE_ENDPOINT=faulty.url)
        states = [one.state for one in check(settings, look(settings))]
        assert list(faulty.faults) == []
    expected = [RemoteState.WHOLE] if found == 1 else [RemoteState.INCOMPLETE, RemoteState.WHOLE]
    assert states == expected


@pytest.mark.parametrize("machine", ["s3_machine", "folder_machine"], indirect=True)
def test_two_that_ship_at_once_make_everything_once(machine: Machine) -> None:
    """As the sidecar does, and somebody by hand."""
    entries = [machine.back_up(size_bytes=300_000) for _ in range(3)]
    command = (sys.executable, "-m", "aragora_persist", "--nomic-dir", str(machine.home), "backups", "--ship")
    both = [
        subprocess.Popen(command, env=machine.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert remote_entries(machine.settings()) == tuple(entries)
    assert len(machine.names()) == 2 * len(entries)  # one part each, and a line


def test_the_secret_is_in_no_text(s3_machine: Machine, s3_server: S3Server, tmp_path: Path) -> None:
    """Not where it is right, nor where it is wrong, nor in an error with all that belongs to it."""
    s3_machine.back_up()
    wrong = "a-wrong-secret-nobody-may-read"
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{SECRET_ACCESS_KEY}\n")
    texts = []
    from_file = {"ARAGORA_OFFSITE_SECRET_ACCESS_KEY": "", "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE": str(secret_file)}
    for arguments, more in (
        (("--offsite", "-v"), {"ARAGORA_OFFSITE_SECRET_ACCESS_KEY": wrong}),
        (("--ship", "-v", "--json"), {"ARAGORA_OFFSITE_SECRET_ACCESS_KEY": wrong}),
        (("--ship", "-v"), {"ARAGORA_OFFSITE_URL": "s3://no-such-bucket", **from_file}),
    ):
        done = subprocess.run(
            (sys.executable, "-m", "aragora_persist", "--nomic-dir", str(s3_machine.home), "backups", *arguments),
            env={**s3_machine.environ, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        texts.append(done.stdout + done.stderr)
    assert "403 SignatureDoesNotMatch" in texts[0]
    assert "StringToSign" not in texts[0]  # what servers answer to a wrong signature, with all that was signed
    texts += [repr(objects.Objects(s3_machine.settings()).__dict__), str(s3_machine.settings())]
    assert [text for text in texts if SECRET_ACCESS_KEY in text or wrong in text] == []
    assert ACCESS_KEY_ID in texts[-1]
    assert s3_server.url in texts[-2]


@pytest.mark.parametrize(
    ("variable", "value", "target"),
    [
        ("ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE", "/no/such/file", "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE"),
        ("ARAGORA_OFFSITE_URL", "ftp://bucket", "ARAGORA_OFFSITE_URL"),
    ],
)
def test_a_setting_that_cannot_work_is_told_before_anything_is_tried(
    s3_machine: Machine, variable: str, value: str, target: str
) -> None:
    """By its name."""
    s3_machine.back_up()
    s3_machine.environ["ARAGORA_OFFSITE_SECRET_ACCESS_KEY"] = "" if variable.endswith("_FILE") else SECRET_ACCESS_KEY
    with pytest.raises(InvalidValueError) as refused:
        list(ship(s3_machine.settings(**{variable: value})))
    assert refused.value.target == target
    assert s3_machine.names() == []


def test_without_the_library_it_is_said_how_to_get_it(folder_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups themselves need none of it."""
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    folder_machine.back_up()
    with pytest.raises(UnsupportedError, match=r"pip install 'aragora-persist\[backup\]'"):
        list(ship(folder_machine.settings()))
