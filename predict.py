"""Detects objects in photographs and videos with a trained detector: ``python predict.py --help``."""

import sys

from spatial_dependency import run_main

if __name__ == "__main__":
    sys.exit(run_main("training.predict"))
