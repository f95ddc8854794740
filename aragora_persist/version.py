"""The version of this package, also where it is mounted rather than installed, so that it has no metadata."""

VERSION = "0.1.0"
