"""Unit tests of the bridge: the parts that need no process, no engine and no network."""
