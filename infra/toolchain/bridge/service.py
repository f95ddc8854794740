"""Pulumi's side: the ``pulumirpc.ResourceProvider`` service.

Decodes requests and encodes answers, with secrets marked. What a resource does is ``resources``' business, how a
failure is told ``reporting``'s.
"""

# ruff: noqa: N802 - the methods have the protocol's names

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NoReturn

from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from .convert import to_terraform, unknown_names
from .reporting import LOG, reported, type_and_name
from .resources import META, Change
from .schema import Scalar
from .secrets import sealed
from .terraform import ProviderError
from .values import Properties, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import struct_pb2

    from .resources import Resource
    from .schema import Record
    from .secrets import Redactor
    from .terraform import Terraform
    from .values import Value

_Diff: Final = provider_pb2.DiffResponse
_Kind: Final = provider_pb2.PropertyDiff
_AutoName: Final = provider_pb2.CheckRequest.AutonamingOptions
_RANDOM_DIGITS: Final = 7  # as many as Pulumi's own automatic names have
_KINDS: Final = {
    "add": (_Kind.ADD, _Kind.ADD_REPLACE),
    "delete": (_Kind.DELETE, _Kind.DELETE_REPLACE),
    "update": (_Kind.UPDATE, _Kind.UPDATE_REPLACE),
}


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
        self.redactor = redactor

    # The provider itself

    @reported
    def Handshake(self, _request: object, _context: object) -> provider_pb2.ProviderHandshakeResponse:
        """Say what this plugin can do; the same answer as Configure's."""
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, accept_resources=False, accept_outputs=False, supports_autonaming_configuration=True
        )

    @reported
    def GetPluginInfo(self, _request: object, _context: object) -> plugin_pb2.PluginInfo:
        """Answer the version, which is the wheel's."""
        return plugin_pb2.PluginInfo(version=self._version)

    @reported
    def CheckConfig(self, request: provider_pb2.CheckRequest, _context: object) -> provider_pb2.CheckResponse:
        """Check the provider's own settings, the engine's address among them, without using them."""
        self._provider_config(request.news)
        return provider_pb2.CheckResponse(inputs=request.news)

    @reported
    def DiffConfig(self, request: provider_pb2.DiffRequest, _context: object) -> provider_pb2.DiffResponse:
        """Take changed settings over; resources stay where they are."""
        olds, news = self._decode(request.olds).values, self._decode(request.news).values
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        return _Diff(changes=_Diff.DIFF_SOME if changed else _Diff.DIFF_NONE, diffs=changed)

    @reported
    def Configure(self, request: provider_pb2.ConfigureRequest, _context: object) -> provider_pb2.ConfigureResponse:
        """Hand the settings to the Terraform provider."""
        self._terraform.configure(self._provider_config(request.args))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @reported
    def Cancel(self, _request: object, _context: object) -> empty_pb2.Empty:
        """Stop what is under way; each call then reports what it has made by then."""
        self._terraform.stop()
        return empty_pb2.Empty()

    @reported
    def Invoke(self, request: provider_pb2.InvokeRequest, _context: object) -> NoReturn:
        """Refuse functions, readably."""
        raise ProviderError(f"{request.tok}: the bridge serves no functions, only resources")

    # Resources

    @reported
    def Check(self, request: provider_pb2.CheckRequest, _context: object) -> provider_pb2.CheckResponse:
        """Complete a program's inputs with an automatic name and have the provider look at them."""
        resource = self._resource(request.urn)
        inputs = self._decode(request.news).values
        checked = provider_pb2.CheckResponse(inputs=request.news)
        if resource.served.autonamed and inputs.get("name") is None:
            inputs["name"] = self._automatic_name(request)
            checked.inputs.fields["name"].string_value = str(inputs["name"])
        for path, reason in resource.complaints(inputs):
            checked.failures.add(property=path, reason=self.redactor.redact(reason))
        return checked

    @reported
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

    @reported
    def Create(self, request: provider_pb2.CreateRequest, _context: object) -> provider_pb2.CreateResponse:
        """Create, or say what is known before."""
        resource = self._resource(request.urn)
        inputs = self._decode(request.properties)
        if request.preview:
            outputs = resource.preview("", None, inputs.values)
            return provider_pb2.CreateResponse(properties=sealed(outputs, inputs))
        id_, outputs = resource.create(inputs.values, request.timeout or None)
        return provider_pb2.CreateResponse(id=id_, properties=sealed(outputs, inputs))

    @reported
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
        return provider_pb2.UpdateResponse(properties=sealed(outputs, news))

    @reported
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
            id=id_, properties=sealed(outputs, olds, inputs), inputs=encode(kept, inputs.secret_keys)
        )

    @reported
    def Delete(self, request: provider_pb2.DeleteRequest, _context: object) -> empty_pb2.Empty:
        """Delete; what is gone already counts as deleted."""
        resource = self._resource(request.urn)
        resource.delete(request.id, self._decode(request.properties).values, request.timeout or None)
        return empty_pb2.Empty()

    # Details

    def _decode(self, struct: struct_pb2.Struct) -> Properties:
        properties = decode(struct)
        self.redactor.remember(properties.secret_texts)
        return properties

    def _resource(self, urn: str) -> Resource:
        type_, _ = type_and_name(urn)
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
        return f"{type_and_name(request.urn)[1]}-{request.randomSeed.hex()[:_RANDOM_DIGITS]}"


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
