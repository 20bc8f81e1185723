"""Detects objects in photographs and videos with a trained detector: ``python predict.py --help``."""

import sys

from spatial_dependency import load_main

if __name__ == "__main__":
    sys.exit(load_main("training.predict")())
