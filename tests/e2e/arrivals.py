"""What has arrived in a stack's Supabase, compared with where it came from: git's own listings, and a trace."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from psycopg.rows import dict_row

from aragora_persist.cloud.models import MODELS
from infra.toolchain.environment import REPOSITORY as ROOT
from tests.e2e import records
from tests.e2e.running_stack import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.running_stack import RunningStack

_OF_THE_SERVER = {"id", "revision", "inserted_at"}
_TABLES = [model.TABLE for model in MODELS]
_FUNCTIONS = ("loop_summary", "agent_stats")


def wait_delivered(stack: RunningStack) -> None:
    """Wait until nothing is on its way any more, and nothing was refused."""

    def delivered() -> bool:
        outbox = stack.ask("sqlite", "sync", "--status")
        assert outbox["dead_letters"] == 0, outbox
        return bool(outbox["pending"] == 0)

    wait_for(delivered, "the outbox to be empty")


def rows(stack: RunningStack) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table, in the order of their keys."""
    with closing(psycopg.connect(stack.supabase_env()["SUPABASE_DB_URL"], row_factory=dict_row)) as database:
        return {table: database.execute(f"SELECT * FROM {table} ORDER BY id".encode()).fetchall() for table in _TABLES}


def check_imports(stack: RunningStack, clone: Path) -> None:
    """Compare what was imported with git's own listings and with the trace; nothing else may be there."""
    found = rows(stack)
    _check_keys(found)
    expected = runpy.run_path(str(ROOT / "scripts" / "bench" / "import_git_history.py"))["expected"](clone)
    of_git = Counter(_history_of(found))
    assert (expected - of_git, of_git - expected) == (Counter(), Counter())
    _check_trace(found)


def _check_keys(found: dict[str, list[dict[str, Any]]]) -> None:
    """Make each row's key again from what the row says."""
    for model in MODELS:
        for row in found[model.TABLE]:
            fields = {name: value for name, value in row.items() if name not in _OF_THE_SERVER}
            if "id" in model.__dataclass_fields__:
                fields["id"] = None
            assert model(**fields).key() == str(row["id"]), row


def _history_of(found: dict[str, list[dict[str, Any]]]) -> list[tuple[object, ...]]:
    """Return the rows of git's history as the listing of ``expected`` has them."""
    shas = {row["cycle_number"]: row["git_commit"] for row in found["nomic_cycles"]}
    letters = {"added": "A", "deleted": "D", "modified": "M", "type_changed": "T"}
    listed: list[tuple[object, ...]] = []
    for row in found["nomic_cycles"]:
        times = (int(row[name].timestamp()) for name in ("started_at", "completed_at"))
        listed.append(("cycle", row["git_commit"], *times, row["task_description"]))
    for row in found["cycle_evolution"]:
        assert row["git_commit"] == shas[row["cycle_number"]]
        listed.append(("evolution", row["git_commit"], row["winning_proposal_summary"]))
    listed += [("rollback", shas[row["cycle_number"]], row["rolled_back_commit"]) for row in found["nomic_rollbacks"]]
    for row in found["cycle_file_changes"]:
        counts = (row["insertions"], row["deletions"])
        letter = letters[row["change_type"]]
        listed.append(("change", shas[row["cycle_number"]], row["file_path"].encode(), letter, *counts))
    return listed


def _check_trace(found: dict[str, list[dict[str, Any]]]) -> None:
    events = json.loads(records.trace())["events"]
    arrived = sorted((row["event_data"] for row in found["stream_events"]), key=lambda data: data["trace_position"])
    assert arrived == [{**event, "trace_position": position} for position, event in enumerate(events)]
    [debate] = found["debate_artifacts"]
    assert [said["content"] for said in debate["transcript"]] == [event["content"] for event in events]
    metrics = {row["agent_name"]: row["messages_sent"] for row in found["agent_metrics"]}
    assert metrics == {"ann": 10, "bob": 10}


def check_strangers(stack: RunningStack) -> None:
    """Let callers without the service's key try everything: they see nothing and change nothing."""
    before, env = rows(stack), stack.supabase_env()
    publishable = stack.files.secret_config()["supabasePublishableKey"]
    unknown = f"{env['SUPABASE_KEY']}x"
    strangers: list[dict[str, str]] = [
        {},
        {"apikey": unknown},
        {"apikey": publishable},
        {"apikey": publishable, "Authorization": f"Bearer {publishable}"},
        {"apikey": publishable, "Authorization": f"Bearer {env['SUPABASE_KEY']}"},
    ]
    with httpx.Client(base_url=f"{env['SUPABASE_URL']}/rest/v1", timeout=30) as client:
        for verb, path in _requests():
            for headers in strangers:
                answer = client.request(verb, path, headers=headers, json=_body(verb, path))
                assert answer.status_code in {401, 403}, (verb, path, answer.text)
                assert "loop_id" not in answer.text
        known = client.get("/nomic_cycles?limit=1", headers={"apikey": env["SUPABASE_KEY"]})
        assert (known.status_code, len(known.json())) == (200, 1)
    assert rows(stack) == before


def _requests() -> list[tuple[str, str]]:
    tables = [(verb, f"/{table}") for table in _TABLES for verb in ("GET", "HEAD", "POST")]
    # PostgREST wants a filter, or it refuses for that reason alone.
    tables += [(verb, f"/{table}?id=not.is.null") for table in _TABLES for verb in ("PATCH", "DELETE")]
    return tables + [("POST", f"/rpc/{function}") for function in _FUNCTIONS]


def _body(verb: str, path: str) -> dict[str, str] | None:
    if path.startswith("/rpc/"):
        return {"p_loop_id": "load"}
    return {"loop_id": "of a stranger"} if verb in {"POST", "PATCH"} else None
