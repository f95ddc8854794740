"""The lifecycle matrix: five kinds of resources, moved through every step together, on the real engine.

One stack goes through all the steps once; each cell of the matrix is then a test of its own. Beside the first set of
resources stands a second one, whose things somebody else removes before the stack is destroyed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from .bridge_program import Wanted
from .bridge_support import Stack, build_context

if TYPE_CHECKING:
    from docker import DockerClient

    from .bridge_support import Plugin, Run

pytest_plugins = ("tests.integration.bridge_fixtures",)
pytestmark = pytest.mark.engine

KINDS = ("container", "volume", "network", "image", "tag")


@dataclass(frozen=True)
class Thing:
    """A thing on the engine: what tells it from another of the same name, and what the steps change."""

    id: str | None
    state: object


@dataclass
class History:
    """Each step's run, and what stood on the engine after it."""

    runs: dict[str, Run] = field(default_factory=dict)
    seen: dict[str, dict[str, Thing]] = field(default_factory=dict)

    def kind(self, step: str, name: str) -> str:
        """Return what happened to a resource in a step."""
        return self.runs[step].kinds().get(name, "nothing")


def look(engine: DockerClient, prefix: str) -> dict[str, Thing]:
    """Describe what the first set of resources is on the engine; what is not there is left out."""
    seen: dict[str, Thing] = {}
    for container in engine.containers.list(all=True, filters={"name": f"^/{prefix}-container$"}):
        policy = container.attrs["HostConfig"]["RestartPolicy"]["Name"]
        seen["container"] = Thing(container.id, (container.status, policy, container.attrs["Config"]["Env"][0]))
    for volume in engine.volumes.list(filters={"name": f"{prefix}-volume"}):
        seen["volume"] = Thing(volume.id, volume.attrs["Labels"])
    for network in engine.networks.list(filters={"name": f"^{prefix}-network$"}):
        seen["network"] = Thing(network.id, network.attrs["Attachable"])
    for image in engine.images.list():
        names = [tag.removeprefix(f"{prefix}:") for tag in image.tags if tag.startswith(prefix)]
        seen |= {name: Thing(image.id, None) for name in names}
    return seen


@pytest.fixture(scope="module")
def history(plugin: Plugin, engine: DockerClient, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Take one stack through every step. Long, as it is the list of the steps."""
    folder = tmp_path_factory.mktemp("lifecycle")
    wanted = Wanted(prefix, build_context(folder / "image", prefix, "LABEL step=first"))
    stack = Stack(plugin, folder / "state", "bridge-lifecycle", wanted.program)
    history = History()

    def done(step: str, run: Run) -> None:
        history.runs[step], history.seen[step] = run, look(engine, prefix)

    wanted.import_ids = {
        "network": str(engine.networks.create(f"{prefix}-imported").id),
        "volume": str(engine.volumes.create(f"{prefix}-imported").id),
    }
    done("create", stack.up())
    done("no change", stack.up())

    wanted.restart, wanted.keep_locally, wanted.tag_trigger, wanted.second_label = "always", True, "second", "second"
    done("update", stack.truthful_up())
    done("refresh", stack.up(refresh=True))

    build_context(folder / "image", prefix, "LABEL step=second")
    wanted.env, wanted.volume_name, wanted.network_attachable = "STEP=second", "volume-second", True
    wanted.trigger, wanted.tag = "second", "second"
    done("replace", stack.truthful_up())

    engine.containers.get(f"{prefix}-container").stop(timeout=1)
    engine.images.remove(f"{prefix}:second")
    done("repair", stack.up(refresh=True))

    engine.containers.get(f"{prefix}-container").remove(force=True)
    engine.networks.get(f"{prefix}-network").remove()
    engine.volumes.get(f"{prefix}-volume-second").remove()
    engine.images.remove(f"{prefix}:image", force=True)
    done("make again", stack.up(refresh=True))

    engine.containers.get(f"{prefix}-gone-container").remove()
    engine.networks.get(f"{prefix}-gone-network").remove()
    engine.volumes.get(f"{prefix}-gone-volume").remove()
    for tag in ("gone", "gone-tag"):
        engine.images.remove(f"{prefix}:{tag}", force=True)
    done("delete", stack.destroy())
    return history


NOTHING = dict.fromkeys(KINDS, "nothing")
MATRIX = {
    "create": dict.fromkeys(KINDS, "create") | {"imported-network": "import", "imported-volume": "import"},
    "no change": NOTHING | {"imported-network": "nothing", "imported-volume": "nothing"},
    # The provider can change a container and an image in place; of a tag, a volume and a network it replaces whatever
    # changes (shown on the second set: nothing hangs on those).
    "update": {
        "container": "update",
        "image": "update",
        "tag": "replace",
        "gone-volume": "replace",
        "gone-network": "replace",
        "volume": "nothing",
        "network": "nothing",
    },
    "refresh": NOTHING,
    "replace": dict.fromkeys(KINDS, "replace"),
    # A stopped container publishes no ports, and the provider can only bring these back by replacing it. It never looks
    # for a tag again, so one that was removed stays away.
    "repair": NOTHING | {"container": "replace"},
    "make again": {"container": "create", "volume": "create", "network": "create", "image": "create"},
    "delete": dict.fromkeys(KINDS, "delete") | {f"gone-{kind}": "delete" for kind in KINDS},
}
CELLS = [(step, name, kind) for step, row in MATRIX.items() for name, kind in row.items()]


@pytest.mark.parametrize(("step", "name", "kind"), CELLS, ids=[f"{step}-{name}" for step, name, _ in CELLS])
def test_each_step_does_to_each_resource_what_it_should(history: History, step: str, name: str, kind: str) -> None:
    """One cell of the matrix: what Pulumi did to one resource in one step."""
    assert kind == history.kind(step, name)


def test_what_was_created_is_on_the_engine(history: History) -> None:
    """All five exist after the first run, and run where they can."""
    seen = history.seen["create"]
    assert {"container", "volume", "network", "image", "first"} <= seen.keys()
    assert seen["container"].state == ("running", "no", "STEP=first")
    assert seen["volume"].state == {"made-by": "test", "also": "test"}
    assert seen["first"] == seen["image"]


def test_nothing_on_the_engine_changes_without_a_change(history: History) -> None:
    """A second run and one with a refresh leave the very same things."""
    assert history.seen["create"] == history.seen["no change"]
    assert history.seen["update"] == history.seen["refresh"]


def test_an_update_in_place_reaches_the_same_container(history: History) -> None:
    """The restart policy changes and the container's identity does not."""
    before, after = history.seen["no change"]["container"], history.seen["update"]["container"]
    assert before.id == after.id
    assert after.state == ("running", "always", "STEP=first")


@pytest.mark.parametrize("name", ["container", "volume", "network", "image"])
def test_a_replacement_is_another_thing(history: History, name: str) -> None:
    """After a replacement the name belongs to a new thing with the new properties."""
    assert history.seen["replace"][name].id != history.seen["refresh"][name].id


def test_a_replaced_image_keeps_its_name(history: History) -> None:
    """Removing the old image does not take the name away from the new one."""
    assert history.seen["replace"]["image"] == history.seen["replace"]["second"]
    assert history.seen["replace"]["container"].state == ("running", "always", "STEP=second")


def test_a_stopped_container_runs_again(history: History) -> None:
    """A run with refresh repairs a container that somebody stopped."""
    assert history.seen["repair"]["container"].state == ("running", "always", "STEP=second")
    assert "second" not in history.seen["repair"]


def test_what_somebody_removed_comes_back(history: History) -> None:
    """Container, volume, network and image are made again under their names."""
    assert {"container", "volume", "network", "image"} <= history.seen["make again"].keys()


def test_destroying_leaves_what_the_program_kept(history: History) -> None:
    """Afterwards only the image that the program keeps locally is there, and a tag: the provider never removes one."""
    assert history.seen["delete"].keys() == {"image", "first"}
