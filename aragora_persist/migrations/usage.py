"""Which arguments of the migrations' command line do not go together, or name what is not there.

Each is told as argparse tells its own errors (exit code 2), with the list of what exists. Nothing is changed or made.
Leaves out: what argparse itself refuses (``command``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from aragora_persist.databases import find_database
from aragora_persist.errors import InvalidValueError, PersistError, StorageError
from aragora_persist.migrations import folder, runner
from aragora_persist.redaction import redact
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.files import is_there, resolve

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

_SHOWN = 10
_VERSIONS = 1000  # that three digits can number


def check_usage(arguments: Namespace) -> Settings:
    """Return the settings that the arguments ask for.

    Raises:
        SystemExit: with 2; the arguments are wrong.

    """
    _check_modifiers(arguments)
    try:
        settings = Settings.from_env(nomic_dir=arguments.nomic_dir)
        if arguments.nomic_dir is not None and (arguments.status or arguments.dry_run or _rolls_back(arguments)):
            _require_folder(arguments, "--nomic-dir", arguments.nomic_dir)
        if arguments.folder is not None:
            _require_folder(arguments, "--dir", arguments.folder)
        if arguments.source is not None and not is_there(place := resolve(arguments.source)):
            _refuse(arguments, f"argument --from: {arguments.source} is not a file; {_nearby(place)}")
        if arguments.create is not None:
            from aragora_persist.migrations.creating import names_of  # noqa: PLC0415 - only a new file needs it

            names_of(arguments.create)
    except (InvalidValueError, StorageError) as error:
        _refuse(arguments, f"{error.target}: {error.problem}" + (f" ({error.hint})" if error.hint else ""))
    if arguments.rollback_to is not None:
        _check_version(arguments, settings)
    return settings


def _refuse(arguments: Namespace, problem: str) -> Never:
    arguments.refuse(redact(problem))
    raise AssertionError("argparse has ended the process")


def _rolls_back(arguments: Namespace) -> bool:
    return bool(arguments.rollback or arguments.rollback_to is not None)


def _check_modifiers(arguments: Namespace) -> None:
    others = arguments.status or arguments.check or arguments.create is not None or _rolls_back(arguments)
    one = arguments.create is not None or _rolls_back(arguments) or arguments.adopt
    for wrong, problem in (
        (one and arguments.database is None, "--create, --rollback, --rollback-to and --adopt need --db NAME"),
        (arguments.adopt and others, "--adopt goes with --migrate or --dry-run"),
        (arguments.source is not None and not arguments.adopt, "--from goes with --adopt"),
        (arguments.folder is not None and arguments.create is None, "--dir goes with --create"),
        (arguments.exit_code and not arguments.status, "--exit-code goes with --status"),
    ):
        if wrong:
            _refuse(arguments, problem)


def _require_folder(arguments: Namespace, option: str, name: str) -> None:
    if not (place := resolve(name)).is_dir():
        _refuse(arguments, f"argument {option}: {name} is not a folder; {_nearby(place)}")


def _check_version(arguments: Namespace, settings: Settings) -> None:
    """Refuse a number that is no version below the present one.

    What is wrong with the database or the files, the rollback itself tells, as every action does.
    """
    known, text = _versions(arguments.database, settings), arguments.rollback_to
    if text in map(str, range(_VERSIONS if known is None else len(known))):
        return
    problem = f"argument --rollback-to: {text!r} is not a version of {arguments.database} to go back to"
    if known is not None:
        problem += f"; there are: {', '.join(known)}" if known else "; it is at version 0"
    _refuse(arguments, problem)


def _versions(database: str, settings: Settings) -> list[str] | None:
    """Return the versions that the database can be taken back to, in words; None where that cannot be told."""
    try:
        migrations = folder.load(folder.folder_of(database))
        status = runner.status(find_database(database).path(settings.nomic_dir), database)
    except PersistError:
        return None
    if status.refusal is not None:
        return None
    names = ["0 (before the first)", *(f"{one.version} ({one.name})" for one in migrations)]
    return names[: status.version if status.exists else len(migrations)]


def _nearby(path: Path) -> str:
    """Say what there is where ``path`` was looked for: in the nearest folder that exists."""
    place = next(parent for parent in path.parents if parent.is_dir())
    try:
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in place.iterdir())
    except OSError:
        return f"{place} cannot be listed"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"in {place} there is: {', '.join(names[:_SHOWN])}{more}" if names else f"{place} is empty"
