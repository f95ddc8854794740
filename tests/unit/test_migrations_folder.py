"""The migrations' files, and the committed schemas that they make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aragora_persist.databases import DATABASES
from aragora_persist.errors import InvalidValueError, MigrationError, StorageError, UnsupportedError
from aragora_persist.migrations.creating import create
from aragora_persist.migrations.folder import Body, folder_of, load
from aragora_persist.migrations.schema_files import generate, schema_file, stale
from aragora_persist.times import from_text, utc_now
from aragora_persist.version import VERSION
from tests.unit.workshop import Workshop

ROOT = Path(__file__).parents[2]
UPGRADE = "def upgrade(conn): pass\n"
MOMENT = from_text("2024-01-03T12:00:00Z")


class TestFolder:
    """The files."""

    def test_creates_the_documented_form(self, tmp_path: Path) -> None:
        """Number, name, title, time and both functions, ready to be filled in; it loads and it is the next one."""
        (tmp_path / "001_initial.py").write_text("def upgrade(conn): pass\n")
        path = create(tmp_path, 'Add user "lockout" \\ fields', MOMENT)
        assert path.name == "002_add_user_lockout_fields.py"
        title = "Migration 002: Add user 'lockout' ' fields"
        assert path.read_text().startswith(f'"""\n{title}\n\nCreated: 2024-01-03T12:00:00\n"""\n\nimport sqlite3\n')
        workshop = Workshop(tmp_path)
        workshop.folder = tmp_path
        assert [step.version for step in workshop.migrate().migrations] == [1, 2]

    @pytest.mark.parametrize("description", ["", "  ", "…", '"""'])
    def test_refuses_a_description_without_a_name(self, tmp_path: Path, description: str) -> None:
        """Nothing is written then."""
        with pytest.raises(InvalidValueError):
            create(tmp_path, description, utc_now())
        assert list(tmp_path.iterdir()) == []

    def test_takes_a_description_that_is_not_utf_8(self, tmp_path: Path) -> None:
        """As a shell in another encoding passes it: the file is whole, with a mark where the letter was."""
        path = create(tmp_path, "caf\udce9 table", utc_now())
        assert path.name == "001_caf_table.py"
        assert "Migration 001: caf? table\n" in path.read_text()
        assert [migration.version for migration in load(tmp_path)] == [1]

    @pytest.mark.parametrize(
        ("description", "name", "title"),
        [
            ("Größe \N{EN DASH} “neu”…", "001_grosse_neu.py", "Größe - 'neu'..."),
            ("Émile's  table\n\tand\u2028more\x07", "001_emile_s_table_and_more.py", "Émile's table and more"),
            ("Users Привет", "001_users.py", "Users Привет"),
            ("../../etc/passwd", "001_etc_passwd.py", "../../etc/passwd"),
            ("{x} %s {version}", "001_x_s_version.py", "{x} %s {version}"),
            ("x" * 100, f"001_{'x' * 60}.py", "x" * 100),
            ("7", "001_7.py", "7"),
            ("a \u202e b \N{FULLWIDTH LATIN SMALL LETTER C}", "001_a_b_c.py", "a b c"),
        ],
    )
    def test_odd_descriptions_make_files_that_pass_every_check(
        self, tmp_path: Path, description: str, name: str, title: str
    ) -> None:
        """The linter and the formatter of this project have nothing to say about them, nor has the loader."""
        path = create(tmp_path, description, MOMENT)
        assert path == tmp_path / name
        assert path.read_text(encoding="utf-8").startswith(f'"""\nMigration 001: {title}\n\nCreated: 2024')
        text = path.read_bytes()
        for command in (["check"], ["format", "--check"]):
            ruff = [
                str(Path(sys.executable).parent / "ruff"),
                *command,
                "--no-cache",
                f"--config={ROOT}/pyproject.toml",
            ]
            placed = [*ruff, "--stdin-filename", "aragora_persist/migrations/users/001_x.py", "-"]
            done = subprocess.run(placed, cwd=ROOT, input=text, check=False, capture_output=True)
            assert done.returncode == 0, done.stdout.decode()
        assert [migration.name for migration in load(tmp_path)] == [path.stem]

    @given(st.text(max_size=98) | st.text(max_size=98).map("x {}".format))
    @example("\udce9x")
    def test_any_description_makes_a_whole_file_or_none(self, description: str) -> None:
        """One that loads and has the documented docstring, with one line of title; nothing else is left."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            try:
                path = create(folder, description, MOMENT)
            except InvalidValueError:
                assert list(folder.iterdir()) == []
                return
            (migration,) = load(folder)
            assert [migration.path] == list(folder.iterdir()) == [path]
            assert path.name.isascii()
            text = Body(migration).constant("__doc__")
            assert re.fullmatch(r"\nMigration 001: (\S.*)\n\nCreated: 2024-01-03T12:00:00\n", str(text))

    def test_refuses_a_title_that_fills_more_than_a_line(self, tmp_path: Path) -> None:
        """It would fail the project's own checks; a wide sign takes two columns. Nothing is written."""
        for description in ("x" * 101, "a" + "名" * 50):
            with pytest.raises(InvalidValueError, match="takes 101 columns"):
                create(tmp_path, description, MOMENT)
        assert list(tmp_path.iterdir()) == []

    def test_many_at_once_get_numbers_of_their_own(self, tmp_path: Path) -> None:
        """Whoever comes second takes the next one; each file is whole and nothing else is left in the folder."""
        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda step: create(tmp_path, f"Step {step % 3}", MOMENT), range(24)))
        assert sorted(path.name[:3] for path in paths) == [f"{number:03d}" for number in range(1, 25)]
        assert sorted(tmp_path.iterdir()) == sorted(paths)
        assert all("def downgrade" in path.read_text() for path in paths)

    def test_processes_at_once_get_numbers_of_their_own(self, tmp_path: Path) -> None:
        """As threads do: what they wait for is the folder's lock."""
        code = (
            "import sys; from pathlib import Path; from aragora_persist.migrations.creating import create;"
            "from aragora_persist.times import utc_now;"
            "print('ready', flush=True); sys.stdin.read();"
            "[create(Path(sys.argv[1]), 'Same', utc_now()) for _ in range(10)]"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        pipe = subprocess.PIPE
        workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(3)]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
            worker.stdout.close()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()  # which they all wait for
        assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
        assert [migration.version for migration in load(tmp_path)] == list(range(1, 31))

    def test_the_remains_of_a_killed_one_are_no_migration(self, tmp_path: Path) -> None:
        """They are cleaned away by the next, and other hidden files are not."""
        remains, other = tmp_path / ".001_x.py.0123abcd.partial", tmp_path / ".001_x.py.swp"
        remains.write_text("half a fi")
        other.touch()
        assert load(tmp_path) == ()
        path = create(tmp_path, "x", MOMENT)
        assert sorted(tmp_path.iterdir()) == sorted((other, path))

    def test_refuses_more_than_three_digits(self, tmp_path: Path) -> None:
        """The file would not be loaded."""
        for version in range(1, 1000):
            (tmp_path / f"{version:03d}_step.py").touch()
        with pytest.raises(InvalidValueError, match="999"):
            create(tmp_path, "one more", MOMENT)
        assert len(list(tmp_path.iterdir())) == 999

    def test_refuses_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        """No folder is made by the way."""
        (tmp_path / "file").touch()
        for folder in (tmp_path / "none", tmp_path / "file"):
            with pytest.raises(InvalidValueError, match="is not a folder"):
                create(folder, "one more", MOMENT)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_refuses_an_installed_package(self, tmp_path: Path) -> None:
        """In site-packages, and in a library volume: a package with no checkout around it. Nothing is written there."""
        packages = tmp_path / "lib" / "site-packages" / "aragora_persist" / "migrations" / "tokens"
        library = tmp_path / "library" / "aragora_persist"
        packages.mkdir(parents=True)
        shutil.copytree(ROOT / "aragora_persist", library, ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "mine").mkdir()
        before = sorted(library.rglob("*"))
        with pytest.raises(UnsupportedError, match="installed package"):
            create(packages, "one more", MOMENT)
        code = (
            "import sys; from pathlib import Path; from aragora_persist.migrations.creating import create;"
            "from aragora_persist.migrations.folder import folder_of;"
            "from aragora_persist.times import utc_now;"
            "print(create(Path(sys.argv[1]), 'Mine', utc_now()), flush=True);"
            "create(folder_of('tokens'), 'x', utc_now())"
        )
        command = [sys.executable, "-P", "-B", "-c", code, f"{tmp_path}/mine"]
        environment = {**os.environ, "PYTHONPATH": str(library.parent)}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert "UnsupportedError" in done.stderr
        assert "--dir" in done.stderr
        assert done.stdout == f"{tmp_path}/mine/001_mine.py\n"
        assert sorted(library.rglob("*")) == before
        assert list(packages.iterdir()) == []

    @pytest.mark.parametrize(
        "name",
        [
            *("3_foo.py", "003-foo.py", "003_Foo.py", "0003_foo.py", "003foo.py", "003_.py", "003.py", "_003_foo.py"),
            *("003_foo (1).py", "003_foo.bar.py", "003_foo.PY", "003_größe.py", "٠٠٣_foo.py", "003 foo.py"),
        ],
    )
    def test_refuses_a_name_that_nearly_is_a_migrations(self, tmp_path: Path, name: str) -> None:
        """Passed over in silence, it would never be applied."""
        workshop = Workshop(tmp_path)
        (workshop.folder / "001_a.py").write_text("def upgrade(conn): conn.execute('CREATE TABLE t (a)')\n")
        (workshop.folder / name).write_text(UPGRADE)
        with pytest.raises(MigrationError, match="not named as a migration is") as refused:
            workshop.migrate()
        assert refused.value.target == str(workshop.folder / name)
        assert workshop.content() == ([], {})

    def test_passes_over_what_is_nobodys_migration(self, tmp_path: Path) -> None:
        """Caches, an editor's copies and locks, notes, modules beside."""
        (tmp_path / "001_a.py").write_text(UPGRADE)
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / ".#001_a.py").symlink_to("nowhere")
        others = ("__init__.py", "001_a.py~", "#001_a.py#", ".001_a.py.swp", "._001_a.py", "001_a.py.orig", "001_a.pyc")
        for name in (*others, "schema.sql", "shapes.py", "001_notes.md", "4913"):
            (tmp_path / name).touch()
        assert [migration.name for migration in load(tmp_path)] == ["001_a"]

    def test_refuses_what_cannot_be_read(self, tmp_path: Path) -> None:
        """A folder that is named like a migration, or a link that leads nowhere: one of our errors names it."""
        (tmp_path / "001_a.py").mkdir()
        with pytest.raises(StorageError, match="001_a"):
            load(tmp_path)
        (tmp_path / "001_a.py").rmdir()
        (tmp_path / "001_a.py").symlink_to("nowhere")
        with pytest.raises(StorageError, match="001_a"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("source", "place", "problem"),
        [
            ("import sqlite3\n\n\ndef upgrade(conn):\n    conn.execute(\n", ", line 5", "SyntaxError: '\\(' was never"),
            ("x = 1\n", "", r"no function upgrade\(conn\)"),
            ("\ntable = {}\nname = table['x']\n", ", line 3", "KeyError: 'x'"),
            ("\n\nasync def upgrade(conn):\n    pass\n", ", line 3", "upgrade is async or a generator"),
            ("def upgrade(conn):\n    yield conn\n", ", line 1", "upgrade is async or a generator"),
        ],
    )
    def test_says_file_and_line_of_what_cannot_run(self, tmp_path: Path, source: str, place: str, problem: str) -> None:
        """And nothing is applied, neither what is whole: a generator that is called does nothing at all."""
        workshop = Workshop(tmp_path)
        path = workshop.folder / "001_a.py"
        path.write_text(source)
        with pytest.raises(MigrationError, match=problem) as refused:
            workshop.migrate()
        assert refused.value.target == f"{path}{place}"
        assert workshop.content() == ([], {})

    @pytest.mark.parametrize("names", [("001_a.py", "001_b.py"), ("001_a.py", "003_c.py"), ("002_b.py",)])
    def test_refuses_duplicates_and_gaps(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        """By the files themselves; nothing is applied."""
        workshop = Workshop(tmp_path)
        for name in names:
            (workshop.folder / name).write_text("def upgrade(conn): conn.execute('CREATE TABLE t (a)')\n")
        with pytest.raises(MigrationError, match=r"twice|missing"):
            workshop.migrate()
        with pytest.raises(MigrationError):
            create(workshop.folder, "one more", utc_now())
        assert sorted(file.name for file in workshop.folder.iterdir()) == sorted(names)

    @pytest.mark.parametrize("name", [database.name for database in DATABASES])
    def test_every_database_has_its_migrations(self, name: str) -> None:
        """A first migration, numbered without gaps, and a committed schema that is what they make."""
        assert load(folder_of(name))[0].name == "001_initial"
        assert schema_file(name).read_text() == generate(name)

    def test_the_committed_schemas_are_checked_by_a_command(self) -> None:
        """``--check`` is what a build calls."""
        command = [sys.executable, "-m", "aragora_persist.migrations.schema_files", "--check"]
        assert stale() == []
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_the_version_is_the_packages(request: pytest.FixtureRequest) -> None:
    """The constant that the ledger stores is the version of the distribution."""
    text = (request.config.rootpath / "pyproject.toml").read_text()
    assert f'\nversion = "{VERSION}"\n' in text
