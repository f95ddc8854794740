"""The command line: arguments, exit codes, errors. No logic.

Each verb is a module of ``aragora_persist.commands`` with ``run(arguments) -> int``, imported only when it is called,
so that ``--help`` starts as fast as Python does. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 141 the reader
of a pipe went away.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module

from aragora_persist.arguments import backed_up_name, database_name, moment, port, seconds, some_text
from aragora_persist.version import VERSION

TYPE_CHECKING = False  # as in typing, whose import would take a tenth of the time of `--help`
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # argparse gives the type of add_subparsers() no public name.
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - see above

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8787


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Raises:
        SystemExit: the arguments are wrong (2), or help was asked for (0).

    """
    arguments = _parse(argv)

    def run() -> int:
        code: int = import_module(f"aragora_persist.commands.{arguments.module}").run(arguments)
        return code

    return exit_code_of(run, verbose=arguments.verbose)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse looks for an optional FILE right behind DB only, and not in `restore users --migrate FILE`.
    if len(rest) == 1 and getattr(arguments, "file", "") is None and rest[0].strip() and not rest[0].startswith("-"):
        (arguments.file,) = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def exit_code_of(run: Callable[[], int], *, verbose: bool) -> int:
    """Return what ``run`` returns, or the exit code of its error, which is printed as every command prints errors."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path need not be text in the terminal's encoding
    try:
        code = run()
        _flush()  # here, so that a full disk behind a redirection is a failure
    except KeyboardInterrupt as interrupt:
        from aragora_persist.redaction import redact  # noqa: PLC0415 - only this error needs it

        for note in getattr(interrupt, "__notes__", ()):  # what it leaves
            print(f"aragora-persist: interrupted: {redact(note)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must reach the user redacted
        from aragora_persist.commands.console import print_error  # noqa: PLC0415 - only a failure needs it

        print_error(error, verbose=verbose)
        try:
            _flush()
        except OSError:
            _drop_output()
        return 1
    return code


def _flush() -> None:
    if sys.stdout is not None:  # who started us may have closed it
        sys.stdout.flush()


def _drop_output() -> None:
    """Drop what is still buffered and has nowhere to go: the interpreter would complain of it, or fail, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="aragora-persist", description="The persistence tier of an Aragora deployment."
    )
    parser.add_argument("--version", action="version", version=VERSION, help="show the version and exit")
    parser.set_defaults(nomic_dir=None, verbose=False)
    add_shared(parser)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (
        _status,
        _migrate,
        _backup,
        _backups,
        _restore,
        _replicate,
        _recover,
        _drill,
        _import,
        _sync,
        _supabase,
        _doctor,
        _serve,
    ):
        add(verbs)
    return parser


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    # No defaults here: those of a verb's parser would overwrite what stood before the verb.
    parser.add_argument(
        "--nomic-dir",
        metavar="DIR",
        type=some_text,
        default=argparse.SUPPRESS,
        help="database directory (default: NOMIC_DIR, or ~/.aragora)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )


def _verb(verbs: Verbs, name: str, summary: str, *, module: str = "", json: bool = True) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(module=module or name)
    add_shared(parser)
    if json:
        parser.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _add_databases(parser: argparse.ArgumentParser, *, backed_up: bool = False) -> None:
    parser.add_argument(
        "--db",
        metavar="NAME",
        dest="databases",
        type=backed_up_name if backed_up else database_name,
        action="append",
        help="only this database (repeatable)" + ("; supabase is never meant unnamed" if backed_up else ""),
    )


def _status(verbs: Verbs) -> None:
    _verb(verbs, "status", "show databases, schema versions, newest backups and the outbox; changes nothing")


def _migrate(verbs: Verbs) -> None:
    from aragora_persist.migrations.command import add_options  # noqa: PLC0415 - it imports this module

    add_options(_verb(verbs, "migrate", "bring databases to this release's schema"), required=False)


def _backup(verbs: Verbs) -> None:
    parser = _verb(verbs, "backup", "take a verified backup of every database that exists", json=False)
    _add_databases(parser, backed_up=True)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--json", action="store_true", help="answer in JSON")
    way.add_argument(
        "--every",
        metavar="SECONDS",
        type=seconds,
        nargs="?",
        const=0.0,
        help="go on for ever at this interval (without a number: ARAGORA_BACKUP_INTERVAL_SECONDS)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; say which backups would be kept and removed, and why"
    )
    parser.set_defaults(refuse=parser.error)


def _backups(verbs: Verbs) -> None:
    parser = _verb(verbs, "backups", "list the backups, newest first")
    _add_databases(parser, backed_up=True)
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--check",
        action="store_true",
        help="read every listed backup again; fail if one is damaged; name the files that no entry vouches for",
    )
    way.add_argument(
        "--health",
        action="store_true",
        help="list nothing; fail if the newest verified backup or the last good drill of a database is older than its"
        " objective, or missing, or if the last drill failed",
    )
    way.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=seconds,
        help="list nothing; fail if the newest verified backup of a database is older, or missing",
    )
    way.add_argument(
        "--rebuild",
        action="store_true",
        help="make a lost or damaged catalog anew from the files, each read and verified; the old one is kept aside",
    )
    way.add_argument("--ship", action="store_true", help="bring the backups off-site that are not there yet")
    parser.add_argument(
        "--offsite", action="store_true", help="list what is off-site; with --check, read and compare all of it"
    )
    parser.set_defaults(refuse=parser.error)


def _restore(verbs: Verbs) -> None:
    parser = _verb(verbs, "restore", "put a backup in the place of a database, or of all databases")
    parser.set_defaults(refuse=parser.error)
    parser.add_argument(
        "database",
        metavar="DB",
        type=backed_up_name,
        nargs="?",
        help="name of the database, such as users; supabase goes with --to only",
    )
    parser.add_argument(
        "file", metavar="FILE", type=some_text, nargs="?", help="a copy made by hand, in the place of a backup"
    )
    parser.add_argument("--all", action="store_true", help="all databases together, from the backups of one run")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--backup",
        metavar="ID",
        type=some_text,
        help="this backup, with --all this run (default: the newest verified one)",
    )
    which.add_argument(
        "--at",
        metavar="TIME",
        type=moment,
        help="as of this ISO 8601 time: the newest one from before it, or with Litestream the very moment",
    )
    parser.add_argument(
        "--to", metavar="PATH", type=some_text, help="into this new file (with --all: folder), not over what is live"
    )
    parser.add_argument(
        "--migrate", action="store_true", help="bring it to this release's schema before it takes anything's place"
    )


def _recover(verbs: Verbs) -> None:
    parser = _verb(verbs, "recover", "salvage what can be read of a damaged database into a new file")
    parser.add_argument("database", metavar="DB", type=database_name, help="name of the database, such as users")
    parser.add_argument(
        "--from", metavar="FILE", type=some_text, dest="source", help="the damaged file (default: the database's own)"
    )
    parser.add_argument("--to", metavar="PATH", type=some_text, help="the new file (default: beside the database)")


def _drill(verbs: Verbs) -> None:
    parser = _verb(
        verbs, "drill", "restore the newest backups into scratch space and compare them; changes no database"
    )
    _add_databases(parser, backed_up=True)
    parser.add_argument("--offsite", action="store_true", help="from off-site, not from this machine")


def _replicate(verbs: Verbs) -> None:
    parser = _verb(verbs, "replicate", "ship every transaction through Litestream until stopped", json=False)
    _add_databases(parser)
    parser.add_argument(
        "--max-lag",
        metavar="SECONDS",
        type=seconds,
        help="ship nothing; fail if nobody does, or if something has not been shipped for longer",
    )


def _import(verbs: Verbs) -> None:
    parser = verbs.add_parser("import", help="bring existing records in", description="Bring existing records in.")
    add_shared(parser)
    sources = parser.add_subparsers(title="sources", metavar="SOURCE", required=True)
    git = _verb(
        sources, "git", "turn each commit of a repository into a cycle, on its way to Supabase", module="import_git"
    )
    git.add_argument("repository", metavar="REPO", type=some_text, help="a git repository on this machine")
    git.add_argument(
        "--ref", metavar="REVISION", type=some_text, default="HEAD", help="import what this reaches (default: HEAD)"
    )
    replay = _verb(sources, "replay", "store a debate's trace file as a replay", module="import_replay")
    replay.add_argument("file", metavar="FILE", type=some_text, help="a trace file (JSON)")
    replay.add_argument("--accept-bad-checksum", action="store_true", help="take a file whose checksum is wrong")


def _sync(verbs: Verbs) -> None:
    parser = _verb(verbs, "sync", "send records to Supabase, or show those on their way")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--status", action="store_true", help="count what waits and what was refused, with the reasons")
    way.add_argument(
        "--once",
        action="store_true",
        help="send what waits; fail when something still waits, or was refused, at the end",
    )
    way.add_argument("--redrive", action="store_true", help="put the dead letters back on their way")


def _supabase(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "supabase",
        help="the project's database: its schema, and a backup into it",
        description="The project's database.",
    )
    add_shared(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    apply = _verb(actions, "apply", "apply the migrations that are pending", module="supabase")
    apply.add_argument("--dry-run", action="store_true", help="show what would be applied; change nothing")
    _verb(
        actions, "status", "show what is applied, what is pending and what differs; changes nothing", module="supabase"
    )
    restore = _verb(actions, "restore", "put a backup into the project's database", module="supabase")
    restore.add_argument("file", metavar="FILE", type=some_text, nargs="?", help="a dump, in the place of a backup")
    which = restore.add_mutually_exclusive_group()
    which.add_argument("--backup", metavar="ID", type=some_text, help="this backup (default: the newest one)")
    which.add_argument("--at", metavar="TIME", type=moment, help="the newest one from before this ISO 8601 time")
    restore.add_argument(
        "--replace",
        action="store_true",
        help="where the project has tables already: move them into schemas of their own first",
    )
    restore.set_defaults(refuse=restore.error)


def _doctor(verbs: Verbs) -> None:
    _verb(verbs, "doctor", "look for what is wrong on this machine, with the way out of each finding")


def _serve(verbs: Verbs) -> None:
    parser = _verb(verbs, "serve", "migrate, then serve the status page, health and metrics until stopped", json=False)
    _add_databases(parser)
    parser.add_argument("--host", metavar="ADDRESS", default=DEFAULT_HOST, help="listen here (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="listen on this port; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--backups", metavar="DIR", type=some_text, help="show the backups in this folder (default: ARAGORA_BACKUP_DIR)"
    )
    parser.add_argument(
        "--probe", action="store_true", help="ask a running service whether it is ready, and exit 0 or 1"
    )
