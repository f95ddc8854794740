"""`scripts/up`: bring a stack up, after the traces of a killed command are cleared, and say what runs where."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aragora_persist.cloud.schema import NOT_THERE, inspect_schema
from aragora_persist.errors import ConflictError, PersistError
from aragora_persist.settings import Secret
from infra.naming import CONTENTS, PROJECT, SUPABASE, resource_name
from infra.settings import HOSTED_URL, StackSettings, read_settings
from infra.stack.engine import StackOnEngine, engine
from infra.stack.files import StackFiles, state_dir
from infra.stack.given_secrets import check_given_secrets
from infra.stack.pulumi import Pulumi
from infra.stack.recovery import clear_dead_locks
from infra.stack.report import report

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = "stopped; the same command goes on from here"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        up(StackFiles(arguments.stack, root=ROOT, state=state_dir()), dict(arguments.config))
    except PersistError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED}", file=sys.stderr)  # noqa: T201 - as above
        return 130
    return 0


def up(files: StackFiles, overrides: dict[str, object]) -> None:
    """Bring the stack up.

    Raises:
        PersistError: it is not up; what was created stays, and the next call goes on from there.

    """
    started = time.monotonic()
    pulumi = Pulumi(files)
    with files.locked(), engine(files.name) as on_engine:
        wanted = read_settings(files.configured(overrides), files.name)
        on_engine.check_ports(wanted)
        files.write({})
        check_given_secrets(wanted, files.secret_config())
        check_data_stays(prepare(files, pulumi, on_engine), wanted, hosted=HOSTED_URL in files.secret_config())
        check_schema(files, wanted)
        files.write(overrides)
        files.write_supabase_env(wanted.supabase)
        try:
            # Where one half fails, the other must not be left with a container removed and its successor not made.
            pulumi.show(
                *("up", "--yes", "--skip-preview", "--suppress-outputs", "--continue-on-error"),
                *("--stack", files.name),
            )
        except PersistError:
            for container, log in on_engine.sick():
                print(f"\nLast words of {container}:\n{log}", file=sys.stderr)  # noqa: T201 - as above
            raise
        seconds = time.monotonic() - started
        print(report(pulumi.outputs(), on_engine, supabase_env=files.supabase_env, seconds=seconds))  # noqa: T201 - as above


def check_data_stays(state: Mapping[str, Any], wanted: StackSettings, *, hosted: bool = False) -> None:
    """Refuse to leave out a service, or a Supabase, that has volumes with data; ``hosted`` is one that is backed up.

    Pulumi would find that out after it has removed their containers and made others, and then refuse what was before
    as well as what is after.

    Raises:
        ConflictError: one is left out.

    """
    protected = {one["outputs"]["name"] for one in state.get("resources", ()) if one.get("protect")}
    stay = {resource_name(wanted.stack, each.name, content) for each in wanted.services for content in CONTENTS}
    supabase = resource_name(wanted.stack, SUPABASE, "data")
    if supabase in protected and wanted.supabase is None:
        raise ConflictError(
            "up",
            f"{PROJECT}:supabase",
            f"'none' would leave nobody for the records in {supabase}",
            hint=f"scripts/up {wanted.stack} --config supabase=local keeps them",
        )
    backups = resource_name(wanted.stack, SUPABASE, "backups")
    if backups in protected and wanted.supabase is None and not hosted:
        raise ConflictError(
            "up",
            f"{PROJECT}:{HOSTED_URL}",
            f"is not set any more, and would leave nobody for the backups in {backups}",
            hint="put it back into the stack's secrets",
        )
    if orphans := sorted(protected - stay - {supabase, backups}):
        raise ConflictError(
            "up",
            f"{PROJECT}:services",
            f"would leave no service for {', '.join(orphans)}",
            hint="a service keeps its data under its name: keep that name in the setting `services`",
        )


def check_schema(files: StackFiles, wanted: StackSettings) -> None:
    """Refuse what the running database would have the schema refused for, such as an edited migration.

    Pulumi would find that out after it has begun to change other parts. A database that does not run yet is asked then.

    Raises:
        PersistError: `up` would end with this.

    """
    if wanted.supabase is not None:
        url = Secret(wanted.supabase.database_url(files.secret_config()["supabaseDbPassword"]))
        with suppress(*NOT_THERE):
            inspect_schema(url).check()


def prepare(files: StackFiles, pulumi: Pulumi, on_engine: StackOnEngine) -> dict[str, Any]:
    """Leave a stack that exists, has its secrets, and bears no traces of a killed command; return what it recorded."""
    if clear_dead_locks(files):
        _say("cleared the lock of a command that was killed")
    if not pulumi.exists():
        pulumi.ask("stack", "init", files.name)
    pulumi.set_secrets()
    state = pulumi.state()
    for name in on_engine.remove_leftovers({resource.get("id", "") for resource in state.get("resources", ())}):
        _say(f"removed {name}, which a command that was killed or failed had left")
    if state.get("pending_operations"):
        _say("a command was killed in the middle: looking at what is there")
        pulumi.show("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", files.name)
    return state


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - as above


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Bring a stack up on the local container engine; a second call changes nothing.",
        epilog="A second stack beside the first: scripts/up other --config port=8887 --config supabasePort=54421 "
        "--config supabaseDbPort=54422",
    )
    parser.add_argument("stack", nargs="?", default="dev", metavar="STACK", help="its name (default: %(default)s)")
    parser.add_argument(
        "--config",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_setting,
        help="a setting of Pulumi.yaml for this stack, kept for later calls (repeatable)",
    )
    return parser


def _setting(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{json.dumps(value)} is not a value") from error


if __name__ == "__main__":
    sys.exit(main())
