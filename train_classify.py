"""Trains, resumes and evaluates a classifier: ``python train_classify.py --help``."""

import sys

from spatial_dependency import run_main

if __name__ == "__main__":
    sys.exit(run_main("training.tasks.classification"))
