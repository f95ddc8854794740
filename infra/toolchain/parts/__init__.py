"""The parts of the toolchain, one module each: how a part is found, and where it can be had."""
