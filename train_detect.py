"""Trains, resumes, evaluates and diagnoses a detector: ``python train_detect.py --help``."""

import sys

from spatial_dependency import load_main

if __name__ == "__main__":
    sys.exit(load_main("training.tasks.detection")())
