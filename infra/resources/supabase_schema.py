"""The schema of a Supabase project as a Pulumi resource: `up` applies what is pending, `preview` names it, and drift.

Pulumi stores the name of this module with the resource, so it is never renamed. What the database looks like is asked
in `diff`, with the URL that the program has now; the outputs are nothing but the digests of the files. So a new
password or port changes nothing, and another database gets what it lacks. Drift is named and never acted on; `destroy`
leaves tables and rows as they are.

Leaves out: making the database, and waiting for one that is being made; whoever declares both says `depends_on`.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult
from pulumi.runtime.rpc import UNKNOWN

from aragora_persist.cloud.schema import NOT_THERE, apply_schema, inspect_schema
from aragora_persist.cloud.schema.connecting import database_of
from aragora_persist.cloud.schema.folder import load, shipped_folder
from aragora_persist.errors import InvalidValueError, PersistError
from aragora_persist.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    Properties = dict[str, Any]  # as Pulumi hands them over


class SupabaseSchemaProvider(ResourceProvider):
    """Applies and compares; Pulumi makes one of these in a process of its own."""

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuse what is no URL; the network is not asked."""
        failures = []
        if news["db_url"] != UNKNOWN:
            try:
                database_of(Secret(news["db_url"]))
            except InvalidValueError as error:
                failures.append(CheckFailure("db_url", f"{error.problem} ({error.hint})"))
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compare with the database itself; where it does not answer, with the files of the last update.

        Raises:
            PersistError: the files are others than at the last update, and `up` would be refused: an applied one was
                edited, or something is pending over drift.

        """
        # What else Pulumi stores, the provider's own text among it, is no reason for a change.
        changed = olds.get("migrations") != news["migrations"]
        if news["db_url"] == UNKNOWN:
            return DiffResult(changes=changed)
        try:
            state = inspect_schema(Secret(news["db_url"]))
        except NOT_THERE as error:
            # The same `up` may be about to start it, or to give it another password.
            _warn(f"drift unknown: {error}")
            return DiffResult(changes=changed)
        for line in state.drift:
            _warn(f"drift: {line}")
        try:
            state.check()
        except PersistError as error:
            if changed:
                raise
            # So it is in a refresh too, which compares with what is stored: `destroy` begins with one.
            _warn(str(error))
        for title in state.pending:
            _tell(f"pending: {title}")
        return DiffResult(changes=changed or bool(state.pending))

    def create(self, props: Properties) -> CreateResult:
        """Apply what is pending; killed or failed, the next `up` goes on after the last file that was applied."""
        return CreateResult("schema", _applied(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Apply what is pending."""
        return UpdateResult(_applied(news))


class SupabaseSchema(Resource, module="aragora", name="SupabaseSchema"):
    """This release's migrations, applied to the database at ``db_url``; ``migrations`` maps each one to its digest."""

    migrations: pulumi.Output[Mapping[str, str]]

    def __init__(self, name: str, db_url: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> None:
        digests = {
            file.title: hashlib.sha256(file.path.read_bytes()).hexdigest()[:16] for file in load(shipped_folder())
        }
        props = {"db_url": pulumi.Output.secret(db_url), "migrations": digests}
        super().__init__(SupabaseSchemaProvider(), name, props, opts)


def _applied(props: Properties) -> Properties:
    apply_schema(Secret(props["db_url"]), on_applied=lambda title: _tell(f"applied: {title}"))
    return {"migrations": props["migrations"]}


# Each message once: Pulumi asks for a difference when it refreshes, and again when it plans.
@functools.cache
def _tell(message: str) -> None:
    pulumi.log.info(f"Supabase schema: {message}")


@functools.cache
def _warn(message: str) -> None:
    pulumi.log.warn(f"Supabase schema: {message}")
