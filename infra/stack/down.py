"""`scripts/down`: take a stack down and keep its data, or, asked twice, remove that too."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from aragora_persist.errors import InvalidValueError, PersistError
from infra.stack.engine import StackOnEngine, engine
from infra.stack.files import StackFiles, state_dir
from infra.stack.pulumi import Pulumi
from infra.stack.recovery import clear_dead_locks
from infra.stack.up import INTERRUPTED, ROOT


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        files = StackFiles(arguments.stack, root=ROOT, state=state_dir())
        if arguments.delete_data:
            _confirm(arguments.stack, arguments.yes)
        down(files, delete_data=arguments.delete_data)
    except PersistError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED}", file=sys.stderr)  # noqa: T201 - as above
        return 130
    return 0


def down(files: StackFiles, *, delete_data: bool = False) -> None:
    """Take the stack down; its volumes with data stay unless ``delete_data``. The passphrase and secrets always stay.

    Raises:
        PersistError: it is not down, and may be taken down again.

    """
    pulumi = Pulumi(files)
    if not (delete_data or files.folder.is_dir()):
        _say(f"There is no stack {files.name}.")
        return
    with files.locked(), engine(files.name) as on_engine:
        files.write({})
        clear_dead_locks(files)
        if pulumi.exists():
            destroy = ("destroy", "--yes", "--skip-preview", "--stack", files.name)
            if delete_data:
                pulumi.ask("state", "unprotect", "--all", "--yes", "--stack", files.name)
                pulumi.show(*destroy)
                pulumi.ask("stack", "rm", "--yes", "--preserve-config", files.name)
            else:
                pulumi.show(*destroy, "--exclude-protected")
                volumes = ", ".join(on_engine.volumes()) or "none"
                _say(
                    f"\nData and backups stay, in these volumes: {volumes}.\nscripts/up {files.name} finds them again."
                )
        elif not delete_data:
            _say(f"There is no stack {files.name}.")
        if delete_data:
            _remove_rest(on_engine)
            files.forget()
            _say(f"Nothing of stack {files.name} is left on the engine; its secrets stay in {files.folder}.")


def _remove_rest(on_engine: StackOnEngine) -> None:
    """Remove the volumes, which Pulumi retains whatever it is told, and what a lost state has left."""
    for name in on_engine.remove_everything():
        _say(f"removed {name}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - as above


def _confirm(stack: str, given: str | None) -> None:
    """Have the stack's name said once more.

    Raises:
        InvalidValueError: another one was said, or none.

    """
    if given is None and sys.stdin.isatty():
        question = f"This deletes all data and all backups of stack {stack}. Its name, to go on: "
        # Not as the prompt of input(): several Pythons lose an interrupt that comes while it writes one.
        print(question, end="", flush=True)  # noqa: T201 - the command's question
        with suppress(EOFError):
            given = input()
    if given != stack:
        raise InvalidValueError(
            "down", "--delete-data", f"needs the stack's name, not {given!r}", hint=f"--delete-data --yes {stack}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/down", description="Take a stack down; databases and backups stay.")
    parser.add_argument("stack", nargs="?", default="dev", metavar="STACK", help="its name (default: %(default)s)")
    parser.add_argument("--delete-data", action="store_true", help="remove databases and backups as well")
    parser.add_argument("--yes", metavar="STACK", help="with --delete-data: the stack's name, instead of asking")
    return parser


if __name__ == "__main__":
    sys.exit(main())
