"""Trains, resumes and evaluates a classifier: ``python train_classify.py --help``."""

import sys

from spatial_dependency import load_main

if __name__ == "__main__":
    sys.exit(load_main("training.tasks.classification")())
