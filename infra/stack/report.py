"""What runs where, as text: the last thing that `scripts/up` says. It asks the containers themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aragora_persist.wording import span_text

if TYPE_CHECKING:
    from pathlib import Path

    from infra.stack.engine import StackOnEngine


def report(outputs: dict[str, Any], on_engine: StackOnEngine, *, supabase_env: Path, seconds: float) -> str:
    """Return the pages, the databases with their schema versions and newest verified backups, and the time it took.

    The sidecar is asked: it alone sees both the databases and their backups. It was healthy before `up` ended, so
    there is a backup. Of Supabase's keys, the file ``supabase_env`` that holds them is named.
    """
    lines = []
    for name, service in outputs["services"].items():
        status = json.loads(on_engine.run(service["sidecar"], "aragora-persist", "status", "--json"))
        lines += [
            "",
            f"{name}: {service['url']}",
            *(_line(one) for one in status["databases"] if one["name"] in service["databases"]),
        ]
        lines += [f"  data in volume {service['data_volume']}, backups in {service['backups_volume']}"]
    if supabase := outputs.get("supabase"):
        lines += ["", *(_own(supabase, supabase_env) if "url" in supabase else _hosted(supabase))]
    library = outputs["library"]
    lines += ["", f"library: volume {library['volume']}, release {library['release']}"]
    return "\n".join([*lines, "", f"up in {seconds:.1f} s"])


def _own(supabase: dict[str, Any], env: Path) -> list[str]:
    return [
        f"supabase: {supabase['url']}",
        f"  schema {supabase['migrations'][-1]}, database on port {supabase['database_port']}",
        f"  data in volume {supabase['data_volume']}, backups in {supabase['backups_volume']}",
        f"  URL, key and database URL in {env}",
    ]


def _hosted(supabase: dict[str, Any]) -> list[str]:
    return ["supabase: a hosted one", f"  backups in volume {supabase['backups_volume']}"]


def _line(database: dict[str, Any]) -> str:
    backup = database["newest_backup"]
    newest = f"backup verified {span_text(backup['age_s'])} ago" if backup else "no backup yet"
    return f"  {database['name']:<10} schema {database['schema_version']:<3} {newest}"
