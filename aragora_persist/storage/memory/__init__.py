"""The parts of the store of memories."""
