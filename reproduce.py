"""Makes the paper's tables and figures again: ``python reproduce.py --help``."""

import sys

from spatial_dependency import load_main

if __name__ == "__main__":
    sys.exit(load_main("training.experiments.command")())
