"""The life of one kind of resource: check, diff, create, read, update, delete.

Pulumi-shaped plain values in and out; the wire forms and Pulumi's calls are ``service``'s. Decisions that neither side
makes by itself are made here: automatic names, what counts as a change, what a failed creation leaves behind.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .convert import from_terraform, to_terraform, unknown_names
from .diff import Difference, differences, replaced
from .ignored import keep
from .state import proposed
from .terraform import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .diff import Steps
    from .schema import Record, Served
    from .terraform import Plan, State, Terraform
    from .values import Value

Outputs = dict[str, "Value"]

# An output of the plugin's own, under the name that the official one uses: the version of the state's schema, and
# whether the creation failed half-way, so that the next run replaces the resource as Terraform would.
META: Final = "__meta"
# The provider observes its limit itself and reports what exists by then; the call's limit is only there if it does not.
_ANSWER_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class Change:
    """What an update would do: the differing properties, and those that can only change by replacing."""

    differences: tuple[Difference, ...]
    replaced: frozenset[str]  # paths
    tainted: bool


class PartlyCreatedError(Exception):
    """A creation failed but something exists: it is recorded, and replaced by the next run."""

    def __init__(self, reason: str, id_: str, outputs: Outputs) -> None:
        super().__init__(reason)
        self.id = id_
        self.outputs = outputs


class Resource:
    """One kind of resource, for instance every container. Thread-safe."""

    def __init__(self, served: Served, record: Record, version: int, terraform: Terraform) -> None:
        self.served = served
        self.record = record
        self._version = version
        self._terraform = terraform
        self._made_lock = threading.Lock()
        self._made: set[str] = set()  # ids that this process has created

    def complaints(self, inputs: Mapping[str, Value]) -> list[tuple[str, str]]:
        """Say what is wrong with a program's inputs, as (property path or "", reason). Touches no engine."""
        found = [(name, "the resource has no such property") for name in unknown_names(self.record, inputs)]
        config = to_terraform(self.record, inputs)
        complaints = self._terraform.complaints(self.served.terraform, config)
        return found + [(self._pulumi_path(complaint.attribute), str(complaint)) for complaint in complaints]

    def change(self, id_: str, olds: Outputs, news: Mapping[str, Value], ignore_changes: Iterable[str]) -> Change:
        """Compare a resource's state with a program's inputs."""
        prior = self._state(id_, olds)
        config, plan = self._plan(prior, self._kept(news, olds, ignore_changes))
        found = differences(self.record, prior, plan.state, config)
        replacing = replaced(found, plan.requires_replace)
        return Change(
            tuple(found), frozenset(one.path for one in replacing), tainted=_meta(olds).get("tainted") is True
        )

    def preview(
        self, id_: str, olds: Outputs | None, news: Mapping[str, Value], ignore_changes: Iterable[str] = ()
    ) -> Outputs:
        """Return the outputs as far as they are known before a creation (``olds`` None) or an update."""
        prior = None if olds is None else self._state(id_, olds)
        _, plan = self._plan(prior, self._kept(news, olds or {}, ignore_changes))
        return self._outputs(plan.state)

    def create(self, inputs: Mapping[str, Value], seconds: float | None) -> tuple[str, Outputs]:
        """Create, and answer id and outputs.

        Raises: ProviderError when nothing exists, PartlyCreatedError when something does.
        """
        config, plan = self._plan(None, inputs, self._limits("create", seconds))
        try:
            state = self._apply(None, plan, config, seconds)
        except ProviderError as error:
            if error.state and error.state.get("id"):
                outputs = self._outputs(error.state, tainted=True)
                raise PartlyCreatedError(str(error), str(error.state["id"]), outputs) from error
            raise
        id_ = str(state["id"])
        with self._made_lock:
            self._made.add(id_)
        return id_, self._outputs(state)

    def update(
        self, id_: str, olds: Outputs, news: Mapping[str, Value], ignore_changes: Iterable[str], seconds: float | None
    ) -> Outputs:
        """Change in place. After a failure the recorded state stays the old one, so the next run tries again."""
        prior = self._state(id_, olds)
        config, plan = self._plan(prior, self._kept(news, olds, ignore_changes), self._limits("update", seconds))
        return self._outputs(self._apply(prior, plan, config, seconds))

    def read(self, id_: str, olds: Outputs) -> tuple[str, Outputs] | None:
        """Return id and outputs as they are now; None when the resource is gone. Without ``olds`` it is imported."""
        current = self._state(id_, olds) if olds else self._terraform.imported(self.served.terraform, id_)
        state = None if current is None else self._terraform.read(self.served.terraform, current)
        if state is None:
            return None
        return str(state["id"]), self._outputs(state, tainted=_meta(olds).get("tainted") is True)

    def inputs_of(self, outputs: Outputs) -> Outputs:
        """Choose the inputs that a program would state to get what was imported."""
        return {
            name: value
            for name, value in outputs.items()
            if (field := self.record.by_pulumi.get(name)) and field.configurable and value not in ("", 0, False, [], {})
        }

    def delete(self, id_: str, olds: Outputs, seconds: float | None) -> None:
        """Delete; what is already gone counts as deleted.

        An image whose name another one has taken over stays, nameless, for ``docker image prune``: the provider deletes
        by name, and would delete the new one.
        """
        prior = self._state(id_, olds)
        if self.served.removed_by_name and self._name_taken_over(id_, prior):
            return
        self._terraform.apply(self.served.terraform, prior, None, None, b"", seconds)

    def _name_taken_over(self, id_: str, prior: State) -> bool:
        with self._made_lock:
            if id_ in self._made:
                return True
        current = self._terraform.read(self.served.terraform, prior)
        return current is not None and current.get("id") != id_

    def _plan(self, prior: State | None, inputs: Mapping[str, Value], limits: Value = None) -> tuple[State, Plan]:
        config = to_terraform(self.record, inputs)
        if limits is not None:
            config["timeouts"] = limits
        plan = self._terraform.plan(self.served.terraform, prior, proposed(self.record, config, prior), config)
        return config, plan

    def _apply(self, prior: State | None, plan: Plan, config: State, seconds: float | None) -> State:
        if seconds is not None and "timeouts" in self.record.by_terraform:
            seconds += _ANSWER_SECONDS
        return self._terraform.apply(self.served.terraform, prior, plan.state, config, plan.private, seconds)

    def _limits(self, operation: str, seconds: float | None) -> Value:
        if seconds is None or "timeouts" not in self.record.by_terraform:
            return None
        limits: dict[str, Value] = dict.fromkeys(("create", "update", "delete"))
        limits[operation] = f"{seconds:g}s"
        return limits

    def _kept(self, news: Mapping[str, Value], olds: Outputs, ignore_changes: Iterable[str]) -> Outputs:
        return keep(self.record, dict(news), olds, ignore_changes)

    def _state(self, id_: str, outputs: Outputs) -> State:
        return {**to_terraform(self.record, outputs), "id": id_}

    def _outputs(self, state: State, *, tainted: bool = False) -> Outputs:
        outputs = from_terraform(self.record, state)
        outputs.pop("id", None)
        outputs.pop("timeouts", None)
        meta: dict[str, object] = {"schema_version": str(self._version)}
        outputs[META] = json.dumps({**meta, "tainted": True} if tainted else meta)
        return outputs

    def _pulumi_path(self, steps: Steps) -> str:
        """Name the property that a diagnostic points at; its top level, which is where a program looks first."""
        field = self.record.by_terraform.get(str(steps[0])) if steps else None
        return field.pulumi if field else ""


def _meta(outputs: Mapping[str, Value]) -> dict[str, object]:
    text = outputs.get(META)
    meta = json.loads(text) if isinstance(text, str) else {}
    return meta if isinstance(meta, dict) else {}
