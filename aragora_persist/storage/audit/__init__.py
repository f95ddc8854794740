"""The parts of the audit log: its hash tree, what a leaf commits to, heads, retention, erasure, verification."""
