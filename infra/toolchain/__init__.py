"""Pins and builds of the Pulumi chain, for machines that reach package registries only.

Nothing outside imports it but its tests and the scripts.
"""
