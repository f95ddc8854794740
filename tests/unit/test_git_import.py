"""Importing git histories: each commit once, for ever under one number, whatever the repository and its setting do."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.errors import InvalidValueError, NotFoundError, PersistError, UnsupportedError
from aragora_persist.importers import git
from aragora_persist.importers.git import import_git
from aragora_persist.importers.git_history import GitHistory
from aragora_persist.importers.git_listing import path_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_700_000_000
SIGNATURE = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n AAAA\n -----END PGP SIGNATURE-----"


class Repository:
    """A repository that a test writes; every commit is a minute after the one before."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.minutes = 0
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", *options, str(path)], check=True)

    def git(self, *arguments: str, **environment: str) -> str:
        """Run git in the repository, and return what it says."""
        time = f"{START + 60 * self.minutes} +0200"
        who = {f"GIT_{role}_{part}": "Rösti" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        dates = {"GIT_AUTHOR_DATE": time, "GIT_COMMITTER_DATE": time, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            check=True,
            capture_output=True,
            env={**os.environ, **who, **dates, **environment},
        )
        return done.stdout.decode("utf-8", "replace").strip()

    def hash_commit(self, content: bytes) -> str:
        """Store a commit of exactly this content, and return its sha."""
        command = ["git", "-C", str(self.path), "hash-object", "-t", "commit", "--literally", "-w", "--stdin"]
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()

    def commit(self, message: str, files: dict[str | bytes, bytes | None] | None = None) -> str:
        """Write files (None: delete them), commit, and return the sha."""
        for name, content in (files or {}).items():
            path = os.path.join(os.fsencode(self.path), os.fsencode(name))  # noqa: PTH118 - bytes
            if content is None:
                os.unlink(path)  # noqa: PTH108 - bytes
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
            with open(path, "wb") as file:  # noqa: PTH123 - bytes
                file.write(content)
        self.minutes += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make an empty repository."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Open an empty outbox."""
    with Outbox(tmp_path / "data" / "aragora_outbox.db") as opened:
        yield opened


def rows(outbox: Outbox, table: str) -> list[dict[str, Any]]:
    """Return the payloads that wait for a table, in their order."""
    return [entry.payload for entry in outbox.pending(limit=100_000) if entry.table == table]


def numbers(outbox: Outbox) -> dict[str, int]:
    """Return the cycle number of each commit."""
    return {row["git_commit"]: row["cycle_number"] for row in rows(outbox, "nomic_cycles")}


def changes(outbox: Outbox, number: int) -> list[tuple[Any, ...]]:
    """Return the file changes of one cycle."""
    return [
        (row["file_path"], row["change_type"], row["insertions"], row["deletions"])
        for row in rows(outbox, "cycle_file_changes")
        if row["cycle_number"] == number
    ]


def test_a_commit_becomes_a_cycle(repository: Repository, outbox: Outbox) -> None:
    """Sha, subject and times of a commit are in its cycle and its evolution, under one loop and number."""
    root = repository.commit("A subject of\ntwo lines\n\nand a body", {"a.txt": b"1\n2\n"})
    done = import_git(repository.path, outbox)

    assert (done.loop_id, done.commits) == (f"git:{root}", 1)
    assert (done.cycles, done.evolutions, done.file_changes, done.rollbacks) == (1, 1, 1, 0)
    time = datetime.fromtimestamp(START + 60, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    (cycle,), (evolution,) = rows(outbox, "nomic_cycles"), rows(outbox, "cycle_evolution")
    assert cycle == {
        "loop_id": f"git:{root}",
        "cycle_number": 1,
        "phase": "commit",
        "stage": "executing",
        "started_at": time,
        "completed_at": time,
        "success": True,
        "git_commit": root,
        "task_description": "A subject of two lines",
        "total_tasks": 0,
        "completed_tasks": 0,
        "error_message": None,
    }
    assert (evolution["git_commit"], evolution["files_changed"]) == (root, ["a.txt"])
    assert (evolution["created_at"], evolution["rollback_id"]) == (time, None)
    assert rows(outbox, "cycle_file_changes") == [
        {
            "loop_id": f"git:{root}",
            "cycle_number": 1,
            "file_path": "a.txt",
            "change_type": "added",
            "insertions": 2,
            "deletions": 0,
        }
    ]


def test_every_path_of_a_commit_is_a_file_change(repository: Repository, outbox: Outbox) -> None:
    """Additions, edits, deletions, changes of type and mode; no renames; no counts for binaries."""
    lines = b"1\n2\n3\n4\n5\n"
    repository.commit("add", {"edited": lines, "gone": b"x\n", "moved": lines * 9, "typed": b"t\n", "bin": b"\0\1"})
    (repository.path / "typed").unlink()
    (repository.path / "typed").symlink_to("gone")
    (repository.path / "edited").chmod(0o755)
    (repository.path / "bin").write_bytes(b"\0\2")
    (repository.path / "moved").rename(repository.path / "here")
    repository.commit("change", {"gone": None, "new": b""})
    repository.commit("nothing")
    import_git(repository.path, outbox)

    assert changes(outbox, 1)[0] == ("bin", "added", None, None)
    assert changes(outbox, 2) == [
        ("bin", "modified", None, None),
        ("edited", "modified", 0, 0),
        ("gone", "deleted", 0, 1),
        ("here", "added", 45, 0),
        ("moved", "deleted", 0, 45),
        ("new", "added", 0, 0),
        ("typed", "type_changed", 1, 1),
    ]
    assert changes(outbox, 3) == []
    assert rows(outbox, "cycle_evolution")[2]["files_changed"] == []


def test_a_merge_is_a_cycle_without_file_changes(repository: Repository, outbox: Outbox) -> None:
    """The changes of a merged branch belong to the branch's own commits."""
    repository.commit("root", {"a": b"1\n"})
    repository.git("switch", "--quiet", "--create", "side")
    side = repository.commit("side", {"b": b"2\n"})
    repository.git("switch", "--quiet", "main")
    repository.commit("main", {"c": b"3\n"})
    repository.git("merge", "--quiet", "--no-edit", "side")
    done = import_git(repository.path, outbox)

    assert (done.cycles, done.evolutions, done.file_changes) == (4, 4, 3)
    assert changes(outbox, numbers(outbox)[side]) == [("b", "added", 1, 0)]
    assert changes(outbox, numbers(outbox)[repository.git("rev-parse", "HEAD")]) == []


ODD_PATHS = {
    b"with space": "with space",
    b"tab\there": "tab\there",
    b"new\nline": "new\nline",
    b'in "quotes"': 'in "quotes"',
    b"back\\slash": "back\\slash",
    "grün-日本".encode(): "grün-日本",
    b":100644 000000 like raw": ":100644 000000 like raw",
    b"1\t2\tlike counts": "1\t2\tlike counts",
    b"commit": "commit",
    b"caf\xe9": '"caf\\351"',
    b'"caf\\351"': '"\\"caf\\\\351\\""',
    b"\xed\xa0\x80": '"\\355\\240\\200"',
}


def test_odd_paths_come_through(repository: Repository, outbox: Outbox) -> None:
    """Any path that git takes is one row; bytes that are no UTF-8 are quoted as git quotes them, never mixed."""
    repository.commit("odd", dict.fromkeys(ODD_PATHS, b"1\n"))
    import_git(repository.path, outbox)

    assert {path for path, *_ in changes(outbox, 1)} == set(ODD_PATHS.values())
    assert {path: path_text(path) for path in ODD_PATHS} == ODD_PATHS


def test_reverts_become_rollbacks(repository: Repository, outbox: Outbox) -> None:
    """Each commit that a message says it reverts is one rollback of that cycle, named by its evolution."""
    first = repository.commit("first", {"a": b"1\n"})
    second = repository.commit("second", {"a": b"2\n"})
    repository.git("revert", "--no-edit", second)
    message = (
        f"Undo\n\nThis reverts commit {first}, reversing\nchanges made to {second}.\nThis reverts commit {second[:9]}."
    )
    repository.commit(f"{message}\nThis reverts commit {first}.\nThis reverts commit of mine.")
    done = import_git(repository.path, outbox)
    rollbacks = rows(outbox, "nomic_rollbacks")

    assert done.rollbacks == 3
    assert [(row["cycle_number"], row["rolled_back_commit"]) for row in rollbacks] == [
        (3, second),
        (4, first),
        (4, second[:9]),
    ]
    assert (rollbacks[0]["phase"], rollbacks[0]["files_affected"]) == ("commit", ["a"])
    keys = [entry.key for entry in outbox.pending() if entry.table == "nomic_rollbacks"]
    assert [row["rollback_id"] for row in rows(outbox, "cycle_evolution")] == [None, None, keys[0], keys[1]]


def test_importing_again_imports_only_what_is_new(repository: Repository, outbox: Outbox) -> None:
    """Known commits are left alone, even when their records were sent long ago; new ones get the next numbers."""
    old = [repository.commit(f"old {number}", {"a": b"%d\n" % number}) for number in range(3)]
    import_git(repository.path, outbox)
    before = outbox.pending()
    again = import_git(repository.path, outbox)
    assert (again.commits, again.cycles, again.evolutions, again.file_changes) == (3, 0, 0, 0)
    assert outbox.pending() == before

    with outbox.transaction("send") as tx:
        tx.execute("DELETE FROM outbox")
    new = repository.commit("new", {"b": b"1\n"})
    done = import_git(repository.path, outbox)
    assert (done.commits, done.cycles) == (4, 1)
    assert numbers(outbox) == {new: 4}
    assert new not in old


def test_a_rewritten_history_appends(repository: Repository, outbox: Outbox) -> None:
    """After an amended commit the old sha keeps its number, and the new one gets the next."""
    root = repository.commit("root", {"a": b"1\n"})
    old = repository.commit("old", {"a": b"2\n"})
    import_git(repository.path, outbox)
    repository.git("commit", "--quiet", "--amend", "--message", "rewritten")
    new = repository.git("rev-parse", "HEAD")
    import_git(repository.path, outbox)

    assert numbers(outbox) == {root: 1, old: 2, new: 3}


def test_a_branch_that_is_merged_later_appends(repository: Repository, outbox: Outbox) -> None:
    """Commits that are older than known ones, and an unrelated history, come after them; the loop stays the same."""
    root = repository.commit("root", {"a": b"1\n"})
    repository.git("switch", "--quiet", "--create", "side")
    side = repository.commit("side", {"b": b"1\n"})
    repository.git("switch", "--quiet", "--orphan", "other")
    other = repository.commit("other", {"c": b"1\n"})
    repository.git("switch", "--quiet", "main")
    main = repository.commit("main", {"d": b"1\n"})
    first = import_git(repository.path, outbox)
    repository.git("merge", "--quiet", "--no-edit", "side")
    repository.git("merge", "--quiet", "--no-edit", "--allow-unrelated-histories", "other")
    second = import_git(repository.path, outbox)

    assert first.loop_id == second.loop_id == f"git:{root}"
    numbered = numbers(outbox)
    assert (numbered[root], numbered[main]) == (1, 2)
    assert sorted(numbered.values()) == [1, 2, 3, 4, 5, 6]
    assert {numbered[side], numbered[other]} < {3, 4, 5}


def test_a_clone_elsewhere_is_the_same_loop(repository: Repository, outbox: Outbox, tmp_path: Path) -> None:
    """A bare clone and a subfolder of one history share its numbers; a loop with a name of its own has its own."""
    repository.commit("root", {"folder/a": b"1\n"})
    repository.git("clone", "--quiet", "--bare", str(repository.path), str(tmp_path / "bare.git"))
    import_git(repository.path, outbox)

    for same in (tmp_path / "bare.git", repository.path / "folder"):
        assert import_git(same, outbox).cycles == 0
    assert import_git(repository.path, outbox, ref="main", loop_id="mine").cycles == 1
    assert {row["loop_id"] for row in rows(outbox, "nomic_cycles")} > {"mine"}


def test_an_older_revision_can_be_imported_first(repository: Repository, outbox: Outbox) -> None:
    """Only what the given revision reaches is imported."""
    first = repository.commit("first", {"a": b"1\n"})
    repository.git("tag", "--annotate", "v1", "--message", "a tag")
    repository.commit("second", {"a": b"2\n"})

    assert import_git(repository.path, outbox, ref="v1").commits == 1
    assert numbers(outbox) == {first: 1}


def test_progress_is_told_after_each_batch(
    repository: Repository, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback hears what is done and how much there is, when it is on disk; small batches change nothing else."""
    shas = [repository.commit(f"{number}", {f"{number}-{part}": b"" for part in range(3)}) for number in range(5)]
    monkeypatch.setattr(git, "_BATCH_COMMITS", 2)
    monkeypatch.setattr(git, "_BATCH_CHANGES", 4)
    told = []
    done = import_git(repository.path, outbox, progress=lambda *counts: told.append((*counts, outbox.count())))

    assert told == [(2, 5, 10), (4, 5, 20), (5, 5, 25)]
    assert (done.cycles, done.file_changes) == (5, 15)
    assert numbers(outbox) == {sha: number for number, sha in enumerate(shas, start=1)}


def put_before_git(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Let every git run this line of shell first."""
    script = folder / "bin" / "git"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n{line}\nexec {shutil.which("git")} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")


def refusal(repository: Path, outbox: Outbox, ref: str = "HEAD") -> PersistError:
    """Return the error that an import ends with, after it was seen that nothing was written."""
    with pytest.raises(PersistError) as caught:
        import_git(repository, outbox, ref=ref)
    assert outbox.count() == 0
    return caught.value


def test_a_shallow_clone_is_refused_with_the_command(repository: Repository, outbox: Outbox, tmp_path: Path) -> None:
    """The command in the hint makes the clone whole, and then it can be imported."""
    for number in range(3):
        repository.commit(f"{number}", {"a": b"%d\n" % number})
    clone = tmp_path / "a clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", str(clone))
    error = refusal(clone, outbox)

    assert isinstance(error, InvalidValueError)
    assert error.problem == "is a shallow clone: its history is not whole"
    subprocess.run(error.hint, shell=True, check=True, capture_output=True)  # noqa: S602 - as a user would run it
    assert import_git(clone, outbox).cycles == 3


def test_a_partial_clone_is_refused_with_the_command(repository: Repository, outbox: Outbox, tmp_path: Path) -> None:
    """What a partial clone lacks is not fetched behind the user's back, by whatever command its configuration names."""
    repository.commit("root", {"a": b"1\n"})
    repository.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "a clone"
    repository.git("clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{repository.path}", str(clone))
    for name, value in {"remote.origin.url": f"ext::touch {tmp_path / 'ran'}", "protocol.ext.allow": "always"}.items():
        subprocess.run(["git", "-C", str(clone), "config", name, value], check=True)
    error = refusal(clone, outbox)

    assert isinstance(error, InvalidValueError)
    assert error.problem == "is a partial clone: parts of its history are missing"
    assert not (tmp_path / "ran").exists()
    subprocess.run(["git", "-C", str(clone), "config", "remote.origin.url", f"file://{repository.path}"], check=True)
    subprocess.run(error.hint, shell=True, check=True, capture_output=True)  # noqa: S602 - as a user would run it
    assert import_git(clone, outbox).file_changes == 1


def test_what_is_no_history_is_refused(repository: Repository, outbox: Outbox, tmp_path: Path) -> None:
    """A missing folder, no repository, no commit and an unknown revision are told apart."""
    empty = refusal(repository.path, outbox)
    repository.commit("root")
    errors = {
        "folder": refusal(tmp_path / "none", outbox),
        "repository": refusal(tmp_path, outbox),
        "revision": refusal(repository.path, outbox, ref="none"),
        "option": refusal(repository.path, outbox, ref="--all"),
        "tree": refusal(repository.path, outbox, ref="HEAD^{tree}"),
    }

    assert {name: (type(error), error.problem) for name, error in errors.items()} == {
        "folder": (NotFoundError, "there is no such folder"),
        "repository": (InvalidValueError, "is not a git repository"),
        "revision": (NotFoundError, "'none' names no commit"),
        "option": (NotFoundError, "'--all' names no commit"),
        "tree": (NotFoundError, "'HEAD^{tree}' names no commit"),
    }
    assert (type(empty), empty.problem) == (NotFoundError, "has no commit yet")


def test_a_missing_git_is_named(repository: Repository, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on PATH the error says which package has it."""
    repository.commit("root")
    monkeypatch.setenv("PATH", "")
    error = refusal(repository.path, outbox)

    assert isinstance(error, UnsupportedError)
    assert (error.problem, error.hint) == ("git is not installed", "apt-get install git")


def test_a_damaged_repository_leaves_whole_batches(
    repository: Repository, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What git cannot read ends the import; what came before stays whole, and a later import completes it."""
    shas = [repository.commit(f"{number}", {f"{number}": b"%d\n" % number}) for number in range(6)]
    blob = repository.git("rev-parse", f"{shas[4]}:4")
    hidden = repository.path / ".git" / "objects" / blob[:2] / blob[2:]
    content = hidden.read_bytes()
    hidden.unlink()
    monkeypatch.setattr(git, "_BATCH_COMMITS", 2)
    with pytest.raises(PersistError, match=blob):
        import_git(repository.path, outbox)
    assert numbers(outbox) == {sha: number for number, sha in enumerate(shas[:4], start=1)}
    assert len(rows(outbox, "cycle_file_changes")) == 4

    hidden.write_bytes(content)
    assert import_git(repository.path, outbox).cycles == 2
    assert numbers(outbox) == {sha: number for number, sha in enumerate(shas, start=1)}


def test_no_configuration_changes_what_is_read(
    repository: Repository, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the caller's environment and configuration nor the repository's own change a row, or run a command."""
    # These two contents differ in the counts that the diff algorithms find.
    one, other = b"c\na\na\nc\na\nc\nb\nc\na\n", b"a\nb\na\nc\na\nc\nd\nd\nd\n"
    root = repository.commit("Größe", {"in/a.txt": one, "b.txt": one, ".gitattributes": b"*.txt diff=custom\n"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{root},submodule")
    repository.git("commit", "--quiet", "--message", "a submodule")
    signed = repository.git("cat-file", "commit", "HEAD").replace("\n\n", f"\n{SIGNATURE}\n\n", 1)
    repository.git("update-ref", "HEAD", repository.hash_commit(signed.encode() + b"\n"))
    repository.commit("change", {"in/a.txt": other})
    import_git(repository.path, outbox)
    plain = [entry.payload for entry in outbox.pending()]

    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    script.chmod(0o755)
    settings = {
        **dict.fromkeys(
            ("diff.external", "core.fsmonitor", "core.pager", "diff.custom.textconv", "gpg.program"), script
        ),
        **dict.fromkeys(("log.showSignature", "diff.relative", "diff.noprefix", "core.quotePath"), "true"),
        "log.showRoot": "false",
        "diff.custom.command": script,
        "format.pretty": "oneline",
        "diff.algorithm": "patience",
        "diff.ignoreSubmodules": "all",
        "i18n.logOutputEncoding": "latin1",
    }
    for name, value in settings.items():
        repository.git("config", name, str(value))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[diff]\n\torderFile = /dev/full\n[log]\n\tshowRoot = false\n")
    monkeypatch.setenv("HOME", str(home))
    for name, value in {"GIT_DIR": "/none", "GIT_EXTERNAL_DIFF": str(script), "GIT_PAGER": str(script)}.items():
        monkeypatch.setenv(name, value)
    with Outbox(":memory:") as second:
        import_git(repository.path / "in", second)
        assert [entry.payload for entry in second.pending()] == plain
    assert not ran.exists()


def test_replaced_commits_are_read_as_they_are(repository: Repository, outbox: Outbox) -> None:
    """Local replacements and grafts do not change what a sha stands for."""
    repository.commit("root", {"a": b"1\n"})
    second = repository.commit("second", {"a": b"2\n"})
    third = repository.commit("third", {"a": b"3\n", "b": b"4\n"})
    repository.git("replace", second, "HEAD")
    (repository.path / ".git" / "info" / "grafts").write_text(f"{third}\n")
    import_git(repository.path, outbox)

    assert changes(outbox, numbers(outbox)[second]) == [("a", "modified", 1, 1)]
    assert changes(outbox, numbers(outbox)[third]) == [("a", "modified", 1, 1), ("b", "added", 1, 0)]


def test_a_repository_of_another_user_can_be_read(
    repository: Repository, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where git itself would refuse for the owner's sake, an import works: a mount in a container is a stranger's."""
    repository.commit("root", {"a": b"1\n"})
    put_before_git(tmp_path, monkeypatch, "export GIT_TEST_ASSUME_DIFFERENT_OWNER=1")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        repository.git("log")
    assert b"dubious ownership" in caught.value.stderr

    assert import_git(repository.path, outbox).cycles == 1


def test_times_and_texts_that_git_takes_are_taken(repository: Repository, outbox: Outbox) -> None:
    """Messages in another encoding, bytes that are no text, a time beyond the calendar and none at all."""
    repository.commit("root")
    tree = repository.git("rev-parse", "HEAD^{tree}")
    headers = [b"author A <a> 1 +0000\ncommitter A <a> 99999999999999 +0000", b"author A <a>\ncommitter A <a> 5 +0000"]
    texts = [b"encoding ISO-8859-1\n\ncaf\xe9", b"\n\xff\xfe"]
    for header, text in zip(headers, texts, strict=True):
        parent = repository.git("rev-parse", "HEAD")
        commit = b"tree %s\nparent %s\n%s\n%s\n" % (tree.encode(), parent.encode(), header, text)
        repository.git("update-ref", "HEAD", repository.hash_commit(commit))
    import_git(repository.path, outbox)

    assert [(row["task_description"], row["started_at"], row["completed_at"]) for row in rows(outbox, "nomic_cycles")][
        1:
    ] == [
        ("café", "1970-01-01T00:00:01.000000Z", "9999-12-31T00:00:00.000000Z"),
        ("\ufffd\ufffd", "1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:05.000000Z"),
    ]


def test_a_sha256_repository_is_read(tmp_path: Path, outbox: Outbox) -> None:
    """The longer shas of a newer object format pass through whole."""
    repository = Repository(tmp_path / "long", "--object-format=sha256")
    sha = repository.commit("root", {"a": b"1\n"})
    import_git(repository.path, outbox)

    assert len(sha) == 64
    assert numbers(outbox) == {sha: 1}


def test_two_imports_at_once_import_each_commit_once(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both finish, and together they leave each commit once, without a gap in the numbers."""
    shas = [repository.commit(f"{number}", {"a": b"%d\n" % number}) for number in range(12)]
    monkeypatch.setattr(git, "_BATCH_COMMITS", 2)
    path = tmp_path / "aragora_outbox.db"
    done = []
    with Outbox(path) as outbox:
        threads = [threading.Thread(target=lambda: done.append(import_git(repository.path, outbox))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(result.cycles for result in done) == 12
        assert numbers(outbox) == {sha: number for number, sha in enumerate(shas, start=1)}
        assert Counter(entry.table for entry in outbox.pending()) == {
            "nomic_cycles": 12,
            "cycle_evolution": 12,
            "cycle_file_changes": 12,
        }


def test_a_reader_that_stops_early_ends_git(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No git process outlives the one who asked."""
    sha = repository.commit("root", {"a": b"1\n"})
    pid = tmp_path / "pid"
    put_before_git(tmp_path, monkeypatch, f"echo $$ > {pid}")
    shas = GitHistory(repository.path).shas()
    assert next(shas) == sha
    shas.close()

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
