"""The networks of a stack, named and labelled as its. Leaves out: who is in them."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from infra.naming import labels_of, resource_name

MAIN = "network"
"""The part of the stack's network that its services share; it carries the stack's plain name."""


def stack_network(
    stack: str, *parts: str, internal: bool = False, parent: pulumi.Resource | None = None
) -> pulumi.Output[str]:
    """Declare a network of ``stack`` and return its name; an ``internal`` one leads nowhere else.

    Without ``parts`` it is the one that services are in.
    """
    network = docker.Network(
        "-".join(parts) or MAIN,
        name=resource_name(stack, *parts),
        internal=internal,
        labels=[
            docker.NetworkLabelArgs(label=label, value=text)
            for label, text in labels_of(stack, *(parts or (MAIN,))).items()
        ],
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return network.name
