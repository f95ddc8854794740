"""Programs written in Go: the one on PATH where it is new enough, else built of its pinned modules."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import pins
from infra.toolchain.parts.go_programs import S3_SERVER
from infra.toolchain.step import Found, UnavailableError, run_step

if TYPE_CHECKING:
    from tests.infra.toolchain.machine import Machine

# Like the real one it says what it is, and makes the file that follows -o.
GO = """
if [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit; fi
echo "$PWD $*" >>"$HOME/built"
while [ "$1" != -o ]; do shift; done
echo program >"$2"; chmod 755 "$2"
"""


def bootstrap_again(machine: Machine) -> None:
    """Get the part as the next bootstrap does, which knows nothing of this one."""
    machine.context.settled.clear()
    run_step(S3_SERVER, machine.context)


def test_the_one_on_path_is_used(machine: Machine) -> None:
    """Nothing is built and no link made."""
    program = machine.program("versitygw", "echo 'Version  : v1.9.0'; echo 'Build    : norev'")
    assert S3_SERVER.find(machine.context) == Found("1.9.0", f"PATH ({program})")
    assert run_step(S3_SERVER, machine.context).version == "1.9.0"
    assert not machine.context.store.bin_dir.exists()


def test_an_old_one_is_passed_over_and_the_pinned_one_built_once(machine: Machine) -> None:
    """Of the pinned modules, in their folder; a second bootstrap finds it, and a damaged one is built again."""
    machine.program("versitygw", "echo 'Version  : v1.7.9'")
    machine.program("go", GO)
    with pytest.raises(UnavailableError, match=r"is 1\.7\.9, at least 1\.8\.0 is needed"):
        S3_SERVER.origins[0].obtain(machine.context)
    assert run_step(S3_SERVER, machine.context) == Found("1.8.0", "Go modules")
    program = machine.context.store.bin_dir / "versitygw"
    assert os.access(program, os.X_OK)
    bootstrap_again(machine)
    [built] = (machine.folder / "built").read_text().splitlines()
    assert built.startswith(f"{pins.VERSITYGW.module_dir} build -mod=readonly")
    program.write_text("")
    assert S3_SERVER.find(machine.context) is None
    bootstrap_again(machine)
    assert program.read_text() == "program\n"
