"""The plugin's process: start the Terraform provider, serve, print the port, end in time.

Usage: ``pulumi-resource-docker``, started by the Pulumi CLI. ``ARAGORA_TERRAFORM_PROVIDER`` names the provider's binary
(the installed script sets it); ``ARAGORA_BRIDGE_LOG`` names a file for a debug log, which holds no values.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .handshake import Child, ChildError
from .lifetime import Lifetime

if TYPE_CHECKING:
    import grpc

    from .service import Service
    from .wheel import Wheel

# Threads are made on demand; a call takes one for as long as the engine works on it, and Cancel must still find one.
_THREADS: Final = 512
_WHEEL: Final = Path(__file__).resolve().parent.parent / "wheel.json"  # beside this package, once installed


def main() -> int:
    """Run until the CLI is done with this plugin; exit code 1 when the provider cannot be started."""
    lifetime = Lifetime()
    _log_to(os.environ.get("ARAGORA_BRIDGE_LOG"))
    try:
        # Before any thread and any import that starts one: the child is forked.
        child = Child(Path(os.environ["ARAGORA_TERRAFORM_PROVIDER"]))
    except (KeyError, ChildError) as error:
        sys.stderr.write(f"pulumi-resource-docker: {error}\n")
        return 1
    lifetime.watch_stdin()
    try:
        server = _serve(child)
        lifetime.wait()
        server.stop(grace=None)
    except ChildError as error:
        sys.stderr.write(f"pulumi-resource-docker: {error}\n")
        return 1
    finally:
        child.stop()
    return 0


def _serve(child: Child) -> grpc.Server:
    import grpc  # noqa: PLC0415 - it starts threads, so only after the child
    from pulumi.runtime.proto import provider_pb2_grpc  # noqa: PLC0415 - as grpc

    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_service(child), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    return server


def _service(child: Child) -> Service:
    from .resources import Resource  # noqa: PLC0415 - they import grpc
    from .schema import RESOURCES, parse  # noqa: PLC0415 - as above
    from .secrets import Redactor  # noqa: PLC0415 - as above
    from .service import Service  # noqa: PLC0415 - as above
    from .terraform import Terraform  # noqa: PLC0415 - as above

    wheel: Wheel = json.loads(_WHEEL.read_text())
    terraform = Terraform(child, child.connect())
    schemas = terraform.schemas()
    resources = {}
    for token, served in RESOURCES.items():
        schema = schemas.resource_schemas[served.terraform]
        record = parse(schema.block, wheel["resources"][served.wheel_class])
        resources[token] = Resource(served, record, schema.version, terraform)
    provider = parse(schemas.provider.block, wheel["provider"])
    return Service(terraform, provider, resources, wheel["version"], Redactor())


def _log_to(file: str | None) -> None:
    logger = logging.getLogger("bridge")
    logger.propagate = False
    if not file:
        logger.addHandler(logging.NullHandler())
        return
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
