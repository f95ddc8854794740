"""The parts of the users' store."""
