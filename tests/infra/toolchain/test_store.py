"""The store's promise: what lies under an entry's name is whole, whatever was killed while it was made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from infra.toolchain.environment import REPOSITORY
from infra.toolchain.store import TEMPORARY, Store
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

# Publishes an entry of two files; between them it says so and waits for a word, or for the end of its input.
PUBLISHER = """
import sys
from pathlib import Path
from infra.toolchain.store import Store
store = Store(Path(sys.argv[1]))
with store.lock(lambda: print("waiting", flush=True)):
    with store.publish(store.entry("tool", "1", "key"), "test", ("one", "two")) as whole:
        (whole / "one").write_text("1" * 1000)
        print("half", flush=True)
        sys.stdin.readline()
        (whole / "two").write_text("2" * 1000)
print("done", flush=True)
"""


def _publisher(root: Path, *, waits: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-c", PUBLISHER, str(root)),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def _entry(store: Store) -> Path:
    return store.entry("tool", "1", "key")


def test_a_published_entry_is_there_with_its_origin(tmp_path: Path) -> None:
    """And nothing temporary is left."""
    store = Store(tmp_path)
    with store.publish(_entry(store), "a place", ("one",)) as whole:
        (whole / "one").write_text("1")
    assert store.origin_of(_entry(store)) == "a place"
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    """Neither an entry nor a temporary folder, whether the block fails or a promised file is missing."""
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.publish(_entry(store), "a place", ("one",)) as whole:
        (whole / "one").write_text("1")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), store.publish(_entry(store), "a place", ("one", "two")) as whole:
        (whole / "one").write_text("1")
    assert store.origin_of(_entry(store)) is None
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_killed_publication_is_never_taken_for_whole_and_the_next_repairs_it(tmp_path: Path) -> None:
    """SIGKILL between two files: no entry; the next holder of the lock sweeps up and publishes."""
    store = Store(tmp_path)
    with _publisher(tmp_path, waits=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "half\n"
        killed.send_signal(signal.SIGKILL)
    assert not _entry(store).exists()
    assert list(tmp_path.glob(f"{TEMPORARY}*"))
    with _publisher(tmp_path, waits=False) as repairing:
        assert repairing.communicate(timeout=PATIENCE_S)[0] == "half\ndone\n"
    assert store.origin_of(_entry(store)) == "test"
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_kills_at_any_moment_leave_a_whole_entry_or_none(tmp_path: Path) -> None:
    """Twelve publishers killed ever later: whenever an entry is there, both of its files are whole."""
    store = Store(tmp_path)
    for number in range(12):
        with _publisher(tmp_path, waits=False) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(number * 0.002)
            process.kill()
        if _entry(store).exists():
            assert store.origin_of(_entry(store)) == "test"
            assert [(_entry(store) / name).stat().st_size for name in ("one", "two")] == [1000, 1000]


@pytest.mark.parametrize("damage", ["one", "origin.json"])
def test_an_entry_that_lost_a_file_is_made_again(tmp_path: Path, damage: str) -> None:
    """It counts as missing, and a new publication takes its place."""
    store = Store(tmp_path)
    for _ in range(2):
        with store.publish(_entry(store), "a place", ("one",)) as whole:
            (whole / "one").write_text("1")
        assert store.origin_of(_entry(store)) == "a place"
        (_entry(store) / damage).write_text("")
        assert store.origin_of(_entry(store)) is None


def test_a_second_bootstrap_waits_for_the_first(tmp_path: Path) -> None:
    """It says so, and goes on when the first has ended."""
    with _publisher(tmp_path, waits=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "half\n"
        with _publisher(tmp_path, waits=False) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "waiting\n"
            assert first.communicate("go on\n", timeout=PATIENCE_S)[0] == "done\n"
            assert second.communicate(timeout=PATIENCE_S)[0] == "half\ndone\n"


def test_a_link_is_the_file_of_the_entry_and_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A link to one entry is no link to another; unlinking twice is no error."""
    store = Store(tmp_path)
    targets = []
    for key in ("old", "new"):
        entry = store.entry("tool", "1", key)
        with store.publish(entry, "a place", ("tool",)) as whole:
            (whole / "tool").write_text(key)
        targets.append(entry / "tool")
        store.link("tool", targets[-1])
    assert (store.bin_dir / "tool").read_text() == "new"
    assert [store.links("tool", target) for target in targets] == [False, True]
    store.unlink("tool")
    store.unlink("tool")
    assert not store.links("tool")


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """Not even the store's folder."""
    store = Store(tmp_path / "absent")
    assert store.origin_of(_entry(store)) is None
    assert not store.links("tool", _entry(store) / "tool")
    assert not os.listdir(tmp_path)  # noqa: PTH208 - the shortest way to say that it is empty
