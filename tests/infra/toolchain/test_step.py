"""The policy of a step: what is there is used, origins are tried in their order, a failure tells everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.toolchain.step import (
    BlockedError,
    Context,
    Found,
    Origin,
    PartMissingError,
    Step,
    UnavailableError,
    run_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.infra.toolchain.machine import Machine


def _find(context: Context) -> Found | None:
    """Find a part that is a file with its version."""
    file = context.repository / "part"
    return Found(file.read_text(), "file") if file.exists() else None


def _make(version: str) -> Callable[[Context], None]:
    def obtain(context: Context) -> None:
        (context.repository / "part").write_text(version)

    return obtain


def _refuse(error: Exception) -> Callable[[Context], None]:
    def obtain(_context: Context) -> None:
        raise error

    return obtain


def test_a_part_that_is_there_is_used_and_no_origin_is_asked(machine: Machine) -> None:
    """An origin that would fail is not reached when the part is found."""
    (machine.repository / "part").write_text("1.0")
    step = Step("part", _find, (Origin("broken", _refuse(UnavailableError("no"))),), "-")
    assert run_step(step, machine.context) == Found("1.0", "file")
    assert machine.told.split()[:3] == ["part", "1.0", "file"]


def test_origins_are_tried_in_order_until_one_gives_the_part(machine: Machine) -> None:
    """The second origin gives it, the third is not asked, and the line names the first as passed over."""
    origins = (
        Origin("first", _refuse(UnavailableError("no route"))),
        Origin("second", _make("2.0")),
        Origin("third", _make("3.0")),
    )
    assert run_step(Step("part", _find, origins, "-"), machine.context).version == "2.0"
    assert (machine.repository / "part").read_text() == "2.0"
    assert "(not from: first)" in machine.told


def test_a_part_that_no_origin_gives_is_an_error_with_every_answer_and_the_way_out(machine: Machine) -> None:
    """Names, answers, the whole output of a failing command, and what to do."""
    noisy = machine.program("noisy", "seq 1 500; echo the last word >&2; exit 3")

    def run_noisy(context: Context) -> None:
        context.run(str(noisy))

    origins = (Origin("first", _refuse(UnavailableError("no route"))), Origin("second", run_noisy))
    with pytest.raises(PartMissingError) as caught:
        run_step(Step("part", _find, origins, "connect a cable"), machine.context)
    text = str(caught.value)
    assert text.startswith("part: cannot be had.")
    assert "first: no route" in text
    assert f"second: {noisy} exited with 3" in text
    assert all(f"    | {number}\n" in text for number in range(1, 501))
    assert "    | the last word" in text
    assert text.endswith("way out: connect a cable")
    assert not (machine.repository / "part").exists()


def test_an_origin_that_only_says_it_succeeded_is_not_believed(machine: Machine) -> None:
    """What was installed must then be found."""
    step = Step("part", _find, (Origin("liar", lambda _context: None),), "-")
    with pytest.raises(PartMissingError, match="installed, and yet is not found"):
        run_step(step, machine.context)


def test_a_full_disk_is_an_answer_like_any_other(machine: Machine) -> None:
    """What the operating system refuses is told with the part that needed it."""
    full = OSError(28, "No space left on device", "/somewhere")
    with pytest.raises(PartMissingError, match=r"(?s)part: cannot be had\..*first: .*No space left on device"):
        run_step(Step("part", _find, (Origin("first", _refuse(full)),), "-"), machine.context)


def test_a_blocked_origin_ends_the_search_with_its_own_way_out(machine: Machine) -> None:
    """Where the user must act, installing something else would not help."""
    blocked = BlockedError("permission denied", "run usermod")
    step = Step("part", _find, (Origin("first", _refuse(blocked)), Origin("second", _make("2.0"))), "-")
    with pytest.raises(PartMissingError, match="way out: run usermod"):
        run_step(step, machine.context)
    assert not (machine.repository / "part").exists()


def test_what_an_origin_needs_is_got_first_and_told_once(machine: Machine) -> None:
    """Two parts need the same third one: one line for it."""
    needed = Step("needed", lambda _context: Found("7", "here"), (), "-")
    for name in ("one", "two"):
        step = Step(name, _find, (Origin("origin", _make("1.0"), needs=(needed,)),), "-")
        run_step(step, machine.context)
        (machine.repository / "part").unlink()
    assert machine.told.count("needed") == 1


def test_an_origin_whose_need_cannot_be_had_is_passed_over(machine: Machine) -> None:
    """The answer of the missing part is part of the answer."""
    missing = Step("missing", lambda _context: None, (), "plant a tree")
    step = Step("part", _find, (Origin("first", _make("1.0"), needs=(missing,)), Origin("second", _make("2.0"))), "-")
    assert run_step(step, machine.context).version == "2.0"
    with pytest.raises(PartMissingError, match=r"(?s)it needs another part: missing.*plant a tree"):
        run_step(Step("other", lambda _context: None, step.origins[:1], "-"), machine.context)
