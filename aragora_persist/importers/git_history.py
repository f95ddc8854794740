"""The history of a git repository, read safely and in bounded memory.

Git runs without the user's and the system's configuration, without hooks, filters, external diffs, replacements or lazy
fetches, and without the ``GIT_*`` variables of its caller, so that the same repository reads the same everywhere, and
reading a stranger's repository runs nothing of it. Leaves out: what the commits are read for.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aragora_persist.errors import InvalidValueError, NotFoundError, PersistError, UnsupportedError
from aragora_persist.importers.git_listing import FORMAT, parse, split

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from aragora_persist.importers.git_listing import Commit

_OPERATION = "read git history"
_CHUNK_BYTES = 1 << 16

# On the command line, because the repository's own configuration beats everything else but this. Some of it only says
# what git does anyway: that a stranger's repository runs nothing of its own must not hang on a default.
_SETTINGS = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "diff.relative=false"),
    *("-c", "log.showRoot=true"),
    *("-c", "log.showSignature=false"),
)
_DIFF_OPTIONS = (
    *("--raw", "--numstat", "--no-renames", "--diff-algorithm=myers", "--ignore-submodules=none"),
    *("--no-ext-diff", "--no-textconv"),
)


class GitHistory:
    """The commits that a revision of a repository reaches.

    ``repository`` is a working tree, a folder in it, or a bare repository. The revision is resolved once: what comes
    later does not change what is read.

    Raises:
        NotFoundError: there is no such folder, or no such revision, or no commit yet.
        InvalidValueError: the folder is no git repository, or its history is not whole: a shallow or partial clone.
        UnsupportedError: git is not installed.

    """

    def __init__(self, repository: str | os.PathLike[str], ref: str = "HEAD") -> None:
        self.path = Path(repository)
        if not self.path.is_dir():
            raise NotFoundError(_OPERATION, self.path, "there is no such folder")
        self._refuse_what_is_not_whole()
        self.tip = self._resolve(ref)

    def root(self) -> str:
        """Return the first commit of the line of first parents: the same one whatever is merged later."""
        return self._text("rev-list", "--first-parent", "--max-parents=0", self.tip).strip()

    def count(self) -> int:
        """Return how many commits there are."""
        return int(self._text("rev-list", "--count", self.tip))

    def shas(self) -> Generator[str, None, None]:
        """Yield every commit's sha, parents before children."""
        for line in split(self._output("rev-list", "--reverse", "--topo-order", self.tip), b"\n"):
            yield line.decode("ascii")

    def read(self, shas: Sequence[str]) -> Generator[Commit, None, None]:
        """Yield these commits in this order, each only when git has given all of it.

        Raises:
            PersistError: git failed, or left one out.

        """
        if not shas:
            return
        listing = ("log", "--stdin", "--no-walk=unsorted", "-z", "--encoding=UTF-8", FORMAT, *_DIFF_OPTIONS)
        output = self._output(*listing, given="".join(f"{sha}\n" for sha in shas))
        expected = iter(shas)
        for commit in parse(split(output, b"\0")):
            if commit.sha != next(expected, None):
                raise PersistError(_OPERATION, self.path, f"git gave {commit.sha} out of turn")
            yield commit
        if (missing := next(expected, None)) is not None:
            raise PersistError(_OPERATION, self.path, f"git left out {missing}")

    def _refuse_what_is_not_whole(self) -> None:
        if self._text("rev-parse", "--is-shallow-repository").strip() == "true":
            raise InvalidValueError(
                _OPERATION,
                self.path,
                "is a shallow clone: its history is not whole",
                hint=f"git -C {shlex.quote(str(self.path))} fetch --unshallow",
            )

    def _resolve(self, ref: str) -> str:
        try:
            return self._text("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").strip()
        except PersistError as error:
            if not self._text("rev-list", "--all", "--max-count=1"):
                raise NotFoundError(_OPERATION, self.path, "has no commit yet") from error
            problem = f"{ref!r} names no commit"
            hint = f"git -C {shlex.quote(str(self.path))} log --all --oneline lists what there is"
            raise NotFoundError(_OPERATION, self.path, problem, hint=hint) from error

    def _text(self, *arguments: str) -> str:
        return b"".join(self._output(*arguments)).decode("utf-8", "replace")

    def _output(self, *arguments: str, given: str = "") -> Iterator[bytes]:
        """Run git and yield its output in pieces; the end comes only after git has succeeded.

        ``given`` goes through a file and the errors too, so that no full pipe can stop both sides.
        """
        command = ("git", "-C", str(self.path), "--no-replace-objects", *_SETTINGS, *arguments)
        with tempfile.TemporaryFile() as input_file, tempfile.TemporaryFile() as errors:
            input_file.write(given.encode("ascii"))
            input_file.seek(0)
            with _start(command, input_file, errors, self.path) as process:
                try:
                    while chunk := os.read(_stdout(process), _CHUNK_BYTES):
                        yield chunk
                except BaseException:  # a reader that stops early (GeneratorExit) ends git as well
                    process.kill()
                    raise
            if process.returncode:
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines()
                raise self._failure(said or [f"git ended with {process.returncode}"])

    def _failure(self, said: Sequence[str]) -> PersistError:
        """Return the error for what git said; its last line tells why it gave up."""
        # All transports are forbidden: this is a lazy fetch. What git says after it may be lost, as its pipe breaks.
        if any(line.startswith("fatal: transport ") for line in said):
            problem = "is a partial clone: parts of its history are missing"
            hint = f"git -C {shlex.quote(str(self.path))} fetch --refetch --no-filter"
            return InvalidValueError(_OPERATION, self.path, problem, hint=hint)
        if any("not a git repository" in line for line in said):
            return InvalidValueError(_OPERATION, self.path, "is not a git repository")
        return PersistError(_OPERATION, self.path, said[-1])


def _start(command: Sequence[str], given: IO[bytes], errors: IO[bytes], path: Path) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=errors, env=_environment())
    except FileNotFoundError as error:
        raise UnsupportedError(_OPERATION, path, "git is not installed", hint="apt-get install git") from error


def _stdout(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None  # noqa: S101 - started with a pipe
    return process.stdout.fileno()


def _environment() -> dict[str, str]:
    """Return git's environment: none of the caller's ``GIT_*``, none of the user's and the system's configuration."""
    kept = {name: value for name, value in os.environ.copy().items() if not name.startswith("GIT_")}
    return kept | {
        "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks, by a command of its own choice
        "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("gitconfig")),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "LC_ALL": "C",
    }
