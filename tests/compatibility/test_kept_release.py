"""The first release works on databases of the newest schema, so that a service may upgrade before its libraries do.

Its library and its contract suite lie here as they were released (``make keep-release``). Until the release is cut, it
is the present tree that is kept and run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aragora_persist.databases import DATABASES
from aragora_persist.migrations.folder import folder_of, latest_version
from aragora_persist.migrations.runner import migrate
from aragora_persist.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIRST_RELEASE = "0.1.0"
KEPT = HERE / f"aragora_persist-{FIRST_RELEASE}.tar.gz"
RELEASED = f"## [{FIRST_RELEASE}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
STORES = ("test_*_store.py", "test_token_blacklist.py", "test_user_*.py", "test_webhook_*.py", "test_outbox*.py")


def keep(folder: Path) -> Path:
    """Keep the present tree as a release in ``folder``, and return the archive."""
    folder.mkdir()
    command = [sys.executable, str(ROOT / "scripts" / "keep_release.py"), "--to", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked first release; before it is cut, what would be kept now."""
    root = tmp_path_factory.mktemp("release")
    with tarfile.open(KEPT if RELEASED else keep(root / "kept")) as archive:
        archive.extractall(root / "tree", filter="data")
    return root / "tree"


def make_newest(folder: Path, further: dict[str, str] | None = None) -> None:
    """Make every database with the newest migrations in ``folder``, and with one of ours after those of some."""
    for database in DATABASES:
        migrations = folder / "migrations" / database.name
        shutil.copytree(folder_of(database.name), migrations)
        if source := (further or {}).get(database.name):
            (migrations / f"{latest_version(database.name) + 1:03d}_further.py").write_text(source)
        settings = Settings.from_env({}, nomic_dir=folder)
        migrate(folder / f"{database.name}.db", database.name, folder=migrations, settings=settings)


def further(statement: str, min_reader: str) -> str:
    """Return the source of a migration of one statement."""
    return f'MIN_READER = "{min_reader}"\n\n\ndef upgrade(conn):\n    conn.execute("{statement}")\n'


def run_suite(release: Path, newest: Path, *patterns: str) -> dict[str, Any]:
    """Run tests of a kept release, with its own library, on the databases in ``newest``; return what became of them."""
    files = [str(path) for pattern in patterns for path in sorted((release / "tests" / "contract").glob(pattern))]
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": f"{release}:{HERE}", "NEWEST_SCHEMA_DIR": str(newest)}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "newest_schema", "-p", "no:cacheprovider"]
    # Each test's databases go with it: the shared memory of a container is small.
    command += ["-o", "tmp_path_retention_policy=failed"]
    # In memory, where that can be: hundreds of databases are made, and what a loss of power leaves is another test's.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as space:
        command += ["--basetemp", str(Path(space, "databases")), *files]
        done = subprocess.run(command, cwd=release, env=environment, check=False, capture_output=True, text=True)
    outcome = newest / "outcome.json"
    assert outcome.exists(), done.stdout + done.stderr
    said: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
    assert said["library"] == str(release / "aragora_persist" / "__init__.py")
    return said


def test_the_first_release_is_kept() -> None:
    """From the day of the release on its archive is here, and not before."""
    assert KEPT.exists() == RELEASED


def test_a_kept_release_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Two archives of one tree are equal; they hold library and suite, sorted, and nothing that was built."""
    first, second = keep(tmp_path / "first"), keep(tmp_path / "second")
    with tarfile.open(first) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert first.read_bytes() == second.read_bytes()
    assert names == sorted(names)
    assert {"aragora_persist/version.py", "tests/contract/test_user_store.py", "tests/conftest.py"} <= set(names)
    assert [name for name in names if re.search(r"__pycache__|\.(db|pyc|gz)$", name)] == []
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_a_released_migration_is_never_edited(release: Path) -> None:
    """Each migration of the first release is still the same bytes: databases that had it would be refused otherwise."""
    released = sorted((release / "aragora_persist" / "migrations").glob("*/[0-9][0-9][0-9]_*.py"))
    present = [folder_of(path.parent.name) / path.name for path in released]
    edited = [old.name for old, new in zip(released, present, strict=True) if old.read_bytes() != new.read_bytes()]
    assert len(released) > len(DATABASES)
    assert edited == []


def test_the_first_release_works_on_the_newest_schema(release: Path, tmp_path: Path) -> None:
    """Its contract suite passes on databases that the newest migrations made."""
    make_newest(tmp_path)
    said = run_suite(release, tmp_path, *STORES)
    assert {test: outcome for test, outcome in said["outcomes"].items() if outcome != "passed"} == {}
    assert len(said["outcomes"]) > 300
    assert set(said["databases"]) == {database.name for database in DATABASES}


def test_a_schema_that_the_first_release_cannot_live_with_is_found(release: Path, tmp_path: Path) -> None:
    """A column more does no harm; one that is gone makes the suite fail; a newer reader's database is not opened."""
    make_newest(
        tmp_path,
        {
            "elo": further("ALTER TABLE ratings ADD COLUMN further TEXT", FIRST_RELEASE),
            "tokens": further("ALTER TABLE token_blacklist DROP COLUMN reason", FIRST_RELEASE),
            "positions": further("ALTER TABLE positions ADD COLUMN further TEXT", "99.0.0"),
        },
    )
    files = ("test_elo_store.py", "test_token_blacklist.py", "test_position_store.py")
    outcomes = run_suite(release, tmp_path, *files)["outcomes"]
    elo, tokens, positions = ({said for test, said in outcomes.items() if file in test} for file in files)
    assert elo == {"passed"}
    assert any("no column named reason" in said for said in tokens)
    assert all("SchemaTooNewError" in said and "99.0.0" in said for said in positions)
