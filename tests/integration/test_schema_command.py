"""The verb `supabase`: what an operator sees, and what a script can rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aragora_persist.cli import main
from aragora_persist.cloud.schema.folder import load, shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.schema_databases import Database

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.schema_fixtures",)

TITLES = [file.title for file in load(shipped_folder())]


def test_from_nothing_to_everything(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looked at, rehearsed, applied, and applied again; the URL may be in a file."""
    (tmp_path / "url").write_text(f"{database.url}\n")
    monkeypatch.setenv("SUPABASE_DB_URL_FILE", str(tmp_path / "url"))

    def said(*arguments: str) -> str:
        assert main(["supabase", *arguments]) == 0
        return capsys.readouterr().out

    assert said("status").count("  pending\n") == len(TITLES)
    assert json.loads(said("apply", "--dry-run", "--json")) == {"would_apply": TITLES}
    assert said("apply", "--dry-run") == "".join(f"would apply {title}\n" for title in TITLES)
    assert said("apply") == "".join(f"applied {title}\n" for title in TITLES)
    assert said("apply") == said("apply", "--dry-run") == "nothing to do\n"
    assert json.loads(said("apply", "--json")) == {"applied": []}
    assert json.loads(said("status", "--json")) == {
        "database": database.url.rpartition("@")[2],
        "applied": TITLES,
        **{key: [] for key in ("pending", "late", "edited", "unknown", "drift")},
    }


def test_drift_is_shown_and_showing_it_is_a_success(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `status` shows whatever it is."""
    monkeypatch.setenv("SUPABASE_DB_URL", database.url)
    main(["supabase", "apply"])
    database.do("alter table nomic_cycles add extra integer")

    assert main(["supabase", "status"]) == 0
    assert "Drift:    public.nomic_cycles: column extra integer is there, no migration" in capsys.readouterr().out


def test_what_was_removed_by_hand_is_not_said_to_be_done(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told to apply, because a table is not there, one learns that no migration brings it back, and what does."""
    monkeypatch.setenv("SUPABASE_DB_URL", database.url)
    main(["supabase", "apply"])
    database.do("drop table stream_events")
    capsys.readouterr()

    assert main(["supabase", "apply"]) == 0
    done, drift, way_out = capsys.readouterr().out.splitlines()
    assert (done, drift) == ("nothing to do", "Drift:    public.stream_events: is missing")
    assert "run what supabase/migrations says of what is missing" in way_out


def test_without_a_database_the_error_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    """The way out names both variables."""
    assert main(["supabase", "apply"]) == 1

    said = capsys.readouterr().err
    assert "SUPABASE_DB_URL: is not set" in said
    assert "SUPABASE_DB_URL_FILE" in said
