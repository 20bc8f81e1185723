"""Makes the paper's tables and figures again: ``python reproduce.py --help``."""

import sys

from spatial_dependency import run_main

if __name__ == "__main__":
    sys.exit(run_main("training.experiments.command"))
