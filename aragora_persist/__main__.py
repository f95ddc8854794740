"""``python -m aragora_persist``: the command line, where the package is mounted and not installed."""

import sys

from aragora_persist.cli import main

if __name__ == "__main__":
    sys.exit(main())
