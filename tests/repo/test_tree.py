"""The tree keeps its own rules: layout, dependency direction, sizes, reasons beside every exception."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    *("Pulumi.yaml", "Pulumi.dev.yaml", "infra", "aragora_persist", "supabase", "docker", "tests", "scripts", "docs"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "uv.lock", "Makefile"),
    *(".ci", ".dockerignore", ".gitignore", ".hadolint.yaml"),
}
MODULE_LINES = 400
FUNCTION_LINES = 60


def tracked(*patterns: str) -> list[Path]:
    """Return the tracked files that match, as paths that exist."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


PYTHON = tracked("*.py")


def name_of(path: Path) -> str:
    """Return a path as a reader of the tree says it."""
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, at whatever depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_top_level_is_the_fixed_one() -> None:
    """Nothing grows beside the agreed folders and the usual metadata files."""
    present = {path.relative_to(ROOT).parts[0] for path in tracked()}

    assert present <= TOP_LEVEL, f"not part of the layout: {sorted(present - TOP_LEVEL)}"


@pytest.mark.parametrize("folder", ["docker", "supabase"])
def test_folders_do_not_shadow_packages(folder: str) -> None:
    """A package marker here would hide the Docker SDK or the Supabase client from everything started at the root."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_library_imports_nothing_of_the_infrastructure() -> None:
    """Dependencies point from infra to the library, never back."""
    wrong = {
        name_of(path): sorted(bad)
        for path in tracked("aragora_persist/*.py")
        if (bad := {name for name in imports_of(path) if name.split(".")[0] in {"infra", "pulumi", "tests", "docker"}})
    }

    assert wrong == {}


def test_each_driver_has_one_home() -> None:
    """What an extra brings, and is slow to import, is spoken to in one place, which translates its errors."""
    homes: dict[str, tuple[str, ...]] = dict.fromkeys(
        ("supabase", "postgrest", "httpx"), ("aragora_persist/cloud/transport.py",)
    )
    # Where the Supabase schema is applied, where stores are on PostgreSQL, and where the one is backed up.
    homes["psycopg"] = (
        "aragora_persist/cloud/schema/",
        "aragora_persist/storage/postgresql/",
        "aragora_persist/backup/supabase/",
    )
    homes["pyrage"] = ("aragora_persist/backup/encryption.py",)
    homes["backports"] = homes["compression"] = ("aragora_persist/backup/archive.py",)
    homes["obstore"] = ("aragora_persist/backup/offsite/objects.py",)
    found = {
        (home, name_of(path))
        for path in tracked("aragora_persist/*.py", "infra/*.py")
        for home in {homes.get(name.split(".")[0]) for name in imports_of(path)}
        if home
    }

    assert {home for home, _ in found} == set(homes.values())
    assert sorted(path for home, path in found if not path.startswith(home)) == []


def test_the_program_knows_nothing_of_the_toolchain() -> None:
    """Where the engine of `pulumi up` comes from is a matter of the scripts, not of the program."""
    program = [path for path in tracked("infra/*.py") if not {"toolchain", "stack"} & set(path.parts)]
    wrong = {
        name_of(path)
        for path in program
        if any(name == "infra.toolchain" or name.startswith("infra.toolchain.") for name in imports_of(path))
    }

    assert program
    assert wrong == set()


def test_environment_is_read_in_one_place() -> None:
    """Only settings.py reads environment variables; everything else is told."""
    wrong = [
        name_of(path)
        for path in tracked("aragora_persist/*.py")
        if path.name != "settings.py" and re.search(r"os\.environ\b(?!\.copy)|os\.getenv|getenv\(", path.read_text())
    ]

    assert wrong == []


def test_pulumi_config_is_read_in_one_place() -> None:
    """Only infra/settings.py reads the stack's configuration; the program hands it over unread."""
    reads = re.compile(r"\b[Cc]onfig(?:\(\))?\.(?:get|require)")
    wrong = [
        name_of(path)
        for path in tracked("infra/*.py")
        # The bridge's `config` is a resource's, in Terraform's words.
        if name_of(path) != "infra/settings.py" and "toolchain" not in path.parts and reads.search(path.read_text())
    ]

    assert wrong == []


def test_no_stub_is_left() -> None:
    """A comment that promises later work is not work."""
    words = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error")
    wrong = [name_of(path) for path in tracked("*.py", "*.sh", "*.sql", "scripts/*") if words.search(path.read_text())]

    assert wrong == []


def test_every_silenced_check_names_its_code_and_its_reason() -> None:
    """A check is switched off for one code and one stated reason, or not at all."""
    silenced = re.compile(r"#\s*(?:noqa|type:\s*ignore)(?P<rest>.*)$", re.MULTILINE)
    code = r"(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[a-z, -]+\])"
    good = re.compile(rf"^{code}\s+(?:-|#|—)\s*\w.*$")
    wrong = [
        f"{name_of(path)}: {match.group(0)}"
        for path in PYTHON
        if path != Path(__file__)
        for match in silenced.finditer(path.read_text())
        if not good.match(match.group("rest"))
    ]

    assert wrong == []


def test_every_test_asserts() -> None:
    """A test function without an assertion, or a wait that fails in time, would pass with the code under it emptied."""
    checks = ("assert ", "raises(", "check_", "assert_", "wait_until(", "wait_ready(", "wait_for_the_end(")
    wrong = [
        f"{name_of(path)}: {node.name}"
        for path in tracked("tests/**/test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not any(check in ast.unparse(node) for check in checks)
    ]

    assert wrong == []


def test_tests_are_collected() -> None:
    """A file of tests whose name pytest does not collect would never run."""
    hidden = [
        name_of(path)
        for path in tracked("tests/*.py")
        if not path.name.startswith("test_")
        and any(
            isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            for node in ast.parse(path.read_text()).body
        )
    ]

    assert hidden == []


def test_what_needs_the_engine_says_so() -> None:
    """Where no engine answers, a test that asks for one is skipped, or fails a CI run: it does not end in an error."""
    wrong = [
        name_of(path)
        for path in tracked("tests/**/test_*.py")
        if re.search(r"\b(?:docker_engine|supabase: LocalSupabase|database: Database)\b", text := path.read_text())
        and "pytest.mark.engine" not in text
    ]

    assert wrong == []


def test_no_test_bounds_a_duration() -> None:
    """An upper bound on how long something took fails on a busy machine; a wait that gives up in the end does not."""
    bound = re.compile(r"assert .*(?:monotonic|perf_counter)\(\) - \w+ <")
    wrong = [name_of(path) for path in tracked("tests/*.py") if bound.search(path.read_text())]

    assert wrong == []


def test_modules_and_functions_stay_readable() -> None:
    """Over the limits a module must say why, in a comment or docstring with the word 'long because'."""
    wrong = []
    for path in tracked("aragora_persist/*.py", "infra/*.py"):
        text = path.read_text()
        if len(text.splitlines()) > MODULE_LINES and "long because" not in text:
            wrong.append(f"{name_of(path)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES and "long because" not in ast.unparse(node):
                    wrong.append(f"{name_of(path)}: {node.name}: {length} lines")

    assert wrong == []


def test_lint_exceptions_have_reasons() -> None:
    """Each rule that pyproject.toml switches off says why, or points at the one that does."""
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("[tool.ruff.lint]") : text.index("[tool.mypy]")]
    rules = [line for line in block.splitlines() if re.match(r'^\s+"[A-Z]+[0-9]*",?', line)]

    assert rules
    assert [line for line in rules if "#" not in line] == []
