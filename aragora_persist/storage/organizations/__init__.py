"""The parts of the organizations' store."""
