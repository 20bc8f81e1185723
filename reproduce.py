"""Makes the paper's tables and figures again: ``python reproduce.py --help``."""

import sys

from training.experiments.command import main

if __name__ == "__main__":
    sys.exit(main())
