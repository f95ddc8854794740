"""The verbs of the command line, one module each, with ``run(arguments)``. They print; the work is elsewhere."""
