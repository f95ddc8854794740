"""``restore --at`` with the real Litestream: the very moment, a backup that is of it, or what there is instead."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.restore.origins import LITESTREAM
from aragora_persist.backup.restore.restoring import Way, restore
from aragora_persist.backup.take import take_backup
from aragora_persist.errors import NotFoundError, UnsupportedError
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.times import utc_now
from tests.shipping import ship, shipping
from tests.unit.tokens import add

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.storage.sqlite.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("litestream")]
pytest_plugins = ("tests.litestream_fixtures",)


def jtis(engine: Engine) -> list[str]:
    """Return the tokens that a service sees that has the database open all the time."""
    with engine.read("look") as view:
        return [str(row[0]) for row in view.all("SELECT jti FROM token_blacklist ORDER BY jti")]


def test_a_moment_is_restored_into_the_live_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a service has it open and Litestream ships it; a moment before everything is that of a backup."""
    (tmp_path / "shipped").mkdir()
    url = (tmp_path / "shipped").as_uri()
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data"), "ARAGORA_LITESTREAM_URL": url})
    with open_engine(None, "tokens", settings=settings) as engine:
        add(engine, "a")
        entry = take_backup("tokens", settings)
        early = utc_now()
        add(engine, "b")
        with shipping(settings, "tokens"):
            then = ship(engine, settings, "c")
            ship(engine, settings, "d")
            result = restore("tokens", settings, at=then)
            assert jtis(engine) == ["a", "b", "c"]
            assert (result.way, result.equal) == (Way.INTO, True)
            assert (result.source, result.entry) == (LITESTREAM, None)
            assert result.moment is not None
            assert then - timedelta(minutes=1) < result.moment <= then
            assert restore("tokens", settings, at=entry.created_at, to=tmp_path / "exact.db").entry == entry
            instead = restore("tokens", settings, at=early, to=tmp_path / "early.db")
            assert (instead.entry, "nothing so early" in instead.notes[0]) == (entry, True)
            with pytest.raises(NotFoundError):
                restore("tokens", settings, at=entry.created_at - timedelta(days=1))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError):  # without Litestream, nothing goes back further than was said
        restore("tokens", settings, at=then)
