"""The toolchain."""
