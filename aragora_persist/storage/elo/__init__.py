"""The parts of the store of ratings."""
