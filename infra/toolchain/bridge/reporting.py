"""How a call is told of: one line in the debug log, and for a failure one readable diagnostic that names the resource.

No value is logged, and secrets are taken out of what the user reads. The one wrapper here is on every call of the
service, so that nothing leaves it in another form.
"""

from __future__ import annotations

import functools
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import grpc
from pulumi.runtime.proto import provider_pb2, status_pb2

from .resources import PartlyCreatedError
from .secrets import sealed
from .terraform import ProviderError
from .values import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .secrets import Redactor

LOG: Final = logging.getLogger("bridge")
_Answer = TypeVar("_Answer")


class Reporting(Protocol):
    """A service that knows the secrets which its answers may not show."""

    redactor: Redactor


def reported(method: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Log a call without its values, and end it with one diagnostic when it fails."""

    @functools.wraps(method)
    def call(self: Reporting, request: Any, context: grpc.ServicerContext) -> _Answer:  # noqa: ANN401 - any message
        urn, start = getattr(request, "urn", ""), time.monotonic()
        subject, outcome = f"{method.__name__.lower()}: {_subject(urn)}", "failed"
        try:
            answer = method(self, request, context)
            outcome = "done"
        except PartlyCreatedError as error:
            outcome = "partly created"
            _end_partly(context, request, error, self.redactor.redact(f"{subject}{error}"))
        except (ProviderError, ValueError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, self.redactor.redact(f"{subject}{error}"))
        except Exception as error:  # noqa: BLE001 - its text may hold a value, so it is told of by its place only
            defect = f"a defect of the bridge: {type(error).__name__} at {_place(error)}"
            outcome = f"failed: {defect}"
            context.abort(grpc.StatusCode.UNKNOWN, f"{subject}{defect}")
        finally:
            LOG.info("%s %s %s in %.2f s", method.__name__, urn, outcome, time.monotonic() - start)
        return answer

    return call


def type_and_name(urn: str) -> tuple[str, str]:
    """Split ``urn:pulumi:<stack>::<project>::<parent type>$<type>::<name>``; the name may hold anything."""
    _, _, types, name = urn.split("::", 3)
    return types.rsplit("$", 1)[-1], name


def _subject(urn: str) -> str:
    if urn.count("::") < 3:  # noqa: PLR2004 - calls about the plugin itself have none
        return ""
    type_, name = type_and_name(urn)
    return f"{type_.rsplit(':', 1)[-1]} {name}: "


def _place(error: Exception) -> str:
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__)))


def _end_partly(
    context: grpc.ServicerContext, request: provider_pb2.CreateRequest, error: PartlyCreatedError, problem: str
) -> NoReturn:
    """End a creation that left something behind: Pulumi records it together with the reason."""
    reason = f"{problem}; what exists will be replaced by the next run"
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.id,
        properties=sealed(error.outputs, decode(request.properties)),
        reasons=[reason],
        inputs=request.properties,
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason)
    status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, reason)
