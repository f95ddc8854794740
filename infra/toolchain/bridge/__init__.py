"""A Pulumi resource plugin around the unmodified Terraform docker provider.

For machines that reach package registries but not the place where Pulumi keeps its plugins. The plugin speaks Pulumi's
provider protocol to the CLI and Terraform's plugin protocol (version 6) to a child process; it takes its names from the
``pulumi_docker`` wheel, so a program cannot tell it from the official plugin for the five resources it serves:
``Container``, ``Volume``, ``Network``, ``RemoteImage`` and ``Tag``. It leaves out ``docker.Image`` (which exists in the
official plugin only), the functions (``get_network`` and others), schemas for other languages, and the Swarm resources.

The parts, from the bottom: ``values`` (Pulumi's wire form and msgpack), ``wheel`` and ``schema`` (names and types),
``convert`` (one shape into the other), ``state`` and ``diff`` (what Terraform's core does between a program and its
providers), ``ignored`` (``ignoreChanges``), ``secrets`` (redaction), ``handshake`` and ``lifetime`` (processes),
``terraform`` (the child's calls), ``resources`` (what a resource goes through), ``service`` and ``reporting`` (Pulumi's
calls), ``build`` (what the bootstrap calls). Inside the package all imports are relative, and only ``build`` and
``wheel`` need the rest of the project and its packages: the installed plugin is a copy of the other files.
"""
