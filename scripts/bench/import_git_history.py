#!/usr/bin/env python3
"""A generated git history for the import rigs, and the comparison of an outbox with a history.

    scripts/bench/import_git_history.py make FOLDER --commits 20000
    scripts/bench/import_git_history.py compare REPOSITORY OUTBOX_DB

The comparison reads git's ordinary listings and plain SQLite, none of the importer's code: every commit, count, change
letter and revert, as multisets, so that a lost and a doubled row both show.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD_PATHS = (
    b"odd/with space.txt",
    b"odd/tab\there.txt",
    b"odd/new\nline.txt",
    b'odd/"quoted".txt',
    b'"leading quote.txt',
    b"odd/back\\slash.txt",
    "odd/grün-日本.txt".encode(),
    b"odd/latin1-caf\xe9.txt",
    b"odd/:100644 colon.txt",
    b"odd/commit",
    b"-\t-\tlooks like counts",
)
_KINDS = {"add": 30, "edit": 40, "delete": 10, "odd": 14, "link": 3, "binary": 3}
_LETTERS = {"added": "A", "deleted": "D", "modified": "M", "type_changed": "T"}
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"r": b"\r", b"v": b"\v"}


class HistoryWriter:
    """Writes commits through ``git fast-import``: merges, binaries, deletions, type changes, reverts, odd paths."""

    def __init__(self, folder: Path, seed: int) -> None:
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(folder)], check=True)
        self.random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.git = subprocess.Popen(
            ["git", "-C", str(folder), "fast-import", "--quiet", "--date-format=raw"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.paths: list[bytes] = []
        self.marks = 0

    def write(self, commits: int) -> None:
        """Write this many commits, and end."""
        while self.marks < commits:
            branch_point = self.marks
            self._commit(b"refs/heads/main", b"Change %d" % self.marks)
            if self.marks % 23 == 0 and self.marks + 2 <= commits:
                self._commit(b"refs/heads/side", b"Side %d" % self.marks, parent=branch_point or 1)
                side = self.marks
                self._commit(b"refs/heads/main", b"Merge side %d" % side, merge=side)
        self.git.stdin.write(b"done\n")
        self.git.stdin.close()
        self.git.stdout.close()
        if self.git.wait():
            sys.exit("git fast-import failed")

    def _commit(self, ref: bytes, subject: bytes, *, parent: int = 0, merge: int = 0) -> None:
        body = b"\n\nA body of\nseveral lines.\n"
        if self.marks and self.marks % 47 == 0:
            reverted = self.random.randrange(1, self.marks)
            subject, body = b'Revert "Change"', b"\n\nThis reverts commit %s.\n" % self._sha(reverted)
        message = subject + body
        self.marks += 1
        time = 1_500_000_000 + self.marks * 60
        who = b"R\xc3\xb6sti <rig@example.org>"
        lines = [b"commit " + ref, b"mark :%d" % self.marks]
        lines += [b"author %s %d +0200" % (who, time - 30), b"committer %s %d +0000" % (who, time)]
        lines += [b"data %d" % len(message), message]
        lines += [b"from :%d" % parent] if parent else []
        lines += [b"merge :%d" % merge] if merge else self._changes()
        self.git.stdin.write(b"\n".join(lines) + b"\n")

    def _changes(self) -> list[bytes]:
        lines = []
        kinds = self.random.choices(list(_KINDS), weights=list(_KINDS.values()), k=self.random.randint(0, 6))
        for kind in kinds:
            if kind == "delete" and self.paths:
                path = self.paths.pop(self.random.randrange(len(self.paths)))
                lines.append(b"D " + _quoted(path))
                continue
            path, content = self._path(kind), self._content(kind)
            mode = b"120000" if kind == "link" else b"100644"
            lines += [b"M %s inline %s" % (mode, _quoted(path)), b"data %d" % len(content), content]
        return lines

    def _path(self, kind: str) -> bytes:
        if self.paths and kind in {"edit", "link", "binary"}:
            return self.random.choice(self.paths)
        if kind == "odd":
            path = self.random.choice(ODD_PATHS)
        else:
            path = b"src/%d/%d.py" % (self.random.randrange(40), self.random.randrange(200))
        if path not in self.paths:
            self.paths.append(path)
        return path

    def _content(self, kind: str) -> bytes:
        if kind == "link":
            return b"target%d" % self.random.randrange(9)
        if kind == "binary":
            return self.random.randbytes(64) + b"\0"
        return b"".join(b"%d\n" % self.random.randrange(9) for _ in range(self.random.randrange(20)))

    def _sha(self, mark: int) -> bytes:
        self.git.stdin.write(b"get-mark :%d\n" % mark)
        self.git.stdin.flush()
        return self.git.stdout.readline().strip()


def _quoted(path: bytes) -> bytes:
    return b'"' + b"".join(b"\\%03o" % byte if byte in b'"\\\n' else bytes([byte]) for byte in path) + b'"'


def _unquoted(text: bytes) -> bytes:
    """Return the path that git, or the importer, shows as ``text``."""
    if not text.startswith(b'"'):
        return text

    def plain(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        return bytes([int(code, 8)]) if code.isdigit() else _ESCAPES.get(code, code)

    return re.sub(rb"\\([0-7]{3}|.)", plain, text[1:-1])


def _log(repository: Path, *arguments: str) -> list[bytes]:
    command = ["git", "-C", str(repository), "-c", "core.quotePath=true", "log", "--no-renames", *arguments, "HEAD"]
    return subprocess.run(command, check=True, capture_output=True).stdout.split(b"\n")


def _by_commit(repository: Path, *arguments: str) -> Iterator[tuple[str, bytes]]:
    """Yield each line that a listing shows below a commit, with the commit's sha."""
    sha = ""
    for line in _log(repository, *arguments):
        if line.startswith(b"commit "):
            sha = line[7:].decode()
        elif line:
            yield sha, line


def expected(repository: Path) -> Counter[tuple[object, ...]]:
    """Return every row that an import of this history's HEAD must make, as git tells it."""
    rows: Counter[tuple[object, ...]] = Counter()
    for line in filter(None, _log(repository, "--format=%H %at %ct %s")):
        sha, authored, committed, subject = line.decode("utf-8", "replace").split(" ", 3)
        rows["cycle", sha, int(authored), int(committed), subject] += 1
        rows["evolution", sha, subject] += 1
    letters = {}
    for sha, line in _by_commit(repository, "--format=commit %H", "--name-status"):
        letter, quoted = line.split(b"\t", 1)
        letters[sha, _unquoted(quoted)] = letter.decode()
    for sha, line in _by_commit(repository, "--format=commit %H", "--numstat"):
        insertions, deletions, quoted = line.split(b"\t", 2)
        path = _unquoted(quoted)
        counts = (None, None) if insertions == b"-" else (int(insertions), int(deletions))
        rows["change", sha, path, letters[sha, path], *counts] += 1
    for sha, line in _by_commit(repository, "--format=commit %H%n%b"):
        if line.startswith(b"This reverts commit "):
            rows["rollback", sha, line.split()[3].rstrip(b".,").decode()] += 1
    return rows


def actual(outbox: Path) -> Counter[tuple[object, ...]]:
    """Return every row of a git history that waits in an outbox, cycle numbers replaced by the sha of their cycle."""
    with closing(sqlite3.connect(outbox)) as connection:
        stored = connection.execute("SELECT table_name, payload FROM outbox").fetchall()
    parsed = [(table, json.loads(payload)) for table, payload in stored]
    payloads = [(table, row) for table, row in parsed if row["loop_id"].startswith("git:")]
    shas = {row["cycle_number"]: row["git_commit"] for table, row in payloads if table == "nomic_cycles"}
    return Counter(_row(table, row, shas.get(row["cycle_number"])) for table, row in payloads)


def _row(table: str, row: dict[str, object], sha: object) -> tuple[object, ...]:
    if table == "nomic_cycles":
        times = (int(datetime.fromisoformat(str(row[name])).timestamp()) for name in ("started_at", "completed_at"))
        return ("cycle", sha, *times, row["task_description"])
    if table == "cycle_evolution":
        return ("evolution", row["git_commit"] if row["git_commit"] == sha else None, row["winning_proposal_summary"])
    if table == "nomic_rollbacks":
        return ("rollback", sha, row["rolled_back_commit"])
    path = _unquoted(str(row["file_path"]).encode())
    return ("change", sha, path, _LETTERS[str(row["change_type"])], row["insertions"], row["deletions"])


def compare(repository: Path, outbox: Path) -> dict[str, object]:
    """Return how the rows of an outbox differ from a history."""
    wanted, got = expected(repository), actual(outbox)
    lost, doubled = wanted - got, got - wanted
    count = subprocess.run(
        ["git", "-C", str(repository), "rev-list", "--count", "HEAD"], check=True, capture_output=True
    )
    return {
        "commits": int(count.stdout),
        "rows": got.total(),
        "kinds": dict(Counter(str(row[0]) for row in got.elements())),
        "lost": lost.total(),
        "doubled": doubled.total(),
        "examples": [repr(row) for row in [*lost, *doubled][:5]],
        "compared_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> int:
    """Make a history, or compare one with an outbox; 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make")
    make.add_argument("folder", type=Path)
    make.add_argument("--commits", type=int, default=20_000)
    make.add_argument("--seed", type=int, default=1)
    check = verbs.add_parser("compare")
    check.add_argument("repository", type=Path)
    check.add_argument("outbox", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "make":
        HistoryWriter(arguments.folder, arguments.seed).write(arguments.commits)
        return 0
    result = compare(arguments.repository, arguments.outbox)
    print(json.dumps(result, indent=2))
    return 1 if result["lost"] or result["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
