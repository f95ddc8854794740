"""The parts of the share links' store."""
