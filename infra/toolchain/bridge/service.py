"""Pulumi's side: the ``pulumirpc.ResourceProvider`` service.

Decodes requests, encodes answers, marks secrets, and turns every failure into one readable diagnostic that names the
resource. What a resource does is ``resources``' business.
"""

# ruff: noqa: N802 - the methods have the protocol's names

from __future__ import annotations

import functools
import json
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from .convert import to_terraform, unknown_names
from .resources import META, Change, PartlyCreatedError
from .schema import Scalar
from .secrets import secret_outputs
from .terraform import ProviderError
from .values import Properties, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf import struct_pb2

    from .resources import Outputs, Resource
    from .schema import Record
    from .secrets import Redactor
    from .terraform import Terraform
    from .values import Value

LOG: Final = logging.getLogger("bridge")
_Answer = TypeVar("_Answer")
_Diff: Final = provider_pb2.DiffResponse
_Kind: Final = provider_pb2.PropertyDiff
_AutoName: Final = provider_pb2.CheckRequest.AutonamingOptions
_RANDOM_DIGITS: Final = 7  # as many as Pulumi's own automatic names have
_KINDS: Final = {
    "add": (_Kind.ADD, _Kind.ADD_REPLACE),
    "delete": (_Kind.DELETE, _Kind.DELETE_REPLACE),
    "update": (_Kind.UPDATE, _Kind.UPDATE_REPLACE),
}


def _reported(method: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Run one call: log it without values, and end it with one diagnostic when it fails."""

    @functools.wraps(method)
    def call(self: Service, request: Any, context: grpc.ServicerContext) -> _Answer:  # noqa: ANN401 - every message
        urn, start = getattr(request, "urn", ""), time.monotonic()
        try:
            answer = method(self, request, context)
        except PartlyCreatedError as error:
            LOG.info("%s %s partly created in %.2f s", method.__name__, urn, time.monotonic() - start)
            self.fail_partly(request, context, error)
        except (ProviderError, ValueError) as error:
            LOG.info("%s %s failed in %.2f s", method.__name__, urn, time.monotonic() - start)
            self.fail(context, _subject(urn), method.__name__, str(error))
        except Exception as error:  # noqa: BLE001 - the last place where it can be kept from the user's terminal
            where = traceback.extract_tb(error.__traceback__)
            trace = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(where))
            LOG.error("%s %s defect %s at %s", method.__name__, urn, type(error).__name__, trace)  # noqa: TRY400 - the text of the error may hold a value
            self.fail(
                context, _subject(urn), method.__name__, f"a defect of the bridge: {type(error).__name__} at {trace}"
            )
        LOG.info("%s %s done in %.2f s", method.__name__, urn, time.monotonic() - start)
        return answer

    return call


class Service(provider_pb2_grpc.ResourceProviderServicer):
    """Serves one provider instance of a Pulumi run, from several threads."""

    def __init__(
        self,
        terraform: Terraform,
        provider: Record,
        resources: Mapping[str, Resource],
        version: str,
        redactor: Redactor,
    ) -> None:
        self._terraform = terraform
        self._provider = provider
        self._resources = resources
        self._version = version
        self._redactor = redactor

    # The provider itself

    @_reported
    def Handshake(self, _request: object, _context: object) -> provider_pb2.ProviderHandshakeResponse:
        """Say what this plugin can do; the same answer as Configure's."""
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, accept_resources=False, accept_outputs=False, supports_autonaming_configuration=True
        )

    @_reported
    def GetPluginInfo(self, _request: object, _context: object) -> plugin_pb2.PluginInfo:
        """Answer the version, which is the wheel's."""
        return plugin_pb2.PluginInfo(version=self._version)

    @_reported
    def CheckConfig(self, request: provider_pb2.CheckRequest, _context: object) -> provider_pb2.CheckResponse:
        """Check the provider's own settings, the engine's address among them, without using them."""
        self._provider_config(request.news)
        return provider_pb2.CheckResponse(inputs=request.news)

    @_reported
    def DiffConfig(self, request: provider_pb2.DiffRequest, _context: object) -> provider_pb2.DiffResponse:
        """Take changed settings over; resources stay where they are."""
        olds, news = self._decode(request.olds).values, self._decode(request.news).values
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        return _Diff(changes=_Diff.DIFF_SOME if changed else _Diff.DIFF_NONE, diffs=changed)

    @_reported
    def Configure(self, request: provider_pb2.ConfigureRequest, _context: object) -> provider_pb2.ConfigureResponse:
        """Hand the settings to the Terraform provider."""
        self._terraform.configure(self._provider_config(request.args))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @_reported
    def Cancel(self, _request: object, _context: object) -> empty_pb2.Empty:
        """Stop what is under way; each call then reports what it has made by then."""
        self._terraform.stop()
        return empty_pb2.Empty()

    @_reported
    def Invoke(self, request: provider_pb2.InvokeRequest, _context: object) -> NoReturn:
        """Refuse functions, readably."""
        raise ProviderError(f"{request.tok}: the bridge serves no functions, only resources")

    # Resources

    @_reported
    def Check(self, request: provider_pb2.CheckRequest, _context: object) -> provider_pb2.CheckResponse:
        """Complete a program's inputs with an automatic name and have the provider look at them."""
        resource = self._resource(request.urn)
        inputs = self._decode(request.news).values
        checked = provider_pb2.CheckResponse(inputs=request.news)
        if resource.served.autonamed and inputs.get("name") is None:
            inputs["name"] = self._automatic_name(request)
            checked.inputs.fields["name"].string_value = str(inputs["name"])
        for path, reason in resource.complaints(inputs):
            checked.failures.add(property=path, reason=self._redactor.redact(reason))
        return checked

    @_reported
    def Diff(self, request: provider_pb2.DiffRequest, _context: object) -> provider_pb2.DiffResponse:
        """Say what an update would change, and whether it takes a replacement."""
        resource = self._resource(request.urn)
        olds, news = self._decode(request.olds).values, self._decode(request.news).values
        change = resource.change(request.id, olds, news, request.ignoreChanges)
        if change.differences or change.tainted:
            LOG.info(
                "Diff %s changed=%s replaced=%s",
                request.urn,
                [one.path for one in change.differences],
                sorted(change.replaced),
            )
        answer = _diff_response(change)
        # Said even when nothing is replaced: the program may ask for replacement by itself (replaceOnChanges).
        answer.deleteBeforeReplace = resource.served.delete_before_replace
        return answer

    @_reported
    def Create(self, request: provider_pb2.CreateRequest, _context: object) -> provider_pb2.CreateResponse:
        """Create, or say what is known before."""
        resource = self._resource(request.urn)
        inputs = self._decode(request.properties)
        if request.preview:
            outputs = resource.preview("", None, inputs.values)
            return provider_pb2.CreateResponse(properties=_encode(outputs, inputs))
        id_, outputs = resource.create(inputs.values, request.timeout or None)
        return provider_pb2.CreateResponse(id=id_, properties=_encode(outputs, inputs))

    @_reported
    def Update(self, request: provider_pb2.UpdateRequest, _context: object) -> provider_pb2.UpdateResponse:
        """Change in place, or say what is known before."""
        resource = self._resource(request.urn)
        olds, news = self._decode(request.olds), self._decode(request.news)
        if request.preview:
            outputs = resource.preview(request.id, olds.values, news.values, request.ignoreChanges)
        else:
            outputs = resource.update(
                request.id, olds.values, news.values, request.ignoreChanges, request.timeout or None
            )
        return provider_pb2.UpdateResponse(properties=_encode(outputs, news))

    @_reported
    def Read(self, request: provider_pb2.ReadRequest, _context: object) -> provider_pb2.ReadResponse:
        """Refresh a resource, or import one; no id means that it is gone."""
        resource = self._resource(request.urn)
        olds, inputs = self._decode(request.properties), self._decode(request.inputs)
        found = resource.read(request.id, olds.values)
        if found is None:
            return provider_pb2.ReadResponse()
        id_, outputs = found
        kept = inputs.values or resource.inputs_of(outputs)
        return provider_pb2.ReadResponse(
            id=id_, properties=_encode(outputs, olds, inputs), inputs=encode(kept, inputs.secret_keys)
        )

    @_reported
    def Delete(self, request: provider_pb2.DeleteRequest, _context: object) -> empty_pb2.Empty:
        """Delete; what is gone already counts as deleted."""
        resource = self._resource(request.urn)
        resource.delete(request.id, self._decode(request.properties).values, request.timeout or None)
        return empty_pb2.Empty()

    # Failures

    def fail(self, context: grpc.ServicerContext, subject: str, operation: str, problem: str) -> NoReturn:
        """End a call with one diagnostic."""
        message = self._redactor.redact(f"{operation.lower()}: {subject}{problem}")
        context.abort(grpc.StatusCode.UNKNOWN, message)

    def fail_partly(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext, error: PartlyCreatedError
    ) -> NoReturn:
        """End a creation that left something behind: Pulumi records it together with the reason."""
        reason = self._redactor.redact(
            f"create: {_subject(request.urn)}{error}; what exists will be replaced by the next run"
        )
        inputs = self._decode(request.properties)
        detail = provider_pb2.ErrorResourceInitFailed(
            id=error.id, properties=_encode(error.outputs, inputs), reasons=[reason], inputs=request.properties
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason)
        status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, reason)

    # Details

    def _decode(self, struct: struct_pb2.Struct) -> Properties:
        properties = decode(struct)
        self._redactor.remember(properties.secret_texts)
        return properties

    def _resource(self, urn: str) -> Resource:
        type_, _ = _type_and_name(urn)
        try:
            return self._resources[type_]
        except KeyError:
            served = ", ".join(sorted(one.served.wheel_class for one in self._resources.values()))
            raise ProviderError(
                f"{type_} is not served by the bridge (it serves {served}): use the official plugin"
            ) from None

    def _provider_config(self, struct: struct_pb2.Struct) -> dict[str, Value]:
        """Read the settings: they arrive as text, those that are not text as JSON in text."""
        settings = self._decode(struct).values
        for name in unknown_names(self._provider, settings):
            settings.pop(name)  # Pulumi's own: version, pluginDownloadURL
        for name, value in settings.items():
            if isinstance(value, str) and self._provider.by_pulumi[name].type != Scalar("string"):
                settings[name] = json.loads(value)
        return to_terraform(self._provider, settings)

    def _automatic_name(self, request: provider_pb2.CheckRequest) -> str:
        """Choose the name that the resource has, else the configured form, else its logical name with random digits."""
        old = self._decode(request.olds).values.get("name")
        if isinstance(old, str):
            return old
        if request.HasField("autonaming"):
            if request.autonaming.mode == _AutoName.DISABLE:
                raise ProviderError("a name is required, because the project disables automatic names")
            return request.autonaming.proposed_name
        return f"{_type_and_name(request.urn)[1]}-{request.randomSeed.hex()[:_RANDOM_DIGITS]}"


def _type_and_name(urn: str) -> tuple[str, str]:
    """``urn:pulumi:<stack>::<project>::<parent type>$<type>::<name>``; the name may hold anything."""
    _, _, types, name = urn.split("::", 3)
    return types.rsplit("$", 1)[-1], name


def _subject(urn: str) -> str:
    if urn.count("::") < 3:  # noqa: PLR2004 - calls about the provider have none
        return ""
    type_, name = _type_and_name(urn)
    return f"{type_.rsplit(':', 1)[-1]} {name}: "


def _encode(outputs: Outputs, *inputs: Properties) -> struct_pb2.Struct:
    return encode(outputs, secret_outputs(outputs, *inputs))


def _diff_response(change: Change) -> provider_pb2.DiffResponse:
    answer = _Diff(changes=_Diff.DIFF_SOME if change.differences or change.tainted else _Diff.DIFF_NONE)
    answer.hasDetailedDiff = True
    replaces = {one.key for one in change.differences if one.path in change.replaced}
    for one in change.differences:
        answer.detailedDiff[one.path].kind = _KINDS[one.kind][one.path in change.replaced]
    if change.tainted:
        replaces.add(META)
        answer.detailedDiff[META].kind = _Kind.UPDATE_REPLACE
    answer.replaces.extend(sorted(replaces))
    answer.diffs.extend(sorted({one.key for one in change.differences} | replaces))
    return answer
