"""The command line of the migrations: ``python -m aragora_persist.migrations.runner`` and ``aragora-persist migrate``.

One definition of the actions and their modifiers for both. What they do is in ``commands.migrate``, which is imported
once the arguments are understood, so that ``--help`` starts as fast as Python does.
"""

from __future__ import annotations

import argparse

from aragora_persist import cli
from aragora_persist.arguments import database_name, some_text

TYPE_CHECKING = False  # as in cli
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the documented command line and return its exit code.

    Raises:
        SystemExit: the arguments are wrong (2), or help was asked for (0).

    """
    program = "python -m aragora_persist.migrations.runner"
    parser = argparse.ArgumentParser(prog=program, description="Migrations of the SQLite databases.")
    parser.set_defaults(nomic_dir=None, verbose=False)
    cli.add_shared(parser)
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    add_options(parser, required=True)
    arguments = parser.parse_args(argv)

    def run() -> int:
        from aragora_persist.commands import migrate  # noqa: PLC0415 - only once the arguments are understood

        return migrate.run(arguments)

    return cli.exit_code_of(run, verbose=arguments.verbose)


def add_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the actions, of which one is ``required`` or ``--migrate`` is meant, and their modifiers."""
    action = parser.add_mutually_exclusive_group(required=required)
    action.add_argument(
        "--status", action="store_true", help="show the schema version of each database; with -v, each migration"
    )
    action.add_argument(
        "--dry-run",
        action="store_true",
        help="rehearse on a copy: show each statement, its time, its rows, and the schema's difference",
    )
    default = "" if required else "; this is done when no action is named"
    action.add_argument("--migrate", action="store_true", help=f"apply what is pending{default}")
    action.add_argument("--create", metavar="DESC", help="write the file of the next migration")
    action.add_argument("--rollback", action="store_true", help="undo the last migration")
    action.add_argument("--rollback-to", metavar="N", help="undo every migration above version N")
    action.add_argument(
        "--check", action="store_true", help="look through the migrations for what would hurt; fail on a finding"
    )
    parser.add_argument("--db", metavar="NAME", dest="database", type=database_name, help="only this database")
    parser.add_argument("--no-backup", action="store_true", help="take no snapshot before a change")
    parser.add_argument("--exit-code", action="store_true", help="with --status: exit 1 unless every schema is current")
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="with --migrate or --dry-run: take over a database that another program made",
    )
    parser.add_argument(
        "--from",
        metavar="FILE",
        dest="source",
        type=some_text,
        help="with --adopt: the file to take over (default: what is in the database's place)",
    )
    parser.add_argument(
        "--dir",
        metavar="DIR",
        dest="folder",
        type=some_text,
        help="with --create: the folder to write into (default: the database's, in a checkout of the source)",
    )
    parser.set_defaults(refuse=parser.error)
