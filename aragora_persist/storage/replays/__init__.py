"""The parts of the store of replays: records, and the trace files that they come from and go to."""
