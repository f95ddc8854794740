"""How the things of a stack are called and labelled on the engine. Pure.

Every container, network and volume carries the stack in its name, so that stacks share an engine, and labels by which
it is found again without any state.
"""

from __future__ import annotations

PROJECT = "aragora-persist"
PROJECT_LABEL = "io.aragora.project"
STACK_LABEL = "io.aragora.stack"
PART_LABEL = "io.aragora.part"
IMAGE_LABEL = "io.aragora.image"
SUPABASE = "supabase"
"""The first part of the names of everything that belongs to the stack's own Supabase."""
CONTENTS = ("data", "backups")
"""What a service's protected volumes hold, as the ends of their names."""


def resource_name(stack: str, *parts: str) -> str:
    """Return the name of a part of ``stack`` on the engine: ``aragora-<stack>-<part>…``."""
    return "-".join(("aragora", stack, *parts))


def labels_of(stack: str, *parts: str) -> dict[str, str]:
    """Return the labels that everything of ``stack`` carries."""
    return {PROJECT_LABEL: PROJECT, STACK_LABEL: stack, PART_LABEL: "-".join(parts)}


def image_repository(stack: str, image: str) -> str:
    """Return the name under which ``stack`` tags its builds of ``image``; each stack has tags of its own."""
    return resource_name(stack, image)
