"""Any moment that was shipped is restored: with the real Litestream, real kills and a real S3 server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.litestream import audit, sidecar
from aragora_persist.backup.litestream.configuration import configuration
from aragora_persist.backup.litestream.record import read_record
from aragora_persist.backup.litestream.replica import Replica
from aragora_persist.backup.point_in_time import restore_moment
from aragora_persist.backup.restore.restoring import restore
from aragora_persist.backup.take import take_backup
from aragora_persist.backup.verify import verify
from aragora_persist.errors import BusyError, NotFoundError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.times import to_text, utc_now
from tests.documented import Page, Reader
from tests.s3_server import SECRET_ACCESS_KEY, S3Server
from tests.shipping import has_shipped, litestreams, newest_shipped, ship, shipping
from tests.unit.tokens import add
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.sqlite.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("litestream")]
pytest_plugins = ("tests.litestream_fixtures",)

MEGABYTE = 2**20
LARGE = (
    "INSERT OR REPLACE INTO token_blacklist (jti, reason, expires_at, revoked_at)"
    " VALUES (?, hex(randomblob(?)), 'x', 'y')"
)
WRITER = """
    import sys, time
    from aragora_persist.storage.sqlite.engine import open_engine
    engine = open_engine(sys.argv[1], "tokens")
    for number in range(10**6):
        begun = time.time()
        with engine.transaction("add") as tx:
            tx.execute("INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, 'x', 'y')", (str(number),))
        print(begun, time.time(), flush=True)
        time.sleep(0.002)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for empty folders, one of which takes what is shipped."""
    (tmp_path / "shipped").mkdir()
    environ = {"NOMIC_DIR": tmp_path / "data", "ARAGORA_LITESTREAM_URL": (tmp_path / "shipped").as_uri()}
    return Settings.from_env({name: str(text) for name, text in environ.items()} | {"DB_TIMEOUT": "30"})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Open the smallest of the databases, with two megabytes in it that no transaction touches again."""
    with open_engine(None, "tokens", settings=settings) as engine:
        fill(engine, "large", 2)
        yield engine


def fill(engine: Engine, jti: str, megabytes: int) -> None:
    """Write so much, of what cannot be compressed by more than a half."""
    engine.write("fill", lambda tx: tx.execute(LARGE, (jti, megabytes * MEGABYTE // 2)))


def jtis_in(path: Path) -> set[str]:
    """Return which tokens a file holds, but for the large ones, after it was found sound."""
    verify(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT jti FROM token_blacklist WHERE reason IS NULL")}


def jtis_at(settings: Settings, at: datetime, path: Path) -> set[str]:
    """Return which tokens there were at a moment."""
    path.unlink(missing_ok=True)
    assert restore_moment("tokens", at, path, settings) <= at
    return jtis_in(path)


def test_every_moment_is_restored_and_backups_beside_it_cost_no_new_copy(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    """At each moment exactly the rows of then; what was written last is shipped at the stop."""
    with shipping(settings, "tokens", "users") as whole:
        first = ship(engine, settings, "a")
        second = ship(engine, settings, "b", "c")
        entries = [take_backup("tokens", settings), take_backup("tokens", settings)]
        third = ship(engine, settings, "d")
        add(engine, "e")
    assert whole == [True]
    wanted = [(first, {"a"}), (second, {"a", "b", "c"}), (third, {"a", "b", "c", "d"}), (utc_now(), {*"abcde"})]
    for at, jtis in wanted:
        assert jtis_at(settings, at, tmp_path / "then.db") == jtis
    sizes = [path.stat().st_size for path in sorted((tmp_path / "shipped/tokens/ltx/0").iterdir())]
    assert sizes[0] > MEGABYTE > max(sizes[1:])
    jtis_at(settings, entries[0].created_at, tmp_path / "then.db")
    assert verify(tmp_path / "then.db").content == entries[0].content
    with pytest.raises(NotFoundError, match="only from"):
        restore_moment("tokens", first - timedelta(days=1), tmp_path / "never.db", settings)
    with pytest.raises(NotFoundError, match="nothing yet"):
        restore_moment("users", utc_now(), tmp_path / "never.db", settings)
    assert not (tmp_path / "never.db").exists()


def test_the_record_tells_of_what_is_shipped(
    engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """For who has no key: the newest shipped transaction, and that nothing waits; without it, shipping goes on."""
    with shipping(settings, "tokens"):
        before = ship(engine, settings, "a") - timedelta(seconds=PATIENCE_S)

        def is_told() -> bool:
            record = read_record(settings.backup_dir)
            one = record.databases["tokens"] if record else None
            return bool(one and one.newest_at and one.newest_at > before and not one.behind_since and one.file)

        wait_until(is_told, "the record")
        impatient = Settings.from_env(
            {"NOMIC_DIR": str(settings.nomic_dir), "ARAGORA_LITESTREAM_URL": settings.litestream_url, "DB_TIMEOUT": "0"}
        )
        with pytest.raises(BusyError, match="another Litestream"):
            sidecar.run(impatient, threading.Event(), ["tokens"])
        lost = settings.backup_dir.rename(settings.nomic_dir / "lost")
        wait_until(lambda: "cannot be written" in caplog.text, "the sidecar to miss it")
        ship(engine, settings, "b")
        lost.rename(settings.backup_dir)
    record = read_record(settings.backup_dir)
    assert record is not None
    assert record.databases["tokens"].newest_at == newest_shipped("tokens", settings)


def test_after_kills_every_row_that_was_acknowledged_and_shipped_is_there_and_none_after(
    settings: Settings, tmp_path: Path
) -> None:
    """Of a writer and of Litestream; the sidecar starts another one, which goes on where that one stood."""
    acknowledged: list[tuple[float, float]] = []
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(settings.nomic_dir / "aragora_tokens.db")]
    with shipping(settings, "tokens"), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            begun, done = map(float, line.split())
            acknowledged.append((begun, done))
            if len(acknowledged) == 150:
                first = datetime.fromtimestamp(acknowledged[0][1], UTC)
                wait_until(lambda first=first: has_shipped(settings, first), "the first row")  # type: ignore[misc] # a default binds the moment
                [killed] = litestreams()
                os.kill(killed, signal.SIGKILL)
            if len(acknowledged) == 400:
                writer.kill()
        wait_until(lambda: len(litestreams()) == 1, "another Litestream")
        with open_engine(None, "tokens", settings=settings) as engine:
            ship(engine, settings, "later")
    last = jtis_at(settings, utc_now(), tmp_path / "then.db")
    assert last >= {str(number) for number in range(len(acknowledged))}
    for number in (149, 300, 399):
        at = datetime.fromtimestamp(acknowledged[number][1], UTC)
        reached = restore_moment("tokens", at, tmp_path / f"{number}.db", settings)
        # What was acknowledged while it looked may be in the next file: all from before that are in this one.
        look = restore_moment("tokens", reached - timedelta(milliseconds=1), tmp_path / f"{number}-before.db", settings)
        jtis = jtis_in(tmp_path / f"{number}.db")
        assert {str(n) for n, (_, done) in enumerate(acknowledged) if done < look.timestamp()} <= jtis
        assert jtis <= {str(n) for n, (begun, _) in enumerate(acknowledged) if begun <= at.timestamp()}


def test_a_restore_under_litestream_is_shipped_like_any_write(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the live database, from a backup without Litestream's tables; what it takes away comes again."""
    monkeypatch.setattr(sidecar, "_FAILING_S", 0.2)
    add(engine, "old")
    take_backup("tokens", settings)
    with shipping(settings, "tokens"):
        ship(engine, settings, "new")
        restore("tokens", settings)
        after = ship(engine, settings, "after")
        assert jtis_at(settings, after, tmp_path / "then.db") == {"old", "after"}
        fill(engine, "checkpoint", 6)

        def has_tables() -> bool:
            with engine.read("look") as view:
                return view.one("SELECT count(*) FROM sqlite_master WHERE name LIKE '!_litestream!_%' ESCAPE '!'") == (
                    2,
                )

        wait_until(has_tables, "Litestream's tables")
        again = ship(engine, settings, "again")
    assert jtis_at(settings, again, tmp_path / "then.db") == {"old", "after", "again"}


def test_what_litestream_keeps_beside_the_database_may_be_damaged(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still at that for ever; the sidecar says so, and has it begin anew."""
    monkeypatch.setattr(sidecar, "_FAILING_S", 0.2)
    with shipping(settings, "tokens") as whole:
        ship(engine, settings, "a")
        kept = settings.nomic_dir / ".aragora_tokens.db-litestream/ltx/0"
        max(kept.iterdir()).write_bytes(b"LTX1")
        last = ship(engine, settings, "b")
    assert whole == [True]
    assert jtis_at(settings, last, tmp_path / "then.db") == {"a", "b"}
    assert verify(tmp_path / "then.db").content == take_backup("tokens", settings).content


def test_what_was_shipped_may_vanish(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Litestream would ship on for a day what nobody can restore; the sidecar has it begin with a full copy."""
    monkeypatch.setattr(audit, "_EVERY_S", 0.2)
    with shipping(settings, "tokens", "users"):
        ship(engine, settings, "a")
        shutil.rmtree(tmp_path / "shipped/tokens")
        add(engine, "b")
        wait_until(lambda: Replica("tokens", settings).has_beginning(), "a full copy")
        last = ship(engine, settings, "c")
    assert jtis_at(settings, last, tmp_path / "then.db") == {"a", "b", "c"}


def test_a_file_that_takes_the_place_of_the_shipped_one_is_shipped_whole(settings: Settings, tmp_path: Path) -> None:
    """Litestream would go on with the old file's pages and the new one's log."""
    path = settings.nomic_dir / "aragora_tokens.db"
    for name in ("new", "old"):
        with open_engine(None, "tokens", settings=settings) as engine:
            fill(engine, f"large-{name}", 2)
            add(engine, name)
        if name == "new":
            path.rename(tmp_path / "new.db")
    with shipping(settings, "tokens"):
        wait_until(lambda: newest_shipped("tokens", settings) is not None, "the old file to be shipped")
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        (tmp_path / "new.db").rename(path)
        with open_engine(None, "tokens", settings=settings) as engine:
            add(engine, "at once")

            def is_known() -> bool:
                record = read_record(settings.backup_dir)
                return bool(record and record.databases["tokens"].file == sidecar.file_identity(path))

            wait_until(is_known, "a full copy")
            later = ship(engine, settings, "later")
    assert jtis_at(settings, later, tmp_path / "then.db") == {"new", "at once", "later"}
    assert verify(tmp_path / "then.db").content == take_backup("tokens", settings).content


def test_the_log_stays_small_under_writes(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    """Litestream alone brings it back into the file, again and again; nothing is lost by that."""
    with shipping(settings, "tokens"):
        for number in range(6):
            fill(engine, f"more-{number % 3}", 8)
            last = ship(engine, settings, str(number))
        assert (settings.nomic_dir / "aragora_tokens.db-wal").stat().st_size < 40 * MEGABYTE
    assert jtis_at(settings, last, tmp_path / "then.db") == {str(number) for number in range(6)}


def test_commands_answer_what_the_page_says(tmp_path: Path) -> None:
    """One after the other in one home, with a sidecar beside them, as a reader would give them."""
    page, reader, at = Page("litestream.md"), Reader(tmp_path), ""
    with ExitStack() as stack:
        for command, wanted in page.commands:
            reader.gets(command.replace("2026-11-23T13:54:14Z", at), wanted)
            if "migrate" in command:
                at = begin_to_ship(tmp_path, variables(reader.exports), stack)
            if "--to" in command:
                stack.close()
    assert len(page.commands) >= 8


def begin_to_ship(home: Path, environ: dict[str, str], stack: ExitStack) -> str:
    """Run a sidecar until ``stack`` is closed, and return a moment after it has shipped something."""
    settings = Settings.from_env({"NOMIC_DIR": str(home / ".aragora"), **environ})
    stack.enter_context(shipping(settings, "users"))

    def is_told() -> bool:
        record = read_record(settings.backup_dir)
        return record is not None and record.newest_at is not None

    wait_until(is_told, "the first transaction to be shipped")
    return to_text(utc_now())


def variables(exports: list[str]) -> dict[str, str]:
    """Return what a shell's lines export."""
    return dict(re.findall(r"^export (\w+)=(\S+)$", "\n".join(exports), re.MULTILINE))


def test_an_s3_server_that_goes_and_comes_is_caught_up_with(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be shipped is told, and shipped later; no secret is in an argument or a file of ours."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path))
    with S3Server(tmp_path / "s3") as server:
        server.make_bucket("moments")
        environ = {**server.environ("unused"), "NOMIC_DIR": str(settings.nomic_dir), "DB_TIMEOUT": "30"}
        settings = Settings.from_env({**environ, "ARAGORA_LITESTREAM_URL": "s3://moments/of/tokens"})
        with shipping(settings, "tokens"):
            first = ship(engine, settings, "a")
            [pid] = litestreams()
            assert SECRET_ACCESS_KEY not in Path(f"/proc/{pid}/cmdline").read_text()
            assert SECRET_ACCESS_KEY not in configuration({"tokens": settings.nomic_dir}, settings)
            server.stop()
            add(engine, "b")

            def is_behind() -> bool:
                record = read_record(settings.backup_dir)
                return bool(record and record.databases["tokens"].behind_s(utc_now()) > 2)

            wait_until(is_behind, "the record to say that something waits")
            server.start()
            second = ship(engine, settings, "c")
        assert jtis_at(settings, first, tmp_path / "then.db") == {"a"}
        assert jtis_at(settings, second, tmp_path / "then.db") == {"a", "b", "c"}
        assert {path.name for path in (tmp_path / "s3/moments/of/tokens").iterdir()} == {"tokens"}
